"""Early stopping: each study for itself, and with what earlier trials have reported."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from minmax_tune.options import Options
from minmax_tune.schedulers import make_scheduler


def study(*ends, objectives=1, state=TrialState.COMPLETE):
    made = optuna.create_study(directions=["maximize"] * objectives)
    for value in ends:
        trial = made.ask()
        points = [[step, value * step / 1000] for step in range(100, 1100, 100)]
        if objectives > 1:  # as the searcher keeps them, since Optuna does not
            trial.set_user_attr("history", points)
        else:
            for step, reached in points:
                trial.report(reached, step)
        made.tell(trial, [value] * objectives if state == TrialState.COMPLETE else None, state=state)
    return made


class Trial(SimpleNamespace):
    __hash__ = object.__hash__


def decide(scheduler, name, slope, upto=1000, **more):
    trial = Trial(trial_id=f"{name} {slope} {len(more)}", config={"study": name})
    scheduler.on_trial_add(None, trial)
    for step in range(100, upto + 100, 100):
        result = {"images": step, "seconds": step / 10, "score": slope * step / 1000, **more}
        if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            return step
    scheduler.on_trial_complete(None, trial, result)
    return None


@pytest.mark.parametrize("objectives", [("score:max",), ("score:max", "hq:max")])
@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_weak_trial_is_stopped_after_its_grace_in_its_own_study_only(name, objectives):
    options = Options(objectives=objectives, scheduler=name, grace=0.3)
    studies = {"a": study(0.8, 0.9, 1.0, objectives=len(objectives)), "b": study()}
    scheduler = make_scheduler(options, {"a": 1000, "b": 5000}, studies, print)
    assert decide(scheduler, "a", 0.1) == 300
    assert decide(scheduler, "a", 2.0) is None
    assert decide(scheduler, "b", 0.1) is None
    assert decide(scheduler, "a", 0.1, outcome="complete") is None, "it ends by itself"


def test_seconds_are_counted_where_they_are_asked_for():
    options = Options(objectives=("score:max",), scheduler="asha", resource="seconds", grace=20.0)
    scheduler = make_scheduler(options, {"a": 1000}, {"a": study(1.0)}, print)
    assert decide(scheduler, "a", 1.0) is None
    assert decide(scheduler, "a", 0.1) == 200


def test_a_trial_that_failed_before_it_measured_is_passed_over():
    options = Options(objectives=("score:max",), scheduler="median")
    scheduler = make_scheduler(options, {"a": 1000}, {"a": study()}, print)
    trial = Trial(trial_id="1", config={"study": "a"})
    scheduler.on_trial_add(None, trial)
    scheduler.on_trial_complete(None, trial, {"outcome": "failed"})
    assert decide(scheduler, "a", 1.0) is None


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_quarter_of_a_training_is_the_grace_where_none_is_given(name):
    options = Options(objectives=("score:max",), scheduler=name)
    assert decide(make_scheduler(options, {"a": 1000}, {"a": study(0.8, 0.9, 1.0)}, print), "a", 0.1) == 300


@pytest.mark.parametrize(("earlier", "stopped"), [((0.9, 1.0), None), ((0.8, 0.9, 1.0), 300)])
def test_a_median_is_of_three_trials_at_least(earlier, stopped):
    options = Options(objectives=("score:max",), scheduler="median")
    assert decide(make_scheduler(options, {"a": 1000}, {"a": study(*earlier)}, print), "a", 0.1) == stopped


@pytest.mark.parametrize("name", ["asha", "median"])
def test_earlier_trials_that_were_stopped_count_too(name):
    options = Options(objectives=("score:max",), scheduler=name)
    studies = {"a": study(0.8, 0.9, 1.0, state=TrialState.PRUNED)}
    assert decide(make_scheduler(options, {"a": 1000}, studies, print), "a", 0.1) == 300
