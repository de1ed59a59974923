"""Is a search as fast as the same trainings run by hand, two at a time?

``python -m benchmarks.search_throughput`` times ``tune/search.py`` from its start to its end (Ray's start and the
report included), then trains each of its trials once more, from its own config, by ``minmax-train`` in processes of
its own, as many at a time, one thread each. It writes ``benchmarks/results/search_throughput.md``. Some 25 minutes on
2 cores, which should have nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.tables import ROOT, commit, markdown
from minmax_tune.report.tables import commands
from minmax_tune.study import Search

RESULT = ROOT / "benchmarks" / "results" / "search_throughput.md"
# Settings that leave the cost of a training alone.
SPACE = """space:
  optimizer.generator.lr: {type: float, low: 1.0e-4, high: 1.0e-3, log: true}
  optimizer.discriminator.lr: {type: float, low: 1.0e-4, high: 1.0e-3, log: true}
"""


def search(place: Path, args: argparse.Namespace) -> tuple[Search, float]:
    """Run the search; give its record and the seconds from start to end."""
    (place / "space.yaml").write_text(SPACE)
    config = place / "config.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/four_gaussians_minmax.py')!r}\n"
        f"total_iters = {args.iterations}\n"
        f"checkpoint_config = dict(interval={args.iterations}, by_epoch=False)\n"
    )
    command = [sys.executable, ROOT / "tune/search.py", config, "--space", place / "space.yaml", "--sampler", "random"]
    command += ["--num-samples", args.trials, "--max-concurrent", args.at_once]
    command += ["--storage-path", place, "--name", "search"]
    began = time.monotonic()
    subprocess.run([str(c) for c in command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return Search.open(place / "search"), time.monotonic() - began


def by_hand(record: Search, at_once: int) -> tuple[list[float], float]:
    """Train each trial again; give the seconds of each, and of all."""

    def train(line: str) -> float:
        began = time.monotonic()
        words = [word for word in shlex.split(line) if "=" not in word][1:]
        subprocess.run(
            [sys.executable, "-m", "minmax_plugin.cli.train", *words],
            check=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.monotonic() - began

    ((name, study),) = record.studies.items()
    lines = [line for trial in study.get_trials() for line in commands(record, name, trial.number)]
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        each = list(pool.map(train, lines))
    return each, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=9000, help="of each trial; should make it take a minute")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        record, searched = search(Path(place), args)
        each, trained = by_hand(record, args.at_once)
    rates = [args.trials / seconds * 3600 for seconds in (searched, trained)]
    rows = [
        ["`tune/search.py`, from start to end", f"{searched:.0f}", f"{rates[0]:.1f}"],
        ["the same trainings by `minmax-train`", f"{trained:.0f}", f"{rates[1]:.1f}"],
        ["ratio (target: 0.90 or more)", "", f"{rates[0] / rates[1]:.2f}"],
    ]
    lines = [
        f"`python -m benchmarks.search_throughput --trials {args.trials} --at-once {args.at_once} --iterations "
        f"{args.iterations}` at {commit()}; {platform.machine()}, {os.cpu_count()} cores, one thread a training. "
        f"A training by hand took {statistics.median(each):.0f} s (median; {min(each):.0f} to {max(each):.0f}).",
        "",
        markdown(["", "seconds in all", "trials an hour"], rows),
        "",
    ]
    RESULT.write_text("\n".join(lines))
    print(RESULT.read_text())
    return 0 if rates[0] >= 0.9 * rates[1] else 1


if __name__ == "__main__":
    sys.exit(main())
