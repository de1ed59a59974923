"""Does a search end trials as fast as bare Ray Tune, where the trials themselves cost nothing?

``python -m benchmarks.search_ray`` runs the same made-up trials on real Ray in turns: by Ray Tune alone, with points
drawn at random, and by a search, with its database, its sampler, its results and its page. Both reuse their workers.
It writes ``benchmarks/results/search_ray.csv``. Some 8 minutes on 2 cores, which should have nothing else to do.
Target: ``ratio`` of 0.80 or more.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import ray
from ray import tune

from benchmarks.search_scale import NAME, REPORTS, SPACE, made_up
from benchmarks.tables import ROOT, commit, keep
from minmax_plugin.hosts import load_config
from minmax_tune import tuner
from minmax_tune.machine import count_cores
from minmax_tune.options import Options
from minmax_tune.queue import plan
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search

RESULT = ROOT / "benchmarks" / "results" / "search_ray.csv"


def trial(config: dict[str, Any]) -> None:
    """Report as a trial of a search does, and train nothing."""
    number = config.get("number", 0)
    for report in range(REPORTS):
        tune.report({**made_up(number, report), "runs_ended": 0})
    tune.report({**made_up(number, REPORTS), "runs_ended": 1, "outcome": "complete"})


def bare(folder: Path, trials: int, workers: int) -> None:
    """Run the trials by Ray Tune alone."""
    tuner.connect("local")
    try:
        space = {path: tune.uniform(entry["low"], entry["high"]) for path, entry in SPACE.items()}
        tune.Tuner(
            tune.with_resources(trial, {"cpu": count_cores() / workers}),
            param_space=space,
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
            run_config=tune.RunConfig(name="bare", storage_path=str(folder), verbose=0),
        ).fit()
    finally:
        ray.shutdown()


def search(folder: Path, trials: int, workers: int) -> None:
    """Run the trials by a search."""
    options = Options(configs=("four_gaussians_minmax.py",), num_samples=trials, cpus_per_trial=count_cores() / workers)
    configs = {NAME: load_config("four_gaussians_minmax.py")}
    record = Search.create(folder / "search", options, Space.load({"space": SPACE}), configs)
    plan(record, configs)
    report = Report(record)
    with patch.object(tuner, "run_trial", trial):
        tuner.run(record, [Progress(record, report, stream=io.StringIO())], SearchStopper(None))
    report.finish()
    assert record.state()[NAME]["COMPLETE"] == trials


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=300, help="in each turn")
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    args, version = parser.parse_args(), commit()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds: dict[str, list[float]] = {"bare": [], "search": []}
    for turn in range(args.turns):
        for run in (bare, search)[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as place:
                began = time.monotonic()
                run(Path(place), args.trials, args.workers)
                seconds[run.__name__].append(time.monotonic() - began)
                print(f"{run.__name__}: {args.trials / seconds[run.__name__][-1]:.2f} trials a second", flush=True)
    rates = {name: statistics.mean(args.trials / taken for taken in each) for name, each in seconds.items()}
    row = {
        "trials": args.trials,
        "workers": args.workers,
        "turns": args.turns,
        "bare_a_second": rates["bare"],
        "search_a_second": rates["search"],
        "ratio": rates["search"] / rates["bare"],
        "commit": version,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    keep(RESULT, [row], ["trials", "workers"])
    print(row)
    return 0 if row["ratio"] >= 0.8 else 1


if __name__ == "__main__":
    sys.exit(main())
