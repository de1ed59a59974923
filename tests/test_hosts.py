"""The interface between the search and the toolkits: what a host must have, and that another one is a module more."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import toy_host
import yaml
from host_protocol import check_takes_what_the_search_gives
from optuna.trial import TrialState

from minmax_plugin import hosts
from minmax_plugin.errors import ConfigError
from minmax_tune.options import Options
from minmax_tune.queue import plan
from minmax_tune.searcher import StudySearcher
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search
from minmax_tune.trial import run as trial
from minmax_tune.validation import prepare


@pytest.mark.parametrize("name", [hosts.HOSTS[-1], "toy_host"])  # tests/mmengine has the other, in its environment
def test_a_host_takes_what_the_search_gives_it(name):
    check_takes_what_the_search_gives(importlib.import_module(name))


def test_a_toolkit_that_is_not_installed_is_one_error_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, hosts.MMENGINE, None)
    (tmp_path / "gan.py").write_text("optim_wrapper = dict()\n")
    with pytest.raises(ConfigError, match=r"written for mmengine, which .*: pip install 'minmax-plugin\[mmengine\]'"):
        prepare(Options((str(tmp_path / "gan.py"),), num_samples=1))


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "HOSTS", ("toy_host", *hosts.HOSTS))
    (tmp_path / "toy.py").write_text(json.dumps({"lr": 0.5, "steps": 3}))
    space = {"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}, "points": [{"lr": 0.25}]}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    return Options((str(tmp_path / "toy.py"),), str(tmp_path / "space.yaml"), objectives=("score:max",), num_samples=2)


def test_a_search_runs_with_another_host(tmp_path, monkeypatch, options):
    space, configs = prepare(options)
    record = Search.create(tmp_path / "s", options, space, configs)
    plan(record, configs)
    record = Search.open(record.folder)
    assert type(record.configs["toy"]) is toy_host.Config
    searcher = StudySearcher(record, SearchStopper(None))
    fixed = {"bases": record.bases, "objectives": record.objectives, "collapse_below": None, "addresses": []}
    for name in ("first", "second"):
        reports = []
        monkeypatch.setattr(trial, "tune", SimpleNamespace(report=reports.append))
        trial.run_trial({**searcher.suggest(name), **fixed, "cpus": 1, "gpus": 0, "at_once": 1})
        assert [report["images"] for report in reports] == [1, 2, 3]
        searcher.on_trial_complete(name, reports[-1])
    ended = [(t.state, t.value) for t in record.studies["toy"].trials]
    assert ended == [(TrialState.COMPLETE, 1.5), (TrialState.COMPLETE, 0.75)]


def test_what_another_host_does_not_measure_is_refused(options):
    with pytest.raises(ConfigError, match=r"--metric='scor' is not measured; did you mean 'score'\?"):
        prepare(Options.from_dict({**options.to_dict(), "objectives": ("scor:max",)}))
