"""Seeds of a trial that train side by side, and the race that stops a trial after some of them."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import yaml
from optuna.trial import TrialState
from search_runs import search, short_config, start, trials, wait_for

from minmax_plugin.errors import ConfigError
from minmax_tune.machine import count_cores
from minmax_tune.options import Options
from minmax_tune.race import Race
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import REPORTS
from minmax_tune.tuner import runs_at_once
from minmax_tune.validation import check_sampler


@pytest.mark.parametrize(
    ("left", "seeds", "fitting", "gpus", "limit", "at_once"),
    [
        (8, 3, [2], 0, None, 1),  # each worker has a trial of its own
        (1, 3, [2], 0, None, 2),
        (2, 5, [4, 4], 0, None, 4),
        (2, 5, [2, 2, 2, 2], 0, None, 2),  # of one node
        (1, 5, [8], 0, 3, 3),
        (40, 5, [8] * 25, 0, None, 5),
        (2, 3, [4], 0.5, None, 2),
        (1, 3, [4], 0.5, None, 2),  # three halves of a GPU are not to be had
        (1, 3, [4], 1, None, 3),
        (0, 3, [4], 0, None, 3),
    ],
)
def test_seeds_train_side_by_side_where_workers_would_be_idle(left, seeds, fitting, gpus, limit, at_once):
    record = SimpleNamespace(
        studies={"a": None},
        remaining=lambda name: left,
        runs=lambda name, number: [None] * seeds,
        options=Options(max_concurrent=limit),
    )
    assert runs_at_once(record, fitting, gpus) == at_once


@pytest.mark.parametrize(
    ("mode", "best", "scores", "worse"),
    [
        ("max", [0.8, 0.9, 0.7, 0.8], [0.3, 0.4, 0.2], True),
        ("min", [0.8, 0.9, 0.7, 0.8], [0.3, 0.4, 0.2], False),
        ("min", [0.1, 0.2, 0.15, 0.1], [0.5, 0.7, 0.6], True),
        ("max", [0.8, 0.9, 0.7, 0.8], [0.3, 0.2], False),  # too few
        ("max", [0.8, 0.9, 0.7, 0.8], [0.9, 0.1, 0.8], False),  # perhaps bad luck
        ("max", [0.8, 0.8, 0.8, 0.8], [0.0, 0.0, 0.0], True),  # without spread
        ("max", [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0], False),
    ],
)
def test_a_race_stops_what_is_surely_worse_on_the_seeds_that_both_have(mode, best, scores, worse):
    race = Race(mode)
    race.finish(1, dict(enumerate([value + (0.05 if mode == "min" else -0.05) for value in best])))
    race.finish(2, dict(enumerate(best)))
    verdict = race.verdict(dict(enumerate(scores)))
    assert (verdict is not None and verdict.startswith("worse than trial 2 on the 3 seeds")) == worse


def runs(*scores, ended=None):
    measured = [{"base": "a", "seed": seed, "metrics": {"score": s}} for seed, s in enumerate(scores, start=1)]
    images, score = 100 * len(scores), sum(scores) / len(scores)
    ended = len(scores) if ended is None else ended
    return {"score": score, "images": images, "seconds": 1.0, "runs": measured, "runs_ended": ended}


def test_a_trial_that_loses_the_race_is_pruned_and_the_unmodified_config_never(make):
    record = make(names=["a"], seeds=4, race=True, num_samples=3)
    stopper = SearchStopper(None)
    searcher = StudySearcher(record, stopper)
    for trial_id in "012":
        searcher.suggest(trial_id)
    winner = runs(0.8, 0.9, 0.7, 0.8) | {"outcome": "complete"}
    assert not stopper("1", winner)
    searcher.on_trial_complete("1", winner)
    assert not stopper("2", runs(0.1, 0.2, 0.1, ended=2)), "the third seed is in training"
    assert not stopper("0", runs(0.1, 0.2, 0.1))
    lost = runs(0.1, 0.2, 0.1)
    assert stopper("2", lost)
    searcher.on_trial_complete("2", lost)
    baseline, _, trial = record.studies["a"].trials
    assert (baseline.state, trial.state) == (TrialState.RUNNING, TrialState.PRUNED)
    assert trial.user_attrs["scores"] == [0.1, 0.2, 0.1]
    reason = "stopped early by the race, worse than trial 1 on the 3 seeds that it has trained (p = "
    assert trial.user_attrs["reason"].startswith(reason)

    again = SearchStopper(None)  # the search is resumed, and knows its best
    record.update(Options.from_dict({**record.options.to_dict(), "num_samples": 4}))
    StudySearcher(record, again).suggest("3")
    assert again("3", lost)


@pytest.mark.parametrize("given", [{"seeds": 3}, {"seeds": 4, "objectives": ("a:max", "b:max")}])
def test_a_race_needs_seeds_and_one_objective(given):
    with pytest.raises(ConfigError, match="--race needs one --objective and --seeds 4 or more"):
        Options(race=True, **given)


def test_a_race_needs_seeds_in_common():
    space = Space.load({"space": {"seed": {"type": "int", "low": 1, "high": 9}}})
    with pytest.raises(ConfigError, match="the space has the entry 'seed'"):
        check_sampler(Options(race=True, seeds=4), space)


def ramp_config(folder, iterations, pause=0.0):
    """A config whose metric rises with the entry ``slope``."""
    path = short_config(folder, iterations=iterations, interval=10, pause=pause)
    path.write_text(f"{path.read_text()}custom_hooks += [dict(type='Ramp', slope=1.0, interval=10)]\n")
    slope = {"type": "choice", "options": [1.0, 0.5], "keys": ["custom_hooks.3.slope"]}
    (folder / "space.yaml").write_text(
        yaml.safe_dump({"space": {"slope": slope}, "points": [{"slope": 1.0}, {"slope": 0.5}]})
    )
    return path


@pytest.mark.slow
def test_a_race_with_real_ray_stops_a_trial_after_three_seeds(tmp_path):
    config = ramp_config(tmp_path, iterations=20)
    options = ["--space", tmp_path / "space.yaml", "--metric", "ramp", "--mode", "max", "--no-baseline"]
    options += ["--num-samples", 2, "--max-concurrent", 1, "--seeds", 5, "--race"]
    search(config, *options, "--storage-path", tmp_path, "--name", "s")
    winner, loser = trials(tmp_path / "s")
    assert (winner.state, loser.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert (winner.user_attrs["scores"], loser.user_attrs["scores"]) == ([20.0] * 5, [10.0] * 3)
    assert loser.user_attrs["reason"].startswith("stopped early by the race, worse than trial 0 on the 3 seeds")


@pytest.mark.slow
@pytest.mark.skipif(count_cores() < 2, reason="needs two cores")
def test_seeds_side_by_side_survive_a_kill_and_train_as_one_after_the_other(tmp_path):
    config = short_config(tmp_path, iterations=80, interval=10, pause=0.05)
    options = ["--num-samples", 1, "--seeds", 2, "--storage-path", tmp_path]
    folder = tmp_path / "s" / "trials" / "short_0"
    run = start(config, *options, "--name", "s", log=tmp_path / "log.txt")

    def lines(of):
        return [json.loads(line) for line in (of / REPORTS).read_text().splitlines()]

    wait_for(lambda: {line["run"] for line in lines(folder)} == {0, 1}, run)
    assert not any(line["ended"] for line in lines(folder)), "one after the other"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    search("--resume", tmp_path / "s")
    search(config, *options, "--name", "alone", "--max-concurrent", 1)
    _, together = trials(tmp_path / "s")
    (alone,) = trials(tmp_path / "alone")
    assert together.state == alone.state == TrialState.COMPLETE
    assert together.user_attrs["scores"] == alone.user_attrs["scores"]
    assert together.user_attrs["metrics"]["images"] == alone.user_attrs["metrics"]["images"] == 2 * 80 * 512
    assert lines(tmp_path / "s" / "trials" / "short_1")[-1]["images"] == 2 * 80 * 512
