"""The queue of a search: what is planned, and what a killed one goes on with."""

import json
import shutil

import pytest
from optuna.trial import TrialState
from studies import CONFIG, CONTENT, ask, result

from minmax_tune.failures import FailureKind
from minmax_tune.queue import plan, reconcile, retry_errored
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.study import REPORTS, Search


@pytest.mark.parametrize("storage", [None, "journal:$PLACE/studies.journal", "sqlite:///$PLACE/studies.db"])
def test_a_killed_search_is_reconciled_with_its_studies(make, tmp_path, monkeypatch, storage):
    monkeypatch.setenv("PLACE", str(tmp_path))
    record = make(names=["a"], storage=storage)
    assert json.loads((record.folder / "search.json").read_text())["options"]["storage"] == storage
    searcher, _ = ask(record, 3)
    searcher.on_trial_complete("0", result(0.7, outcome="complete"))
    searcher.on_trial_complete("1", dict(outcome="failed", failure="error", reason="ValueError: no"))
    # and the process is killed while trial 2 runs
    record = Search.open(record.folder)
    killed = record.studies["a"].trials[2]
    assert reconcile(record) == 1
    assert reconcile(record) == 0, "it is not queued twice"
    assert [t.state.name for t in record.studies["a"].trials] == ["COMPLETE", "FAIL", "FAIL", "WAITING"]
    assert record.studies["a"].trials[2].user_attrs["reason"] == "the search was killed"
    assert record.remaining("a") == 1
    for number in (1, 2):
        folder = record.trial_folder("a", number)
        folder.mkdir(parents=True)
        (folder / REPORTS).touch()
    searcher, [again, none] = ask(record, 2)
    assert (again["number"], again["params"], again["continues"]) == (3, killed.params, folder)
    assert none == StudySearcher.FINISHED
    assert record.studies["a"].trials[3].user_attrs["retry_of"] == 2
    searcher.on_trial_complete("0", result(0.8, outcome="complete"))
    assert record.state()["a"] == {"RUNNING": 0, "COMPLETE": 2, "PRUNED": 0, "FAIL": 1, "left": 0}
    # the failed one is run again when it is asked for, from its beginning
    assert retry_errored(record) == 1
    _, [errored] = ask(record)
    assert (errored["settings"], errored["continues"]) == ({"lr": 0.5}, None)
    assert record.studies["a"].trials[4].user_attrs["retry_of"] == 1


def test_a_retry_goes_on_from_the_last_attempt_that_began(make):
    record = make(names=["a"], num_samples=1)
    ask(record)
    folder = record.trial_folder("a", 0)
    folder.mkdir(parents=True)
    (folder / REPORTS).touch()
    reconcile(record)
    ask(record)  # asked for, and killed before it began
    reconcile(record)
    _, [third] = ask(record)
    assert (third["number"], third["continues"]) == (2, folder)
    assert third["settings"] == {}
    assert record.studies["a"].trials[2].user_attrs["baseline"]


def test_a_search_that_was_killed_while_it_was_planned_is_planned_to_its_end(make, tmp_path):
    record = make(names=["a"], num_samples=5)
    record.space.points.append({"lr": 0.7})
    record.update(record.options)
    for _ in range(2):
        plan(record, {"a": CONFIG})
    queued = [t.user_attrs["queued"] for t in record.studies["a"].get_trials()]
    assert queued == [{"lr": 0.3}, {"lr": 0.5}, {"lr": 0.7}]


def test_points_of_their_own_file_are_kept_with_the_search(make):
    space = Space.load(CONTENT)
    space.points = [*space.points, {"lr": 0.9}]
    record = make(names=["a"])
    record = Search.create(record.folder.with_name("t"), record.options, space, {"a": CONFIG})
    assert Search.open(record.folder).space.points == [{"lr": 0.5}, {"lr": 0.9}]


def test_a_warm_start_tries_the_best_of_another_search_first(make):
    earlier = make(names=["a", "b"], folder="earlier", num_samples=2, baseline=False)
    searcher, asked = ask(earlier, 4)
    for i, trial in enumerate(asked):
        searcher.on_trial_complete(str(i), result(trial["params"]["lr"], outcome="complete"))
    best = earlier.studies["b"].best_trial
    record = make(names=["b"], warm_start=str(earlier.folder), num_samples=3, baseline=False)
    _, [_, second] = ask(record, 2)
    assert second["params"] == best.params
    assert record.studies["b"].trials[1].user_attrs["source"] == f"warm start: b trial {best.number}"
    narrow = {"space": {"lr": {"type": "float", "low": 0.1, "high": 0.11}}}
    record = make(narrow, ["b"], folder="narrow", warm_start=str(earlier.folder))
    assert any("passes over" in line for line in record.lines())
    short = make(names=["b"], folder="short", warm_start=str(earlier.folder), num_samples=1, baseline=False)
    shutil.rmtree(earlier.folder)  # it is not asked again
    plan(Search.open(record.folder), {"b": CONFIG})
    short.update(short.options, extend=2)
    plan(short, {"b": CONFIG})
    assert [trial.user_attrs["queued"] for trial in short.studies["b"].trials].count(best.params) == 1, "no longer cut"


def test_an_extension_is_kept(make):
    record = make(names=["a"])
    record.update(record.options, extend=2)
    assert Search.open(record.folder).remaining("a") == 5


@pytest.mark.parametrize("kind", FailureKind)
def test_what_says_nothing_about_the_settings_is_run_again(make, kind):
    record = make(names=["a"])
    searcher, _ = ask(record)
    searcher.on_trial_complete("0", dict(outcome="failed", failure=kind.value, reason="a sentence"))
    again = kind in ("the search was killed", "interrupted", "not started", "the disk is full")
    assert reconcile(record) == again


@pytest.mark.parametrize(
    ("reason", "again"), [("interrupted: SIGINT", 1), ("not started: x", 1), ("ValueError: no", 0)]
)
def test_a_trial_of_version_0_1_0_is_judged_by_its_sentence(make, reason, again):
    record = make(names=["a"])
    ask(record)
    study = record.studies["a"]
    record.set_attribute("a", 0, "reason", reason)
    study.tell(0, state=TrialState.FAIL)
    assert reconcile(record) == again


def test_a_retry_of_a_baseline_outside_the_space_stays_hidden_from_samplers(make):
    record = make({"space": {"lr": {"type": "float", "low": 0.4, "high": 1.0}}}, ["a"], num_samples=1)
    ask(record)
    reconcile(record)
    assert [trial.user_attrs["partial"] for trial in record.studies["a"].trials] == [True, True]


def test_the_unmodified_config_is_queued_once_though_its_parameters_were_other_ones(make):
    record = make(names=["a"], num_samples=3)
    renamed = {"type": "float", "low": 0.1, "high": 1.0, "keys": ["lr"]}
    record._space = Space.load({"space": {"rate": renamed}})
    plan(record, record.configs)
    sources = [t.user_attrs.get("source") for t in record.studies["a"].get_trials()]
    assert sources.count("baseline") == 1
