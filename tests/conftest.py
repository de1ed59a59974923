"""Shared settings: one thread, fixed seeds."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# helpers, imported by the tests
collect_ignore = ["exact.py", "mmgen_runs.py", "oracle.py", "search_runs.py", "search_trouble.py"]
