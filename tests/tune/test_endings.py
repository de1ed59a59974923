"""How trials and searches end: by themselves, stopped, failed, or out of time."""

import math

import pytest
from optuna.trial import TrialState
from studies import ask, result

from minmax_tune.searcher import StudySearcher
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import REPORTS, Search

OUTCOMES = [
    # last result, error → state, value, reason
    (result(0.7, outcome="complete"), False, TrialState.COMPLETE, 0.7, None),
    (result(0.7), False, TrialState.PRUNED, 0.7, "stopped early by asha at 100 images"),
    (result(0.7, outcome="collapsed", reason="collapsed: low"), False, TrialState.PRUNED, 0.7, "collapsed: low"),
    (dict(outcome="failed", failure="error", reason="ValueError: no"), False, TrialState.FAIL, None, "ValueError: no"),
    (None, True, TrialState.FAIL, None, "its worker or node died, 3 times in all"),
    (result(math.nan, outcome="complete"), False, TrialState.FAIL, None, "the objective 'score' ended as nan"),
]


@pytest.mark.parametrize(("last", "error", "state", "value", "reason"), OUTCOMES)
def test_how_a_trial_ended_is_told(make, last, error, state, value, reason):
    record = make(scheduler="asha")
    searcher, _ = ask(record)
    searcher.on_trial_result("0", result(0.2, 10))
    searcher.on_trial_result("0", result(math.nan, 20))
    searcher.on_trial_result("0", result(0.4, 30))
    searcher.on_trial_result("0", result(0.4, 30))  # as a restarted trial repeats it
    searcher.on_trial_complete("0", last, error)
    trial = record.studies["a"].trials[0]
    assert (trial.state, trial.value) == (state, value)
    assert trial.intermediate_values == {10: 0.2, 30: 0.4} | ({100: 0.7} if value else {})
    assert trial.user_attrs.get("reason") == reason
    # of the last result that has measured anything
    measured = last if last and "runs" in last else result(0.4, 30)
    kept = {**measured["runs"][0]["metrics"], "images": measured["images"], "seconds": measured["seconds"]}
    assert trial.user_attrs["metrics"] == pytest.approx(kept, nan_ok=True)


ENDINGS = [
    ("time budget", True, TrialState.PRUNED, "time budget"),
    ("SIGINT", True, TrialState.FAIL, "interrupted: SIGINT"),
    (None, True, TrialState.FAIL, "interrupted: interrupted"),
    ("time budget", False, TrialState.FAIL, "not started: time budget"),
]


@pytest.mark.parametrize(("ending", "started", "state", "reason"), ENDINGS)
def test_what_still_runs_at_the_end_is_marked(make, ending, started, state, reason):
    record = make()
    searcher, [asked] = ask(record)
    if started:
        folder = record.trial_folder(asked["study"], 0)
        folder.mkdir(parents=True)
        (folder / REPORTS).touch()
    searcher.close(ending)
    trial = record.studies["a"].trials[0]
    assert (trial.state, trial.user_attrs["reason"]) == (state, reason)


def test_nothing_but_failures_end_the_search_with_the_first_reason(make):
    record = make(num_samples=9)
    ending = SearchStopper(None)
    searcher = StudySearcher(record, ending)
    for i in range(3):
        searcher.suggest(str(i))
        assert not ending.stop_all()
        searcher.on_trial_complete(str(i), dict(outcome="failed", failure="error", reason=f"ValueError: no {i}"))
    assert ending.stop_all()
    assert ending.reason == "nothing but failures: a trial 0: ValueError: no 0"
    assert searcher.suggest("9") == StudySearcher.FINISHED


def test_one_success_among_failures_lets_it_go_on(make):
    ending = SearchStopper(None)
    searcher = StudySearcher(make(num_samples=9), ending)
    for i in range(4):
        searcher.suggest(str(i))
    searcher.on_trial_complete("0", result(0.1, outcome="complete"))
    for i in range(1, 4):
        searcher.on_trial_complete(str(i), dict(outcome="failed", failure="error", reason="ValueError"))
    assert not ending.stop_all()


