"""How StudySearcher asks studies, what it tells them, and what their tables then hold."""

import json
import math

import pytest
from mmcv import Config
from optuna.trial import TrialState
from studies import CONTENT, ask, result

from minmax_tune.options import Options
from minmax_tune.queue import plan
from minmax_tune.report import tables
from minmax_tune.scores import summary
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Run, Search


def test_studies_are_asked_in_turn_and_start_with_the_unmodified_config(make):
    record = make()
    searcher, asked = ask(record, 6)
    assert [(a["study"], a["number"]) for a in asked] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [a["settings"] for a in asked[:4]] == [{}, {}, {"lr": 0.5}, {"lr": 0.5}]
    assert asked[0]["params"] == {"lr": 0.3}  # the config's own value, for the sampler to learn from
    assert searcher.suggest("7") == StudySearcher.FINISHED
    sources = [t.user_attrs["source"] for t in record.studies["a"].trials]
    assert sources == ["baseline", "point", "sampler"]


def test_a_value_outside_the_space_leaves_the_unmodified_config_without_parameters(make):
    record = make({"space": {"lr": {"type": "float", "low": 0.4, "high": 1.0}}}, ["a"], num_samples=1)
    _, [first] = ask(record)
    assert (first["params"], first["settings"]) == ({}, {})


def test_without_a_baseline_the_points_come_first(make):
    _, [first] = ask(make(names=["a"], baseline=False, num_samples=1))
    assert first["settings"] == {"lr": 0.5}


def test_several_objectives_are_told_and_their_history_kept(make):
    record = make(names=["a"], objectives=("score:max", "seconds:min"))
    searcher, _ = ask(record)
    searcher.on_trial_result("0", result(0.2, 10))
    searcher.on_trial_result("0", result(0.6, 20, outcome="complete"))
    searcher.on_trial_complete("0", result(0.6, 20, outcome="complete"))
    trial = record.studies["a"].trials[0]
    assert trial.values == [0.6, 1.0]
    assert trial.user_attrs["history"] == [[10, 0.2], [20, 0.6]]


def test_scores_are_means_over_data_sets_and_intervals_over_seeds():
    runs = [
        {"base": base, "seed": seed, "metrics": {"score": value}}
        for seed, values in ((1, (0.2, 0.4)), (2, (0.4, 0.6)))
        for base, value in zip("ab", values, strict=True)
    ]
    kept = summary(runs, "score")
    assert kept["scores"] == pytest.approx([0.3, 0.5])
    assert kept["metrics"]["score"] == pytest.approx(0.4)
    # by hand: t(0.975, 1) = 12.706, standard error 0.1
    assert kept["interval"] == pytest.approx([0.4 - 1.2706, 0.4 + 1.2706], abs=1e-3)
    assert summary(runs[:2], "score")["interval"] is None


def test_the_unmodified_config_of_a_shared_study_has_the_values_that_all_share(tmp_path):
    configs = {name: Config(dict(lr=lr, k=2)) for name, lr in (("a", 0.3), ("b", 0.7))}
    entries = {"lr": {"type": "float", "low": 0.1, "high": 1.0}, "k": {"type": "int", "low": 1, "high": 3}}
    options = Options(objectives=("score:max",), num_samples=1, layout="shared")
    record = Search.create(tmp_path / "s", options, Space.load({"space": entries}), configs)
    plan(record, configs)
    _, [first] = ask(record)
    assert (first["params"], first["settings"]) == ({"k": 2}, {})
    assert record.studies["shared"].trials[0].user_attrs["partial"]


@pytest.mark.parametrize("layout", ["shared", "per-dataset"])
def test_a_config_named_shared_is_one_as_any_other(tmp_path, layout):
    configs = {name: Config(dict(lr=lr)) for name, lr in (("shared", 0.3), ("b", 0.7))}
    options = Options(objectives=("score:max",), num_samples=1, layout=layout)
    record = Search.create(tmp_path / "s", options, Space.load(CONTENT), configs)
    plan(record, configs)
    _, [first] = ask(record)
    folder, together = record.trial_folder("shared", 0), layout == "shared"
    runs = [Run("shared", 1, folder / "shared"), Run("b", 1, folder / "b")]
    assert first["runs"] == (runs if together else [Run("shared", 1, folder)])
    assert first["params"] == ({} if together else {"lr": 0.3}), "what all of its configs share"


SEEDED = {  # in every way that a space can drive it
    "its own entry": {"space": {"seed": {"type": "int", "low": 7, "high": 8}}},
    "another entry's key": {"space": {"s": {"type": "int", "low": 7, "high": 8, "keys": ["seed"]}}},
    "a Python space": {"python": "def space(trial): return {'seed': trial.suggest_int('s', 7, 8)}"},
}


