"""What version 0.1.0 left still opens: a search that was killed, and a checkpoint in mid-cycle."""

import json
import re
import tarfile
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from search_runs import search

from minmax_plugin.cli.train import main
from minmax_plugin.hosts import host_of
from minmax_plugin.settings import RENAMED
from minmax_tune.queue import WARM_POINTS, plan
from minmax_tune.study import Search, source
from minmax_tune.upgrade import clean

LEFT = Path(__file__).parent / "data/v0.1.0.tar.xz"  # made by the code of that version, commit 0f64e67


@pytest.fixture
def left(tmp_path):
    with tarfile.open(LEFT) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def decisions(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["index"], line["accepted"], line["reason"]) for line in lines]


def test_a_checkpoint_in_mid_cycle_goes_on_as_it_did(left, monkeypatch, capsys):
    monkeypatch.chdir(left)
    config = left / "run/short.py"
    assert main([str(config), "--print-config"]) == 2
    assert "this setting is named 'estimator' now" in capsys.readouterr().err
    for old, new in RENAMED.items():  # as the message says
        config.write_text(re.sub(rf"\b{old}=", f"{new}=", config.read_text()))
    whole = decisions(left / "run/decisions.jsonl")
    options = ["total_iters=32", "custom_hooks.1.record=True"]
    assert main(["run/short.py", "--work-dir", "run", "--resume-from", "auto", "--cfg-options", *options]) == 0
    assert decisions(left / "run/decisions.jsonl") == whole
    assert len(whole) == 5


def test_the_source_of_a_trial_is_read_by_its_earlier_name(left):
    record = Search.open(left / "search")
    study = record.studies["short"]
    assert "origin" in study.trials[0].user_attrs
    point = record.space.points[0]
    study.set_user_attr(WARM_POINTS, [[point, {"origin": "warm start: short trial 3"}]])
    before = [source(t.user_attrs) for t in study.trials]
    assert before[0] == "baseline"
    plan(record, record.configs)
    assert [source(t.user_attrs) for t in study.trials] == [*before, "warm start: short trial 3"]


def test_a_search_keeps_the_default_of_its_time(left):
    base = left / "search/base/short.py"
    base.write_text(re.sub(r" *preset='paper',\n", "", base.read_text()))
    clean(Search.open(left / "search"))
    record = Search.open(left / "search")
    assert host_of(base).minmax_settings(record.configs["short"])["preset"] == "practical"


@pytest.mark.slow
def test_a_search_goes_on(left):
    folder = left / "search"

    def trials():
        study = optuna.load_study(study_name="short", storage=f"sqlite:///{folder / 'optuna.db'}")
        return study.get_trials()

    before = trials()
    assert [t.state for t in before[:3]] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]
    search("--resume", folder)
    after = trials()
    assert [t.values for t in after[:2]] == [t.values for t in before[:2]]
    cut, again = after[2], next(t for t in after[3:] if t.user_attrs.get("retry_of") == 2)
    assert (cut.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert again.params == cut.params
    lines = (folder / f"trials/short_{again.number}/reports.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [20, 40, 60]  # it went on from its checkpoint
    assert sum(t.state == TrialState.COMPLETE for t in after) == 4
    assert [source(t.user_attrs) for t in after] == ["baseline", "point", "point", "retry", "sampler"]
