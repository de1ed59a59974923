"""What a search takes of its machine: the cores that it may use, sockets of Ray, classes that trials share."""

import contextlib
import os

import pytest
import ray
from mmgen.models.builder import MODULES
from search_runs import GAUSSIANS

from minmax_plugin.errors import ConfigError
from minmax_tune.machine import count_cores
from minmax_tune.options import Options
from minmax_tune.tuner import connect
from minmax_tune.validation import check_resources, read_configs


@pytest.fixture
def one_core():
    """This process alone, held to one core as taskset does it."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity of processes")
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_a_trial_takes_no_core_that_the_search_may_not_use(one_core):
    with pytest.raises(ConfigError, match="--cpus-per-trial=2 does not fit this machine, which has 1 cores"):
        check_resources(Options(configs=("a.py",), cpus_per_trial=2))


def test_an_allocation_of_slurm_counts(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert count_cores() == 1


@pytest.mark.slow
def test_ray_starts_where_tmpdir_is_long_with_the_cores_that_it_may_use(tmp_path, monkeypatch, one_core):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("t" * 100)))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        connect("local")
        assert ray.cluster_resources()["CPU"] == 1
    finally:
        ray.shutdown()


NETWORK = """
import torch
from mmgen.models.builder import MODULES
@MODULES.register_module(name={name!r}, force=True)
class Net(torch.nn.Module): pass
"""
SHARED = [  # the class that each of two configs registers, or none, and whether trials of both can share a process
    ("SharedNet", "SharedNet", False),
    ("MLPGenerator", None, False),  # this package's own
    (None, "MLPGenerator", False),
    ("OneNet", "OtherNet", True),
    (None, None, True),
]


@pytest.mark.parametrize(("first", "second", "fits"), SHARED)
def test_configs_whose_classes_have_one_name_are_not_searched_together(tmp_path, monkeypatch, first, second, fits):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(MODULES, "_module_dict", dict(MODULES.module_dict))
    for config, network in (("a", first), ("b", second)):
        module = f"net_{config}_{tmp_path.name}"
        imports = ["minmax_plugin.mmgen"] + [module] * bool(network)
        (tmp_path / f"{module}.py").write_text(NETWORK.format(name=network))
        (tmp_path / f"{config}.py").write_text(f"_base_ = {GAUSSIANS!r}\ncustom_imports = dict(imports={imports!r})\n")
    options = Options(configs=(str(tmp_path / "a.py"), str(tmp_path / "b.py")))
    with contextlib.nullcontext() if fits else pytest.raises(ConfigError, match="its custom_imports replace"):
        assert len(read_configs(options)) == 2
