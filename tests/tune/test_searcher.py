import math

import optuna
import pytest
from optuna.trial import TrialState

from tune.searcher import StudySearcher
from tune.space import Space

SPACE = Space({"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}, "points": [{"lr": 0.5}]})


@pytest.fixture
def studies():
    return {name: optuna.create_study(direction="maximize") for name in ("a", "b")}


def searcher(studies, trials=3):
    return StudySearcher(studies, SPACE, "score", "max", trials)


def test_studies_are_asked_in_turn_and_start_with_the_unmodified_config(studies):
    ours = searcher(studies)
    asked = [ours.suggest(str(i)) for i in range(6)]
    assert [(a["study"], a["number"]) for a in asked] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [a["params"] for a in asked[:2]] == [{}, {}]
    assert [a["params"] for a in asked[2:4]] == [{"lr": 0.5}, {"lr": 0.5}]
    assert ours.suggest("7") == StudySearcher.FINISHED


OUTCOMES = [
    # last result, error → state, value, reason
    ({"score": 0.7, "metrics/score": 0.7, "metrics/modes": 3.0}, False, TrialState.COMPLETE, 0.7, None),
    ({"score": 0.7}, True, TrialState.FAIL, None, "it raised an exception, or its worker died"),
    ({"score": math.nan}, False, TrialState.FAIL, None, "the objective 'score' ended as nan"),
    (None, False, TrialState.FAIL, None, "the objective 'score' ended as None"),
]


@pytest.mark.parametrize(("result", "error", "state", "value", "reason"), OUTCOMES)
def test_how_a_trial_ended_is_told(studies, result, error, state, value, reason):
    ours = searcher(studies)
    ours.suggest("t")
    ours.on_trial_result("t", {"score": 0.2, "iterations": 10})
    ours.on_trial_result("t", {"score": math.nan, "iterations": 20})
    ours.on_trial_result("t", {"score": 0.4, "iterations": 30})
    ours.on_trial_complete("t", result, error)
    (trial,) = studies["a"].trials
    assert (trial.state, trial.value) == (state, value)
    assert trial.intermediate_values == {10: 0.2, 30: 0.4}
    if reason:
        assert reason in trial.user_attrs["reason"]
    else:
        assert trial.user_attrs["metrics"] == {"score": 0.7, "modes": 3.0}


def test_what_still_runs_at_the_end_is_marked(studies):
    ours = searcher(studies)
    ours.suggest("t")
    ours.close("interrupted")
    assert studies["a"].trials[0].state == TrialState.FAIL
    assert studies["a"].trials[0].user_attrs["reason"] == "interrupted"


def test_a_snapshot_knows_what_was_running(studies, tmp_path):
    ours = searcher(studies)
    ours.suggest("t")
    ours.save(str(tmp_path / "state"))
    again = searcher(studies)
    again.restore(str(tmp_path / "state"))
    again.on_trial_complete("t", {"score": 1.0})
    assert studies["a"].trials[0].value == 1.0
