"""What --resume may change: the sampler, the scheduler and the space."""

import json

import pytest
import yaml
from optuna.trial import TrialState
from search_runs import GAUSSIANS
from studies import CONFIG, ask, result

from minmax_plugin.errors import SpaceError
from minmax_plugin.mmgen.config import load_config
from minmax_tune.cli import main
from minmax_tune.options import Options
from minmax_tune.queue import plan, reconcile, withdraw
from minmax_tune.report import plots, tables
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.changed import check_kinds, rename_changed
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search

LR = {"type": "float", "low": 0.1, "high": 1.0}
K = {"type": "choice", "options": [1, 2]}
METHOD = {"type": "fragments", "options": {"own": {}, "half": {"lr": 0.5}}}

CHANGES = [
    # before, after, the name of the entry afterwards
    (LR, LR, "a"),
    (LR, {**LR, "low": 0.2, "step": 0.1}, "a"),
    (LR, {**LR, "when": {"b": 1}}, "a"),
    (LR, {**LR, "log": True}, "a (2)"),
    (LR, {**LR, "keys": ["other"]}, "a (2)"),
    (LR, {**LR, "type": "int", "low": 1, "high": 2}, "a (2)"),
    (K, {**K, "options": [1, 2, 3]}, "a (2)"),
    (K, {**K, "options": [2, 1]}, "a (2)"),
    (METHOD, {**METHOD, "options": {"own": {}, "half": {"lr": 0.4}}}, "a (2)"),
]


@pytest.mark.parametrize(("before", "after", "name"), CHANGES)
def test_a_changed_entry_is_a_new_parameter(make, before, after, name):
    record = make({"space": {"b": K, "a": before}}, ["a"])
    content = {"space": {"b": K, "a": after}, "points": [{"a": 1}]}
    changed = rename_changed(content, record.kinds)
    assert list(changed["space"]) == ["b", name]
    assert changed["points"] == [{name: 1}]
    record.change_space(Space.load(changed))
    assert rename_changed(content, Search.open(record.folder).kinds) == changed, "given again, it is the same"
    back = rename_changed({"space": {"b": K, "a": before}}, record.kinds)
    assert list(back["space"]) == ["b", "a"], "it has its history again"


def test_a_renamed_entry_drives_the_same_setting():
    content = {"space": {"m": METHOD, "lr": {**LR, "when": {"m": "own"}}}}
    changed = rename_changed(content, {"m": None, "lr": None})
    assert changed["space"]["lr (2)"] == {**LR, "keys": ["lr"], "when": {"m (2)": "own"}}
    (entry,) = Space.load({"space": {"lr (2)": {**LR, "keys": ["lr"]}}}).entries.items()
    assert entry[1].overlay(entry[0], 0.5) == {"lr": 0.5}


WIDER = {"space": {"lr": {**LR, "low": 0.05}}, "points": [{"lr": 0.06}]}
ADDED = {"space": {"lr": LR, "k": {"type": "int", "low": 1, "high": 3, "keys": ["optimizer.k"]}}}
OTHER = {"space": {"lr": {"type": "choice", "options": [0.2, 0.4]}}}


def changed(record, content):
    """The search, opened again after some trials, with another space."""
    record = Search.open(record.folder)
    space = Space.load(rename_changed(content, record.kinds))
    record.change_space(space)
    withdraw(record, grid=False)
    plan(record, {"a": CONFIG})
    return record


def run(record, trials, score=lambda settings: settings.get("lr", 0.3)):
    searcher, asked = StudySearcher(record, SearchStopper(None)), []
    for i in range(trials):
        asked.append(searcher.suggest(str(i)))
        searcher.on_trial_complete(str(i), result(score(asked[-1]["settings"]), outcome="complete"))
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "qmc", "nsga2"])
def test_any_sampler_goes_on_with_other_spaces(make, sampler):
    record = make(names=["a"], num_samples=17, seed=3, sampler=sampler, duplicates="train")
    run(record, 11)
    for content, low in ((WIDER, 0.05), (ADDED, 0.1), (OTHER, 0.2)):
        record = changed(record, content)
        asked = run(record, 2)
        assert all(low <= a["settings"]["lr"] <= 1.0 for a in asked)
    assert asked[-1]["params"].keys() == {"lr (2)"}
    rows = tables.read_rows(record)
    assert len(tables.table(record, rows)) == 17, "old trials stay in the tables"


def test_plots_show_the_trials_of_both_spaces(make):
    record = make(names=["a"], num_samples=8, duplicates="train")
    run(record, 4)
    record = changed(record, OTHER)
    run(record, 4)
    (rows,) = tables.read_rows(record).values()
    plots.draw(record.studies["a"], rows, record.objectives, record.folder / "plots")
    assert (record.folder / "plots/a_slices.svg").exists()


def test_an_entry_with_other_bounds_keeps_its_history(make):
    record = make(names=["a"], num_samples=20, baseline=False)
    run(record, 12, score=lambda settings: -abs(settings["lr"] - 0.2))
    record = changed(record, WIDER)
    asked = run(record, 8, score=lambda settings: -abs(settings["lr"] - 0.2))
    assert asked[0]["params"] == {"lr": 0.06}, "its point comes first"
    near = [a for a in asked[1:] if abs(a["params"]["lr"] - 0.2) < 0.15]
    assert len(near) >= 5, "the sampler knows where it was good"


