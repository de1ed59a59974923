"""--confirm: which seeds are fresh, what is trained on them, what is said of it, and that a kill loses nothing."""

import io
import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from mmcv import Config
from optuna.trial import TrialState
from search_runs import search, short_config, space_file, start, trials, wait_for

from benchmarks.search_scale import statements
from minmax_tune.confirmation import Confirmation, confirms
from minmax_tune.options import Options
from minmax_tune.queue import plan, reconcile
from minmax_tune.report.confirmed import read_confirmed
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.report.tables import read_rows
from minmax_tune.scores import difference
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search

CONTENT = {"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}, "points": [{"lr": 0.5}]}
CONFIG = Config(dict(lr=0.3, optimizer=dict(), data=dict(samples_per_gpu=8)))


@pytest.fixture
def make(tmp_path):
    def build(scores=(0.2, 0.8), content=CONTENT, **options):
        """A search whose trials ended with these scores."""
        options = Options(objectives=("score:max",), num_samples=len(scores), confirm=3, **options)
        configs = {"a": CONFIG}
        record = Search.create(tmp_path / "s", options, Space.load(content), configs)
        plan(record, configs)
        train(record, scores)
        return record

    return build


def train(record, scores):
    """Have the trials of a search end with these scores, or fail for ``None``."""
    searcher = StudySearcher(record, SearchStopper(None))
    asked = []
    for i, score in enumerate(scores):
        asked.append(searcher.suggest(str(i)))
        assert isinstance(asked[-1], dict), "the search has ended"
        runs = [{"base": "a", "seed": run.seed, "metrics": {"score": score}} for run in asked[-1]["runs"]]
        result = {"score": score, "images": 9, "seconds": 1.0, "runs": runs, "outcome": "complete"}
        failed = {"outcome": "failed", "failure": "diverged", "reason": "diverged: nan"}
        searcher.on_trial_complete(str(i), failed if score is None else result)
    assert searcher.suggest("more") == StudySearcher.FINISHED
    return asked


def said(record):
    report = Report(record)
    report.finish()
    stored = json.loads((record.folder / "summary.json").read_text())["studies"]["a"]["confirmed"]
    return stored, report.closing().split("(report.html to look at)\n\n")[1].splitlines()


def test_both_are_trained_on_seeds_that_the_search_has_not_used(make):
    record = make(seed=5, seeds=2)
    confirmation = Confirmation(record)
    confirmation.plan()
    asked = train(confirmation, [0.1, 0.7, 0.2, 0.8, 0.3, 0.9])
    assert [a["settings"] for a in asked] == [
        settings for seed in (7, 8, 9) for settings in ({"seed": seed}, {"lr": 0.5, "seed": seed})
    ]
    assert [[run.seed for run in a["runs"]] for a in asked] == [[7], [7], [8], [8], [9], [9]]
    assert len({a["folder"] for a in asked}) == 6
    # the search itself has neither more trials nor another best
    assert len(record.studies["a"].trials) == 2
    assert [row.number for row in read_rows(record)["a"]] == [1, 0]
    confirmation.plan()
    assert confirmation.remaining("a") == 0


def test_a_seed_that_the_space_has_drawn_is_not_fresh(make):
    content = {"space": {"s": {"type": "int", "low": 2, "high": 3, "keys": ["seed"]}}, "points": [{"s": 3}]}
    record = make(content=content)
    assert Confirmation(record).fresh_seeds(read_rows(record)["a"]) == [2, 4, 5]


def test_the_gain_is_said_with_its_interval(make):
    record = make()
    assert said(record)[1] == ["not confirmed yet"]
    confirmation = Confirmation(record)
    confirmation.plan()
    train(confirmation, [0.1, 0.7, 0.2, 0.8, 0.3, 0.9])
    stored, lines = said(record)
    assert stored["gain"] == pytest.approx(0.6)
    assert stored["interval"] == pytest.approx([0.3733, 0.8267], abs=1e-4)
    assert stored["sides"][1]["interval"] == pytest.approx([0.5516, 1.0484], abs=1e-4)
    assert [side["scores"] for side in stored["sides"]] == [
        {"2": 0.1, "3": 0.2, "4": 0.3},
        {"2": 0.7, "3": 0.8, "4": 0.9},
    ]
    assert lines == [
        "unmodified config: score 0.2000 on 3 fresh seeds",
        "best, trial 1: score 0.8000 on 3 fresh seeds; better by 0.6000, 95 % interval 0.3733 to 0.8267",
    ]
    for name in ("leaderboard.md", "report.html"):
        text = (record.folder / name).read_text()
        assert all(line in text for line in lines), name


def test_a_loss_and_an_unclear_gain_are_called_so(make):
    record = make()
    confirmation = Confirmation(record)
    confirmation.plan()
    train(confirmation, [0.5, 0.1, 0.6, 0.1, 0.7, 0.2])
    assert "; worse by 0.4667, 95 % interval 0.2618 to 0.6715" in said(record)[1][1]


def test_where_less_is_better_a_gain_is_positive_too(make):
    record = make(scores=(0.8, 0.2))
    record.options = Options.from_dict(record.options.to_dict() | {"objectives": ("score:min",)})
    confirmation = Confirmation(record)
    confirmation.plan()
    train(confirmation, [0.8, 0.5, 0.4, 0.4, 0.3, 0.3])
    stored, lines = said(record)
    assert stored["gain"] == pytest.approx(0.1)
    assert "; not clear yet: better by 0.1000, 95 % interval -0." in lines[1]


def test_failed_runs_are_counted_and_end_nothing(make):
    record = make()
    confirmation = Confirmation(record)
    confirmation.plan()
    train(confirmation, [None, None, None, 0.8, None, 0.9])  # three failures alone would end a search
    stored, lines = said(record)
    assert (stored["gain"], stored["sides"][0]["failed"]) == (None, dict.fromkeys("234", "diverged: nan"))
    assert lines[0] == "unmodified config: score – on 0 of 3 fresh seeds (3 failed)"
    assert lines[1].startswith("best, trial 1: score 0.8500 on 2 of 3 fresh seeds (1 failed)")


def test_the_unmodified_config_as_the_best_has_no_gain_to_confirm(make):
    record = make(scores=(0.8, 0.2))
    confirmation = Confirmation(record)
    confirmation.plan()
    assert [a["settings"] for a in train(confirmation, [0.5, 0.6, 0.7])] == [{"seed": seed} for seed in (2, 3, 4)]
    stored, [line] = said(record)
    assert stored["gain"] is None
    assert line.startswith("unmodified config: score 0.6000 on 3 fresh seeds")
    assert line.endswith("no trial was better, so there is no gain to confirm")


def test_without_a_finished_trial_there_is_nothing_to_confirm(make):
    record = make(scores=(None,))
    confirmation = Confirmation(record)
    confirmation.plan()
    assert confirmation.remaining("a") == 0
    assert said(record)[1] == ["nothing to confirm: no trial has finished"]


def test_its_studies_are_held_in_memory_and_written_like_the_search_s(make):
    record = make()
    confirmation = Confirmation(record)
    confirmation.plan()
    searcher = StudySearcher(confirmation, SearchStopper(None))
    searcher.suggest("0")
    assert confirmation.storage is record.storage
    with statements() as seen:
        assert confirmation.state()["a"] | {"RUNNING": 1, "left": 5} == confirmation.state()["a"]
        read_confirmed(confirmation, read_rows(record))
    assert not seen
    here, there = (
        [(t.number, t.state, t.user_attrs) for t in its.studies["a"].get_trials()]
        for its in (Confirmation(record), Confirmation(Search.open(record.folder)))
    )
    assert here == there
    assert len(here) == 6


def test_the_results_follow_its_runs(make, monkeypatch):
    monkeypatch.setattr("minmax_tune.report.results.PAUSE", 0)
    record = make()
    confirmation, report, out = Confirmation(record), Report(record), io.StringIO()
    confirmation.plan()
    says = Progress(confirmation, report, stream=out)
    for asked in train(confirmation, [0.1, 0.7, 0.2, 0.8, 0.3, 0.9]):
        says.on_trial_complete(iteration=1, trials=[], trial=SimpleNamespace(config=asked))
    table, end = record.folder / "leaderboard.md", time.monotonic() + 60
    while not (table.exists() and "; better by 0.6000" in table.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    report.stop()
    assert "; better by 0.6000" in table.read_text()
    assert "[6/6]" in out.getvalue()
    assert "a unmodified config on fresh seed 2: score 0.1000\n" in out.getvalue()
    report.finish()
    assert len(list((confirmation.folder / "trials").glob("*/a.py"))) == 6


def test_no_limit_of_the_search_cuts_its_runs(make):
    options = Confirmation(make(trial_time=60.0, time_budget=60.0)).options
    assert (options.trial_time, options.time_budget) == (None, None)


def test_another_best_trial_is_confirmed_beside_the_same_runs_of_the_unmodified_config(make):
    record = make()
    confirmation = Confirmation(record)
    confirmation.plan()
    train(confirmation, [0.1, 0.7, 0.2, 0.8, 0.3, 0.9])
    record.update(record.options, extend=1)
    train(record, [0.9])
    confirmation = Confirmation(record)
    confirmation.plan()
    asked = train(confirmation, [0.4, 0.5, 0.6])
    assert {a["settings"]["lr"] for a in asked} == {record.studies["a"].trials[2].params["lr"]}
    stored, lines = said(record)
    assert (stored["trial"], stored["gain"]) == (2, pytest.approx(0.3))
    assert lines[1].startswith("best, trial 2: score 0.5000 on 3 fresh seeds")


def test_a_run_that_was_cut_is_run_again_and_counts_once(make):
    record = make()
    confirmation = Confirmation(record)
    confirmation.plan()
    StudySearcher(confirmation, SearchStopper(None)).suggest("killed")
    confirmation = Confirmation(record)
    assert reconcile(confirmation) == 1
    confirmation.plan()
    assert confirmation.remaining("a") == 6
    asked = train(confirmation, [0.7, 0.2, 0.8, 0.3, 0.9, 0.1])
    assert asked[-1]["settings"] == {"seed": 2}
    values = {key: row.value for key, row in confirmation.rows()["a"].items()}
    assert values == {(None, 2): 0.1, (None, 3): 0.2, (None, 4): 0.3, (1, 2): 0.7, (1, 3): 0.8, (1, 4): 0.9}


@pytest.mark.filterwarnings("error")
def test_equal_values_differ_by_their_difference():
    gain, bounds = difference([0.7, 0.8, 0.9], [0.2, 0.2, 0.2])  # as where every mode but one is lost
    assert [gain, *bounds] == pytest.approx([0.6, 0.3516, 0.8484], abs=1e-4)
    assert difference([4.0, 4.0], [1.0, 1.0]) == (3.0, [3.0, 3.0])
    assert difference([4.0], [1.0, 1.0]) == (3.0, None)
    assert difference([], [1.0]) is None


@pytest.mark.slow
def test_a_confirmation_that_is_killed_is_gone_on_with(tmp_path):
    config = short_config(tmp_path, iterations=60, pause=0.05)
    options = ["--space", space_file(tmp_path), "--num-samples", 3, "--confirm", 2, "--metric", "hq"]
    run = start(config, *options, "--max-concurrent", 1, "--storage-path", tmp_path, "--name", "s")
    folder = tmp_path / "s"

    def states():
        return [t.state for t in trials(folder, "short.confirm")]

    wait_for(lambda: states().count(TrialState.COMPLETE) == 1 and TrialState.RUNNING in states(), run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = [t for t in trials(folder, "short.confirm") if t.state == TrialState.COMPLETE]
    output = search("--resume", folder)
    after = trials(folder, "short.confirm")
    done = [t for t in after if t.state == TrialState.COMPLETE]
    assert [(t.number, t.values) for t in done[: len(before)]] == [(t.number, t.values) for t in before]
    assert len(done) == len({confirms(t) for t in done}), "nothing was trained twice"
    best = read_rows(Search.open(folder))["short"][0]
    assert {confirms(t) for t in done} == {(n, seed) for n in {None, best.number} - {0} for seed in (2, 3)}
    assert len(trials(folder, "short")) == 3
    assert "unmodified config: hq " in output
    assert (folder / "samples.png").exists()
