"""Which points are drawn: by each sampler, and in a grid."""

import optuna
import pytest
from studies import CONTENT, ask, result

from minmax_plugin.errors import ConfigError
from minmax_tune.options import Options
from minmax_tune.queue import grid
from minmax_tune.samplers import make_sampler
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper

SAMPLERS = ["tpe", "gp", "cmaes", "random", "qmc", "nsga2"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_learns_and_an_extended_study_draws_new_points(make, sampler):
    space = {name: {"type": "float", "low": 0.0, "high": 1.0, "keys": ["lr"]} for name in ("x",)}
    record = make({"space": {**space, "y": {"type": "int", "low": 0, "high": 9, "keys": ["optimizer"]}}}, ["a"],
                  sampler=sampler, storage="sqlite:///:memory:", num_samples=14, duplicates="train")  # fmt: skip

    def run(count):
        searcher = StudySearcher(record, SearchStopper(None))
        for i in range(count):
            asked = searcher.suggest(str(i))
            score = 1 - abs(asked["params"].get("x", 0.0) - 0.3)
            searcher.on_trial_complete(str(i), result(score, outcome="complete"))

    run(14)
    record.update(record.options, extend=6)
    run(6)
    drawn = [t.params["x"] for t in record.studies["a"].trials if t.user_attrs["source"] == "sampler"]
    assert len(drawn) == 19
    assert drawn[13:] != drawn[:6]
    if sampler != "nsga2":  # which hands values on
        assert len(set(drawn)) == 19, "no point twice"


@pytest.mark.parametrize("sampler", ["gp", "cmaes", "qmc", "nsga2"])
def test_a_baseline_without_parameters_does_not_blind_a_sampler(make, sampler, monkeypatch):
    # the baseline lies outside the space; a sampler that only saw what all trials share would draw at random
    space = {
        "space": {n: {"type": "float", "low": 1.0, "high": 2.0, "keys": [k]} for n, k in (("x", "lr"), ("y", "z"))}
    }
    record = make(space, ["a"], sampler=sampler, storage="sqlite:///:memory:", num_samples=5)
    searcher = StudySearcher(record, SearchStopper(None))
    for i in range(4):
        searcher.suggest(str(i))
        searcher.on_trial_complete(str(i), result(0.1 * i, outcome="complete"))
    study = record.studies["a"]
    assert study.trials[0].params == {}
    seen, infer = [], study.sampler.infer_relative_search_space
    monkeypatch.setattr(study.sampler, "infer_relative_search_space", lambda *a: seen.append(infer(*a)) or seen[-1])
    searcher.suggest("4")
    assert [set(space) for space in seen] == [{"x", "y"}]


ENDLESS = [
    ("float", dict(low=0.0, high=1.0), "needs a step for each float"),
    ("int", dict(low=1, high=10**9), "total_iters has over 10000 values"),
]


@pytest.mark.parametrize("language", ["yaml", "python"])
@pytest.mark.parametrize(("kind", "bounds", "message"), ENDLESS)
def test_a_grid_without_an_end_is_one_error_and_no_traceback_of_optuna(caplog, kind, bounds, message, language):
    content = {"space": {"total_iters": {"type": kind, **bounds}}}
    if language == "python":
        function = f"trial.suggest_{kind}('total_iters', {bounds['low']}, {bounds['high']})"
        content = {"python": f"def space(trial): return {{'total_iters': {function}}}"}
    optuna.logging.enable_propagation()
    try:
        with pytest.raises(ConfigError, match=f"^--sampler grid.*{message}"):
            grid(Space.load(content), seed=0)
    finally:
        optuna.logging.disable_propagation()
    assert caplog.records == []


def test_a_grid_is_tried_once_and_ends(make):
    space = {
        "method": {"type": "fragments", "options": {"one": {}, "two": {"lr": 0.9}}},
        "optimizer": {"type": "int", "low": 1, "high": 3, "when": {"method": "one"}},
    }
    record = make({"space": space}, ["a"], sampler="grid", num_samples=10, baseline=False)
    _, asked = ask(record, 5)
    points = [a["params"] for a in asked[:4]]
    assert sorted(map(str, points)) == sorted(
        map(str, [{"method": "two"}, *({"method": "one", "optimizer": i} for i in (1, 2, 3))])
    )
    assert asked[4] == StudySearcher.FINISHED
    assert any("6 trials fewer than asked for" in line for line in record.lines())


def test_studies_draw_unlike_points(make):
    record = make({"space": CONTENT["space"]}, sampler="random", num_samples=1, baseline=False)
    _, asked = ask(record, 2)
    assert asked[0]["params"] != asked[1]["params"]


def test_any_sampler_of_optuna_can_be_named(make):
    record = make(names=["a"], sampler="optuna.samplers:NSGAIIISampler")
    _, asked = ask(record, 3)
    assert isinstance(record.studies["a"].sampler, optuna.samplers.NSGAIIISampler)
    assert all(isinstance(trial, dict) for trial in asked)


WRONG = [("os:getcwd", "is no sampler of Optuna's"), ("nowhere.at:All", "cannot be used: ModuleNotFoundError")]


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_a_sampler_that_cannot_be_used_is_one_clear_error(name, message):
    with pytest.raises(ConfigError, match=message):
        make_sampler(Options(sampler=name), index=0, trials=0)
    with pytest.raises(ConfigError, match="--sampler must be one of tpe"):
        Options(sampler="tpee")
