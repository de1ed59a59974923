"""A search of many trials: its work for one of them does not grow with the others."""

import re

import optuna
import pytest
from mmcv import Config
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from benchmarks.search_scale import Simulation, statements
from minmax_tune import samplers
from minmax_tune.memory import HeldStorage, Tally, counted
from minmax_tune.options import Options
from minmax_tune.queue import retry
from minmax_tune.report import html, plots
from minmax_tune.report.results import Report
from minmax_tune.space.space import Space
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives
RATE = {"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}}


@pytest.fixture
def play(tmp_path):
    play = Simulation(tmp_path / "s", trials=300, running=20)
    play.sampler.at_random = True
    yield play
    play.report.stop()


@pytest.fixture
def record(tmp_path):
    options = Options(num_samples=9, objectives=("score:max",))
    return Search.create(tmp_path / "s", options, Space.load(RATE), {"a": Config(dict(lr=0.3))})


def test_the_statements_for_a_trial_do_not_depend_on_the_finished_ones(play):
    counts = []
    for size in (20, 120):
        while play.finished < size:
            play.step()
        with statements() as seen:
            play.step()
        counts.append(len(seen))
    assert counts[0] == counts[1] > 0
    assert play.searcher._stopper.reason is None


def test_the_memory_and_the_storage_of_a_search_agree(play):
    for _ in range(30):
        play.step()
    (here,) = (study.get_trials() for study in play.record.studies.values())
    (there,) = (study.get_trials() for study in Search.open(play.record.folder).studies.values())
    assert len(here) == len(there) == 50
    for ours, stored in zip(here, there, strict=True):
        for name in ("number", "state", "params", "distributions", "user_attrs", "values", "intermediate_values"):
            assert getattr(ours, name) == getattr(stored, name), name


def test_a_change_that_the_storage_refuses_is_not_made_in_memory(record):
    study = record.studies["a"]
    trial = study.ask()
    Search.open(record.folder).studies["a"].tell(0, state=TrialState.FAIL)  # another program
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study.tell(trial, 0.5)
    assert study.trials[0].state == TrialState.RUNNING


def test_what_another_program_queues_is_run(record):
    record.studies["a"].ask()
    Search.open(record.folder).studies["a"].enqueue_trial({"lr": 0.7})
    study = record.studies["a"]
    study.ask()
    assert study.ask().suggest_float("lr", 0.1, 1.0) == 0.7
    assert [t.number for t in Search.open(record.folder).studies["a"].trials] == [0, 1, 2]


def test_a_trial_is_written_whole_or_not_at_all(record):
    with record.written_whole():
        trial = record.studies["a"].ask()
        trial.suggest_float("lr", 0.1, 1.0)
        assert not Search.open(record.folder).studies["a"].trials
        trial.set_user_attr("settings", {})
    (stored,) = Search.open(record.folder).studies["a"].trials
    assert (stored.state, stored.params, stored.user_attrs) == (TrialState.RUNNING, trial.params, {"settings": {}})


def test_a_trial_that_a_retry_replaced_is_not_counted():
    study = optuna.create_study()
    tally = Tally(study)
    for state in (TrialState.FAIL, TrialState.FAIL, TrialState.PRUNED):
        study.tell(study.ask(), state=state)
        tally.read()
    retry(study, study.trials[0], continues=False)  # one that was counted
    study.tell(study.ask(), state=TrialState.FAIL)
    retry(study, study.trials[3], continues=False)  # one that was not
    for state in (TrialState.WAITING, TrialState.RUNNING):
        if state == TrialState.RUNNING:
            study.ask()
        counts = tally.read()
        begun = [t.state for t in counted(study.trials)]
        assert {s: counts[s] for s in TrialState if s != TrialState.WAITING} == {
            s: begun.count(s) for s in TrialState if s != TrialState.WAITING
        }


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_tpe_sees_the_best_and_the_latest_trials(monkeypatch, direction):
    for name, value in {"HISTORY": 10, "BEST": 3, "SPARE": 2}.items():
        monkeypatch.setattr(samplers, name, value)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, direction=direction, sampler=TPESampler())
    seen = samplers.as_sampled(study, storage)
    for number in range(30):
        trial = seen.ask()
        study.tell(trial, 100 + number if number in (3, 4, 5) else -number % 7)
        seen.get_trials(deepcopy=False)
    running = seen.ask()
    numbers = [trial.number for trial in seen.get_trials(deepcopy=False)]
    assert len(study.trials) == 31
    assert len(numbers) <= 10 + 2 + 1
    assert set(range(24, 30)) | {running.number} < set(numbers)
    best = sorted(study.trials[:30], key=lambda t: t.value, reverse=direction == "maximize")[0]
    assert best.value in [trial.value for trial in seen.get_trials(deepcopy=False)]


def test_a_page_of_many_trials_shows_the_best_and_links_the_rest(play, monkeypatch):
    monkeypatch.setattr(html, "SHOWN", 10)
    monkeypatch.setattr(plots, "DRAWN", 12)
    for _ in range(40):
        play.step()
    Report(play.record).finish()
    page = (play.record.folder / "report.html").read_text()
    assert page.count('<details class="again">') == 10
    assert re.search(r'The first 10 of 60 trials; <a href="trials.csv">', page)
    best = max(t.value for t in play.record.studies["four_gaussians"].trials if t.value is not None)
    assert f'data-value="{best}"' in page
    assert len((play.record.folder / "trials.csv").read_text().splitlines()) == 61


def test_studies_are_held_once(record):
    before = record.storage
    record.hold()
    assert record.storage is before
    assert isinstance(before, HeldStorage)
