"""A search whose database goes away for a while."""

import json
import re
import time

import optuna
import pytest
from lossy_proxy import lossy_proxy
from optuna.trial import TrialState

from minmax_tune import outages
from minmax_tune.cli import main
from minmax_tune.memory import HeldStorage
from minmax_tune.outages import Outages, Unreachable
from minmax_tune.storage import open_storage


@pytest.fixture
def place(postgres, request, monkeypatch):
    """A server, a database of the test's own, and a connection that can lose answers."""
    database = re.sub(r"\W", "_", request.node.name)[-60:]
    postgres.create(database)
    monkeypatch.setenv("PASSWORD", postgres.quoted)
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.01)
    with lossy_proxy(postgres.port) as proxy:
        yield postgres, database, proxy


def hold(place, folder, limit=60, stopped=False):
    """A study as a search holds it, and the lines about outages."""
    postgres, database, proxy = place
    said = []
    waits = Outages(limit, said.append)
    waits.stopped = lambda: stopped
    storage = open_storage(postgres.url(database=database, port=proxy.port), folder)
    return optuna.create_study(storage=HeldStorage(storage, waits), study_name="a"), said


CHANGES = {
    "a queued trial": lambda study, trial: study.enqueue_trial({"x": 0.5}, user_attrs={"betas": (0.5, 0.9)}),
    "a queued trial that begins": lambda study, trial: (study.enqueue_trial({"x": 0.5}), study.ask()),
    "a trial of the sampler": lambda study, trial: study.ask(),
    "two trials": lambda study, trial: (study.ask(), study.ask()),
    "a parameter": lambda study, trial: trial.suggest_float("x", 0, 1),
    "a measurement": lambda study, trial: trial.report(0.25, step=7),
    "an attribute": lambda study, trial: trial.set_user_attr("settings", {"lr": 1e-3}),
    "a result": lambda study, trial: study.tell(trial, 1 / 3),
    "a failure": lambda study, trial: study.tell(trial, state=TrialState.FAIL),
    "an attribute of the study": lambda study, trial: study.set_user_attr("folder", "here"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_answer_is_lost_counts_once(tmp_path, place, change):
    postgres, database, proxy = place
    study, said = hold(place, tmp_path)
    trial = study.ask()
    proxy.losing = True
    CHANGES[change](study, trial)
    proxy.losing = False
    assert [line.split(" (")[0][:29] for line in said[:2]] == [
        "the storage does not answer",
        "the storage answers again aft",
    ]
    there = optuna.load_study(storage=open_storage(postgres.url(database=database), tmp_path), study_name="a")
    assert there.user_attrs == study.user_attrs
    assert len(there.trials) == len(study.trials)
    for ours, stored in zip(study.trials, there.trials, strict=True):
        for name in ("number", "state", "params", "values", "intermediate_values", "system_attrs"):
            assert getattr(ours, name) == getattr(stored, name), name
        assert json.dumps(ours.user_attrs) == json.dumps(stored.user_attrs)


def test_connections_that_dropped_while_they_were_idle_are_not_even_told_of(tmp_path, place):
    postgres, database, _ = place
    study, said = hold(place, tmp_path)
    for _ in range(3):
        assert postgres.drop_connections(database) >= 1
        study.ask()
    assert said == []
    assert [t.number for t in study.trials] == [0, 1, 2]


def test_an_error_is_an_answer_too(monkeypatch):
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.0)
    answers, said = iter([Unreachable("refused"), KeyError("no such trial")]), []

    def ask():
        raise next(answers)

    with pytest.raises(KeyError, match="no such trial"):
        Outages(60, said.append).outlast(ask)
    assert [line.split()[2:4] for line in said] == [["does", "not"], ["answers", "again"]]


def test_what_is_given_up_is_not_tried_again(tmp_path, place):
    postgres, database, proxy = place
    study, said = hold(place, tmp_path, limit=1)
    proxy.shutdown()
    proxy.server_close()
    postgres.drop_connections(database)
    with pytest.raises(Unreachable, match=r"no answer for \d s: .*refused"):
        study.ask()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        study.set_user_attr("a", 1)
    assert time.monotonic() - began < 0.1
    assert len(said) == 1
    assert "the search waits for it, 1 s at most" in said[0]
    assert postgres.password not in said[0]


def test_a_search_that_ends_does_not_wait(tmp_path, place):
    study, said = hold(place, tmp_path, stopped=True)
    place[-1].losing = True
    with pytest.raises(Unreachable):
        study.ask()
    assert len(said) == 1


@pytest.mark.parametrize("first", range(4))
def test_an_outage_while_a_search_is_opened_is_one_line(make, place, capsys, first):
    postgres, database, proxy = place
    record = make(names=("a",), storage=postgres.url(database=database, port=proxy.port))
    proxy.losing, proxy.commits = True, -first
    code, error = main(["--report", str(record.folder)]), capsys.readouterr().err
    assert (code, error.count("\n")) in [(0, 0), (1, 1), (2, 1)]
    assert postgres.password not in error
