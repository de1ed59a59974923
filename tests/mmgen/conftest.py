import pytest
from mmgen_runs import RecordingAdam


@pytest.fixture
def recorded():
    """The optimizers that recorded during the test, in order of their first step."""
    RecordingAdam.all = []
    return RecordingAdam.all
