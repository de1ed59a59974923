"""The evidence's cells: what is read from a search, and which search is started."""

import json
from types import SimpleNamespace

import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.evidence import __main__ as evidence
from benchmarks.evidence import tuning
from benchmarks.evidence.collect import Cell
from benchmarks.evidence.columns import METHODS
from benchmarks.evidence.experiments import EXPERIMENTS
from minmax_plugin.mmgen.config import load_config
from tune.options import Options, parse
from tune.record import SearchRecord
from tune.space import Space


def new_cell(place, method, *ends):
    """A cell as its search leaves it: its seeds, from 1 on, and how the training of each ended."""
    cfg = METHODS[method].config(EXPERIMENTS["four_gaussians"], {})
    points = [{"seed": seed} for seed in range(1, 101)]
    space = Space.load({"space": {"seed": {"type": "int", "low": 1, "high": 100}}, "points": points})
    options = Options(num_samples=len(ends), baseline=False)
    record = SearchRecord.create(place / "four_gaussians" / method, options, space, {method: cfg})
    for seed, (state, reason) in enumerate(ends, start=1):
        trial = create_trial(
            state=state,
            value=1.0 if state == TrialState.COMPLETE else None,
            params={"seed": seed},
            distributions={"seed": IntDistribution(1, 100)},
            user_attrs={"commit": "0123456789abcdef-dirty", **({"reason": reason} if reason else {})},
        )
        record.studies[method].add_trial(trial)
        (folder := record.trial_folder(method, seed - 1)).mkdir(parents=True)
        decided = [("initial", True), ("better", True), ("worse", False)]
        lines = [json.dumps({"reason": reason, "accepted": accepted}) for reason, accepted in decided]
        (folder / "decisions.jsonl").write_text("\n".join(lines) + "\n")
    return record


def watch(module, monkeypatch):
    """The searches that a module starts: here each ends at once, so that its command is all there is of it."""
    commands = []

    def run(command, **more):
        commands.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run))
    return commands


DONE = (TrialState.COMPLETE, None)


def test_a_cell_is_the_runs_that_ended_and_how(tmp_path):
    record = new_cell(
        tmp_path,
        "released",
        DONE,
        (TrialState.FAIL, "diverged: f is nan"),
        (TrialState.PRUNED, "collapsed"),
        (TrialState.FAIL, "interrupted: SIGINT"),  # it goes on with the search
        (TrialState.RUNNING, None),
    )
    cell = Cell.read(record.folder)
    assert [(run.seed, run.failure) for run in cell.runs] == [(1, None), (2, "diverged: f is nan"), (3, "collapsed")]
    assert cell.runs[0].kept == [True, False], "the initial pair is no decision"
    assert cell.runs[0].commit == "0123456789-dirty"


def test_a_run_that_is_here_and_committed_counts_once(tmp_path, monkeypatch):
    new_cell(tmp_path, "released", DONE, DONE)  # of which half was accepted
    (tmp_path / "committed").mkdir()
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "committed")
    batch = {"method": "released", "seeds": [1, 2, 3], "accepted": 0.2, "kept_ascent": 30.0}
    (tmp_path / "committed/four_gaussians.json").write_text(json.dumps([batch]))
    (tmp_path / "committed/four_gaussians.csv").write_text("method,seed,cycle\n")
    rates = evidence.rates_of("released", "four_gaussians", tmp_path)
    assert rates == {"accepted": 0.4, "kept_ascent": 18.0}  # two runs with 0.5 and 12, one with 0.2 and 30


@pytest.mark.parametrize(
    ("first", "seeds", "more"), [(None, 2, []), (None, 5, ["--extend", "3"]), (3, 2, ["--extend", "2"]), (2, 1, [])]
)
def test_only_the_seeds_that_a_cell_lacks_are_trained(tmp_path, monkeypatch, first, seeds, more):
    record = new_cell(tmp_path, "gda-6", DONE, DONE)
    commands = watch(evidence, monkeypatch)
    reason = evidence.run_cell("four_gaussians", "gda-6", seeds, 1, tmp_path, first)
    assert reason == "the search ended with exit code 3"
    assert commands[0][2:] == ["--resume", str(record.folder), *more, "--max-concurrent", "1"]


BEYOND = [  # a cell with the runs 1 and 2
    (4, 1, "are of the seeds from 1: give a --first from that to 3"),
    (2, 100, "are of the seeds from 1, and can be no more than 100: ask for 99 at most"),
]


@pytest.mark.parametrize(("first", "seeds", "message"), BEYOND)
def test_a_cell_has_no_gaps_and_no_seed_twice(tmp_path, monkeypatch, first, seeds, message):
    new_cell(tmp_path, "gda-6", DONE, DONE)
    commands = watch(evidence, monkeypatch)
    assert message in evidence.run_cell("four_gaussians", "gda-6", seeds, 1, tmp_path, first)
    assert not commands


def test_settings_are_searched_on_seeds_that_are_not_reported_and_the_search_goes_on(tmp_path, monkeypatch):
    commands = watch(tuning, monkeypatch)
    assert "exit code 3" in tuning.tune("four_gaussians", "gda-1", 2, 1, tmp_path)
    options = parse(commands[0][2:]).options()
    assert (options.seed, options.seeds, options.num_samples) == (1001, 4, 2)
    assert options.directions == [("balance", "max")]
    configs = {"gda-1": load_config(options.configs[0])}
    folder = tmp_path / "tuning/four_gaussians/gda-1"
    SearchRecord.create(folder, options, Space.read(options.space), configs)
    assert "exit code 3" in tuning.tune("four_gaussians", "gda-1", 5, 1, tmp_path)
    assert commands[1][2:] == ["--resume", str(folder), "--extend", "3", "--max-concurrent", "1"]
    assert tuning.objective_of(EXPERIMENTS["cifar10"]) == "kid:min"


def test_what_a_search_has_found_is_kept_by_setting(tmp_path):
    record = new_cell(tmp_path, "gda-1", DONE, (TrialState.FAIL, "ValueError: no"), (TrialState.FAIL, "interrupted"))
    found = dict(settings={"optimizer.generator.lr": 0.002}, params={"lr": 0.002}, objectives={}, trial=0, seeds=[1001])
    best = record.folder / "best" / "gda-1"
    best.mkdir(parents=True)
    (best / "params.json").write_text(json.dumps(found))
    (record.folder / "trials.csv").write_text("trial\n0\n")
    tuning.keep(record.folder, tmp_path / "best/gda-1.json", "four_gaussians", "gda-1")
    kept = json.loads((tmp_path / "best/gda-1.json").read_text())
    assert kept["settings"] == found["settings"]
    assert kept["command"] == "python -m benchmarks.evidence four_gaussians gda-1 --tune --trials 2"  # that ended
    assert (tmp_path / "best/gda-1_trials.csv").read_text() == "trial\n0\n"
