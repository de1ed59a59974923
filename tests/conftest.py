"""Shared settings: one thread, fixed seeds."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


collect_ignore = ["exact.py", "mmgen_runs.py", "oracle.py"]  # helpers, imported by the tests
