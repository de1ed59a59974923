"""Four Gaussians and 0-1 MNIST, MinMax beside GDA, over several seeds.

Runs ``minmax-train`` for each config and seed, skips what is already there, and writes
``benchmarks/results/two_experiments.csv`` (a row for each run and measurement) and ``.md`` (the README's
table, built from the CSV)::

    python benchmarks/two_experiments.py --jobs 2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas
import torch
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EXPERIMENTS = {"four_gaussians": [9000], "mnist01": [1000, 2000]}
METHODS = ("gda", "minmax")


def train(name: str, seed: int, work_dir: Path) -> None:
    """Train one config with one seed, on one thread, unless its last measurement is there."""
    done = work_dir / "metrics.jsonl"
    last = max(EXPERIMENTS[name.rpartition("_")[0]])
    if done.exists() and f'"iter": {last},' in done.read_text():
        return
    done.unlink(missing_ok=True)
    command = [sys.executable, "-m", "minmax_plugin.mmgen.train", str(ROOT / "configs" / f"{name}.py")]
    work_dir.mkdir(parents=True, exist_ok=True)
    with open(work_dir / "stdout.log", "w") as log:
        subprocess.run(
            [*command, "--seed", str(seed), "--work-dir", str(work_dir)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            check=True,
        )
    print(f"{name}, seed {seed}: done", flush=True)


def collect(work_dir: Path, seeds: list[int]) -> pandas.DataFrame:
    rows = []
    for experiment, iterations in EXPERIMENTS.items():
        for method in METHODS:
            for seed in seeds:
                lines = (work_dir / f"{experiment}_{method}" / str(seed) / "metrics.jsonl").read_text().splitlines()
                for line in map(json.loads, lines):
                    if line["iter"] in iterations:
                        rows.append({"experiment": experiment, "method": method, "seed": seed, **line})
    return pandas.DataFrame(rows)


def mean(values: pandas.Series) -> str:
    """Mean with its 95 % interval (Student's t)."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.2f} ± {half:.2f}"


def share(hits: pandas.Series) -> str:
    """Number of runs that hit, with the 95 % interval of their share (Wilson)."""
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{int(hits.sum())}/{len(hits)} ({interval.low:.0%}–{interval.high:.0%})"


def table(frame: pandas.DataFrame) -> str:
    lines = [
        "| experiment | | all present, runs | modes or digits | high quality | balance |",
        "|---|---|---|---|---|---|",
    ]
    for (experiment, iteration, method), runs in frame.groupby(["experiment", "iter", "method"], sort=False):
        gaussians = experiment == "four_gaussians"
        found, wanted = (runs["modes"], 4) if gaussians else (runs["digits"], 2)
        quality = runs["hq"] if gaussians else 1 - runs["share_other"]
        what = f"four Gaussians, cycle {iteration // 6}" if gaussians else f"0-1 MNIST (embedded), cycle {iteration}"
        name = {"gda": "GDA", "minmax": "MinMax"}[str(method)]
        cells = [what, name, share(found == wanted), mean(found), mean(quality), mean(runs["balance"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs" / "two_experiments")
    args = parser.parse_args()
    runs = [
        (f"{e}_{m}", seed, args.work_dir / f"{e}_{m}" / str(seed))
        for e in EXPERIMENTS
        for seed in args.seeds
        for m in METHODS
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda run: train(*run), runs))
    frame = collect(args.work_dir, args.seeds)
    RESULTS.mkdir(exist_ok=True)
    frame.to_csv(RESULTS / "two_experiments.csv", index=False)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    about = (
        f"`python benchmarks/two_experiments.py --seeds {' '.join(map(str, args.seeds))}` at commit {commit.strip()}; "
        f"{platform.machine()}, one CPU thread a run, torch {torch.__version__}."
    )
    text = f"{table(frame)}\n\n{about}\n"
    (RESULTS / "two_experiments.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