@pytest.mark.parametrize("content", SEEDED.values(), ids=SEEDED.keys())
def test_the_table_tells_the_seed_that_a_trial_had(make, content):
    record = make(content, ["a"])
    _, asked = ask(record, 3)
    seeds = [run[1] for trial in asked for run in trial["runs"]]
    assert seeds[0] == record.options.seed, "the unmodified config's"
    assert set(seeds[1:]) <= {7, 8}
    assert list(tables.table(record, tables.read_rows(record))["seed"]) == seeds


def test_a_parameter_does_not_take_the_place_of_a_column(make):
    names = ("trial", "duration", "score", "seed", "lr")
    space = {name: {"type": "float", "low": 0.5, "high": 0.6, "keys": [f"optimizer.{name}"]} for name in names}
    config = Config(dict(optimizer=dict.fromkeys(names, 0.5)))
    record = make({"space": space}, ["a"], baseline=False, config=config)
    searcher, [asked] = ask(record)
    searcher.on_trial_complete("0", result(0.7, outcome="complete"))
    (row,) = tables.table(record, tables.read_rows(record)).to_dict("records")
    assert (row["trial"], row["score"], row["seed"]) == (0, 0.7, 1)
    assert {name: row["lr" if name == "lr" else f"params/{name}"] for name in names} == asked["params"]


def test_a_summary_has_no_numbers_that_json_does_not_know(make):
    record = make(names=["a"])
    searcher, _ = ask(record)
    ended = result(0.7, outcome="complete")
    ended["runs"][0]["metrics"]["kid"] = math.nan
    searcher.on_trial_complete("0", ended)
    summed = tables.summary(record, tables.read_rows(record))
    assert summed["studies"]["a"]["best"]["metrics"] == {
        "score": 0.7,
        "modes": 3.0,
        "kid": None,
        "images": 100,
        "seconds": 1.0,
    }
    json.dumps(summed, allow_nan=False)


def test_no_more_trials_are_asked_for_than_the_limit(make):
    searcher, _ = ask(make())
    searcher.limit = 2
    assert searcher.suggest("1")["study"] == "b"
    assert searcher.suggest("2") is None
    searcher.on_trial_complete("0", result(0.7, outcome="complete"))
    assert searcher.suggest("2")["number"] == 1


def test_what_was_measured_before_a_restart_is_told_too(make):
    record = make(names=["a"])
    searcher, _ = ask(record)
    searcher.on_trial_result("0", result(0.4, 30, earlier=[[10, 0.2], [20, 0.3]]))
    searcher.close("time budget")
    assert record.studies["a"].trials[0].intermediate_values == {10: 0.2, 20: 0.3, 30: 0.4}


def test_a_second_objective_is_any_metric(make):
    record = make(names=["a"], objectives=("score:max", "modes:max"))
    searcher, _ = ask(record)
    # Ray flattens what a trial reports
    searcher.on_trial_complete(
        "0", result(0.6, outcome="complete", **{"objectives/score": 0.6, "objectives/modes": 3.0})
    )
    assert record.studies["a"].trials[0].values == [0.6, 3.0]


CHOICE = {"space": {"lr": {"type": "choice", "options": [0.1, 0.2]}}}


@pytest.mark.parametrize("objectives", [("score:max",), ("score:max", "seconds:min")])
def test_a_duplicate_gets_the_results_of_the_finished_trial(make, objectives):
    record = make(CHOICE, ["a"], baseline=False, num_samples=12, objectives=objectives, sampler="random")
    searcher = StudySearcher(record, SearchStopper(None))
    trained = 0
    while (asked := searcher.suggest(str(trained))) != StudySearcher.FINISHED:
        searcher.on_trial_result(str(trained), result(0.0, images=50))
        searcher.on_trial_complete(str(trained), result(asked["settings"]["lr"], outcome="complete"))
        trained += 1
    first, *others = record.studies["a"].get_trials()
    assert trained == 2
    assert len(others) == 11
    again = next(t for t in others if t.params == first.params)
    assert (again.state, again.values) == (TrialState.COMPLETE, first.values)
    assert again.intermediate_values == first.intermediate_values
    assert again.user_attrs["reason"] == "trial 0 has the same settings, so it was not trained again"
    for name in ("scores", "metrics", "runs"):
        assert again.user_attrs[name] == first.user_attrs[name]
    assert any("repeats trial 0" in line for line in record.lines())


def test_duplicates_are_trained_where_that_is_asked_for(make):
    record = make(CHOICE, ["a"], baseline=False, num_samples=5, sampler="random", duplicates="train")
    searcher = StudySearcher(record, SearchStopper(None))
    for i in range(5):
        asked = searcher.suggest(str(i))
        searcher.on_trial_complete(str(i), result(asked["settings"]["lr"], outcome="complete"))
    assert len(record.studies["a"].trials) == 5