def test_what_waits_and_does_not_fit_is_withdrawn_and_not_counted(make):
    record = make({"space": {"lr": LR}, "points": [{"lr": 0.2}, {"lr": 0.9}]}, ["a"], num_samples=5, baseline=False)
    ask(record)
    record = changed(record, {"space": {"lr": {**LR, "high": 0.5}}})
    states = [(t.state.name, t.user_attrs.get("skipped", False)) for t in record.studies["a"].trials]
    assert states == [("RUNNING", False), ("FAIL", True)]
    assert record.remaining("a") == 4
    assert record.lines() == Search.open(record.folder).lines()
    (rows,) = tables.read_rows(record).values()
    assert len(rows) == 1


@pytest.mark.parametrize(("content", "again"), [(WIDER, True), (ADDED, False), (OTHER, False)])
def test_a_killed_trial_is_run_again_where_the_space_still_has_its_settings(make, content, again):
    record = make(names=["a"], num_samples=3, baseline=False)
    ask(record)
    record = Search.open(record.folder)
    assert reconcile(record) == 1
    record = changed(record, content)
    _, [second] = ask(record)
    trial = record.studies["a"].trials[second["number"]]
    assert trial.user_attrs.get("retry_of") == (0 if again else None)
    assert record.remaining("a") == 2


def test_the_points_of_a_grid_go_with_it(make):
    content = {"space": {"lr": {**LR, "high": 1.0, "step": 0.1}}}
    record = make(content, ["a"], num_samples=6, sampler="grid", baseline=False, duplicates="train")
    run(record, 2)
    record = Search.open(record.folder)
    assert withdraw(record, grid=True) == 4
    record.update(Options.from_dict({**record.options.to_dict(), "sampler": "tpe"}))
    run(record, 4)
    sources = [t.user_attrs["source"] for t in record.counted("a")]
    assert sources == ["grid"] * 2 + ["sampler"] * 4
    assert record.remaining("a") == 0


def test_a_python_space_that_changes_a_parameter_is_one_clear_error(make):
    draw = "def space(trial): return {'lr': trial.suggest_float('x', 0.1, 1.0)}"
    record = make({"python": draw}, ["a"], baseline=False)
    run(record, 1)
    trials = record.studies["a"].trials
    check_kinds(Space.load({"python": draw.replace("0.1", "0.2")}), trials)
    with pytest.raises(SpaceError, match="the parameter 'x' was Float.*: give it another name"):
        check_kinds(Space.load({"python": draw.replace("1.0", "1.0, log=True")}), trials)


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    """Resumes a search whose trials are not run, with options."""
    monkeypatch.setattr("minmax_tune.search.run", lambda *_: None)
    space = {"space": {"optimizer.generator.lr": {"type": "choice", "options": [1.0e-4, 1.0e-3]}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    options = Options(configs=(GAUSSIANS,), num_samples=3, scheduler="asha", grace=0.5)
    configs = {"a": load_config(GAUSSIANS)}
    folder = Search.create(tmp_path / "s", options, Space.read(tmp_path / "space.yaml"), configs).folder
    return folder, lambda *more: main(["--resume", str(folder), *map(str, more)])


def test_a_search_is_resumed_with_another_sampler_scheduler_and_space(resumed, tmp_path):
    folder, resume = resumed
    (tmp_path / "other.yaml").write_text((tmp_path / "space.yaml").read_text().replace("0.0001", "0.0002"))
    resume("--sampler", "random", "--scheduler", "none", "--space", tmp_path / "other.yaml", "--max-concurrent", 1)
    record = Search.open(folder)
    options = record.options
    assert (options.sampler, options.scheduler, options.grace, options.max_concurrent) == ("random", "none", None, 1)
    assert list(record.space.entries) == ["optimizer.generator.lr (2)"]
    (changed,) = [line for line in record.lines() if "changed:" in line]
    assert changed.endswith(f"--space {tmp_path / 'other.yaml'}; 0 trials withdrawn from the queue")


WRONG = [
    (["--space", "nowhere.yaml"], "space file 'nowhere.yaml' does not exist"),
    (["--sampler", "nothing"], "--sampler must be one of tpe"),
    (["--sampler", "nowhere:Sampler"], "--sampler='nowhere:Sampler' cannot be used"),
    (["--scheduler", "median", "--resource", "seconds", "--grace", 0], "--grace must be above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_wrong_change_is_one_clear_error_and_changes_nothing(resumed, capsys, arguments, message):
    folder, resume = resumed
    before = json.loads((folder / "search.json").read_text())
    assert resume(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert json.loads((folder / "search.json").read_text()) == before


def test_a_skipped_trial_is_counted_nowhere(make):
    record = make(names=["a"], num_samples=2, baseline=False)
    ask(record)
    record.skip("a", 0, "a reason")
    assert record.remaining("a") == 2
    assert record.state()["a"]["FAIL"] == 0
    assert record.counted("a") == []
    assert record.studies["a"].trials[0].state == TrialState.FAIL
