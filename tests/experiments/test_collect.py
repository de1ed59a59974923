"""What is read from runs, and how it is kept."""

import json

import pandas

from experiments.collect import Result, Run, merge_results, read_results, write_results
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS


def test_a_result_is_the_runs_that_ended(new_result):
    record = new_result(
        "released",
        "COMPLETE",
        "FAIL: diverged: f is nan",
        "PRUNED: collapsed",
        "FAIL: interrupted: SIGINT",  # the search resumes it
        "RUNNING",
    )
    result = Result.read(record.folder)
    assert [(run.seed, run.failure) for run in result.runs] == [(1, None), (2, "diverged: f is nan"), (3, "collapsed")]
    assert result.runs[0].kept == [True, False], "the initial incumbent is no decision"
    assert result.runs[0].commit == "0123456789-dirty"


def test_runs_are_grouped_by_commit():
    cfg = METHODS["gda-6"].config(EXPERIMENTS["four_gaussians"], {})
    runs = [Run(1, None, [], [], "a"), Run(2, None, [], [], "b-dirty"), Run(3, None, [], [], "a")]
    assert [[run.seed for run in part.runs] for part in Result(cfg, {}, runs).by_commit()] == [[1, 3], [2]]


def test_acceptance_rates_are_reported_over_time_too():
    cfg = METHODS["released"].config(EXPERIMENTS["four_gaussians"], {})
    kept = [[True] * 100 + [False] * 100 + [True] * 50, [True] * 100 + [True, False] * 50 + [True] * 50]
    rates = Result(cfg, {}, [Run(seed, None, [], some) for seed, some in enumerate(kept)]).rates()
    assert rates == {"accepted": 0.7, "accepted_over_time": [1.0, 0.25, 1.0], "kept_ascent": round(6 / 0.7, 2)}


def test_restoring_the_discriminator_loses_its_ascent():
    cfg = METHODS["practical"].config(EXPERIMENTS["four_gaussians"], {})
    assert Result(cfg, {}, [Run(1, None, [], [True, False])]).rates()["kept_ascent"] == 6


def test_a_mode_that_was_found_and_lost_is_forgotten():
    cfg = METHODS["gda-6"].config(EXPERIMENTS["four_gaussians"], {})
    lines = [
        {"iter": 600 * (i + 1), "cpu_seconds": i, "shares": shares}
        for i, shares in enumerate([[0.5, 0.019, 0, 0], [0.5, 0.5, 0, 0], [0, 0.02, 0, 0]])
    ]
    rows = Result(cfg, {}, [Run(1, None, lines, [])]).rows()
    assert [row["forgotten"] for row in rows] == [0, 0, 1]
    assert [row["cycle"] for row in rows] == [100, 200, 300]


def test_results_of_several_days_add_up(tmp_path):
    def results(day, seeds, modes):
        place = tmp_path / day
        place.mkdir()
        rows = [dict(method="gda-6", seed=s, cycle=c, modes=modes) for s in seeds for c in (10, 20)]
        pandas.DataFrame(rows).to_csv(place / "four_gaussians.csv", index=False)
        batch = dict(method="gda-6", seeds=seeds, commit=day, failed={str(seeds[-1]): "diverged"}, command="all")
        (place / "four_gaussians.json").write_text(json.dumps([batch]))
        merge_results(place, tmp_path / "all", "four_gaussians")

    results("zeroth", [5, 6, 7], 0)
    results("first", [1, 2, 3], 1)
    results("second", [3, 4, 6], 2)
    rows, batches = read_results(tmp_path / "all", "four_gaussians")
    assert rows[rows["cycle"] == 20]["modes"].tolist() == [1, 1, 2, 2, 0, 2, 0]
    assert [(b["commit"], b["seeds"], b["failed"], b["command"]) for b in batches] == [
        ("zeroth", [5, 7], {"7": "diverged"}, "python -m experiments four_gaussians gda-6 --seeds 3 --first 5"),
        ("first", [1, 2], {}, "python -m experiments four_gaussians gda-6 --seeds 2"),
        ("second", [3, 4, 6], {"6": "diverged"}, "all"),
    ]


def test_nothing_is_written_without_a_finished_run(tmp_path):
    (tmp_path / "four_gaussians/configs").mkdir(parents=True)
    assert not write_results(tmp_path, "four_gaussians")
    assert not list(tmp_path.glob("*.csv"))