@pytest.mark.parametrize("outcome", ["complete", "collapsed"])
def test_what_succeeded_before_a_resume_counts_as_a_success(make, outcome):
    record = make(num_samples=9)
    searcher, _ = ask(record)
    searcher.on_trial_complete("0", result(0.1, outcome=outcome))
    ending = SearchStopper(None)
    resumed = StudySearcher(Search.open(record.folder), ending)
    for i in range(3):
        resumed.suggest(str(i))
        resumed.on_trial_complete(str(i), dict(outcome="failed", failure="error", reason="diverged: loss is nan"))
    assert not ending.stop_all()


def test_a_storage_that_fails_ends_the_search_in_order(make):
    record, ending = make(), SearchStopper(None)
    searcher = StudySearcher(record, ending)
    searcher.suggest("0")
    record.studies["a"].tell(0, state=TrialState.FAIL)  # somebody else has ended it
    searcher.on_trial_complete("0", result(0.7, outcome="complete"))
    assert "the search's storage failed" in ending.reason


def test_a_trial_that_ended_by_itself_as_the_search_ended_keeps_its_end(make):
    record = make(num_samples=9)
    searcher, _ = ask(record, 3)
    searcher.on_trial_result("0", result(0.6, outcome="complete"))
    searcher.on_trial_result("1", dict(outcome="failed", failure="error", reason="ValueError: no"))
    searcher.close("time budget")
    trials = [record.studies[name].trials[number] for name, number in (("a", 0), ("b", 0), ("a", 1))]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert [trial.user_attrs.get("reason") for trial in trials][1:] == ["ValueError: no", "not started: time budget"]


def test_a_storage_that_fails_at_the_end_leaves_the_other_trials_marked(make):
    record, ending = make(), SearchStopper(None)
    searcher = StudySearcher(record, ending)
    for i in range(2):
        searcher.suggest(str(i))
    record.studies["a"].tell(0, state=TrialState.FAIL)  # somebody else has ended it
    searcher.close("SIGINT")
    assert "the search's storage failed" in ending.reason
    assert record.studies["b"].trials[0].user_attrs["reason"] == "not started: SIGINT"


def test_a_study_that_has_not_begun_is_asked_though_another_fails(make):
    ending = SearchStopper(None)
    searcher = StudySearcher(make(num_samples=1), ending)
    searcher.suggest("0")
    searcher.on_trial_complete("0", dict(outcome="failed", failure="error", reason="ValueError: no"))
    assert not ending.stop_all()
    assert searcher.suggest("1")["study"] == "b"


def test_a_search_of_few_trials_ends_with_its_first_failure_too(make):
    ending = SearchStopper(None)
    searcher = StudySearcher(make(names=["a"], num_samples=2), ending)
    for i in range(2):
        searcher.suggest(str(i))
        searcher.on_trial_complete(str(i), dict(outcome="failed", failure="error", reason=f"ValueError: no {i}"))
    assert ending.reason == "nothing but failures: a trial 0: ValueError: no 0"


def test_a_failure_that_every_trial_would_have_ends_the_search(make):
    ending = SearchStopper(None)
    searcher = StudySearcher(make(), ending)
    searcher.suggest("0")
    searcher.on_trial_complete("0", dict(outcome="failed", failure="the disk is full", reason="the disk is full"))
    assert ending.reason == "the disk is full"


def test_a_trial_that_ray_killed_for_want_of_memory_says_so(make):
    record = make(names=["a"])
    searcher, _ = ask(record)
    searcher.out_of_memory.add("0")
    searcher.on_trial_complete("0", None, error=True)
    assert record.studies["a"].trials[0].user_attrs["reason"].startswith("out of memory: Ray killed its worker")


def test_a_time_budget_ends_when_it_is_over():
    assert not SearchStopper(3600).stop_all()
    assert (over := SearchStopper(-1)).stop_all()
    assert over.reason == "time budget"


def test_a_trial_ends_when_its_time_is_over(make):
    record, ending = make(names=["a"], trial_time=60.0), SearchStopper(None, trial_time=60.0)
    searcher = StudySearcher(record, ending)
    searcher.suggest("0")
    late = result(0.4, images=300) | {"seconds": 61.0}
    assert not ending("0", result(0.2))
    assert not ending("0", late | {"outcome": "complete"}), "it ends by itself"
    assert ending("0", late)
    assert not ending.stop_all(), "the others go on"
    searcher.on_trial_complete("0", late)
    trial = record.studies["a"].trials[0]
    assert (trial.state, trial.user_attrs["reason"]) == (
        TrialState.PRUNED,
        "stopped after its time of 60 s at 300 images",
    )
