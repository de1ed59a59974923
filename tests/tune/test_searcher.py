"""How studies are asked, and what is told to them: StudySearcher, the plan of a search and its reconciliation."""

import json
import math
import os
import shutil
import subprocess

import optuna
import pytest
from mmcv import Config
from optuna.trial import TrialState

from minmax_plugin.errors import ConfigError
from minmax_tune.failures import FailureKind
from minmax_tune.options import Options
from minmax_tune.queue import plan, reconcile, retry_errored
from minmax_tune.report import tables
from minmax_tune.samplers import make_sampler
from minmax_tune.scores import summary
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import REPORTS, Run, Search, code_commit

CONTENT = {"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}, "points": [{"lr": 0.5}]}
CONFIG = Config(dict(lr=0.3, optimizer=dict()))
optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def make(tmp_path):
    def build(content=CONTENT, names=("a", "b"), folder="s", config=CONFIG, **options):
        space, configs = Space.load(content), dict.fromkeys(names, config)
        options = Options(**{"objectives": ("score:max",), "num_samples": 3, **options})
        record = Search.create(tmp_path / folder, options, space, configs)
        plan(record, configs)
        return record

    return build


def ask(record, count=1):
    searcher = StudySearcher(record, SearchStopper(None))
    return searcher, [searcher.suggest(str(i)) for i in range(count)]


def result(score, images=100, **more):
    runs = [{"base": "a", "seed": 1, "metrics": {"score": score, "modes": 3.0}}]
    return {"score": score, "images": images, "seconds": 1.0, "runs": runs, **more}


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


@pytest.mark.parametrize("name", ["s?3", "a$HOME b", "50%41"])
def test_a_folder_may_have_any_name(tmp_path, name):
    record = Search.create(tmp_path / name, Options(), Space.load(CONTENT), {"a": Config(dict(lr=0.1))})
    record.studies["a"].ask()
    assert (tmp_path / name / "optuna.db").exists()
    assert len(Search.open(tmp_path / name).studies["a"].trials) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_search_that_was_killed_before_it_was_written_down_leaves_its_name_free(make):
    record = make()
    (record.folder / "search.json").unlink()
    (record.folder / "search.log").unlink()
    left = [record.folder / "optuna.db-journal", record.folder / ".search.123.json"]
    for path in left:
        path.write_text("half of it")
    make()
    assert not any(path.exists() for path in left)
    with pytest.raises(ConfigError, match="exists already; give another name"):
        make()


def test_a_search_that_was_killed_before_it_was_written_down_has_its_studies(make, tmp_path):
    """They may be in a storage that others use too; of those, nobody takes another's."""
    storage = f"sqlite:///{tmp_path}/shared.db"
    options = Options(objectives=("score:max",), storage=storage)
    for number in range(2):
        record = Search.create(tmp_path / "s", options, Space.load(CONTENT), dict.fromkeys("ab", CONFIG))
        assert [study.study_name for study in record.studies.values()] == ["s-a", "s-b"]
        if number == 0:
            (record.folder / "search.json").unlink()
            (record.folder / "search.log").unlink()
    elsewhere, minimized = tmp_path / "other/s", Options(objectives=("score:min",), storage=storage)
    with pytest.raises(ConfigError, match="has a study 's-a' already, of another search: give --name"):
        Search.create(elsewhere, options, Space.load(CONTENT), {"a": CONFIG})
    shutil.rmtree(record.folder)
    with pytest.raises(ConfigError, match="of another search"):
        Search.create(record.folder, minimized, Space.load(CONTENT), {"a": CONFIG})
    shutil.rmtree(record.folder)
    record = Search.create(record.folder, options, Space.load(CONTENT), {"a": CONFIG})
    record.studies["a"].ask()
    shutil.rmtree(record.folder)
    with pytest.raises(ConfigError, match="of another search"):
        Search.create(record.folder, options, Space.load(CONTENT), {"a": CONFIG})


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


def test_studies_draw_unlike_points(make):
    record = make({"space": CONTENT["space"]}, sampler="random", num_samples=1, baseline=False)
    _, asked = ask(record, 2)
    assert asked[0]["params"] != asked[1]["params"]


def test_the_commit_is_marked_where_files_differ_from_it(tmp_path, monkeypatch):
    def git(*command):
        person = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *person, *command], check=True, capture_output=True)

    for name in [name for name in os.environ if name.startswith("GIT_")]:  # of a hook of git's that runs the tests
        monkeypatch.delenv(name)
    monkeypatch.setattr("minmax_tune.study.CODE", tmp_path)
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    clean = code_commit.__wrapped__()
    (tmp_path / "file").write_text("2")
    assert len(clean) == 40
    assert code_commit.__wrapped__() == f"{clean}-dirty"


def test_the_unmodified_config_is_queued_once_though_its_parameters_were_other_ones(make):
    record = make(names=["a"], num_samples=3)
    renamed = {"type": "float", "low": 0.1, "high": 1.0, "keys": ["lr"]}
    record._space = Space.load({"space": {"rate": renamed}})
    plan(record, record.configs)
    sources = [t.user_attrs.get("source") for t in record.studies["a"].get_trials()]
    assert sources.count("baseline") == 1


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
