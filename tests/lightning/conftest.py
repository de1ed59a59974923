"""The rows of the table in docs/lightning.md."""

import pytest
from lightning_runs import RUNS


@pytest.fixture
def record(request, record_property):
    """Records facts for the table in the docs, in the row of the run that is tested."""
    name = request.node.callspec.params["name"]
    record_property("row", list(RUNS).index(name))
    record_property("family", name)
    return record_property
