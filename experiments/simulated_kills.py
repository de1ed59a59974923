"""What a search of thousands of trials loses when its process is killed and resumed.

``python -m experiments.simulated_kills`` writes ``experiments/results/simulated_kills.md``. The trials are made up, as
in ``benchmarks/search_scale.py``, and the kills are real. A short form is in tests/tune/test_database_faults.py.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import optuna

from benchmarks.search_scale import NAME, Simulation
from benchmarks.tables import ROOT, commit, markdown
from experiments.search_kills import STORAGES, is_consistent, read_trials, storage_of

RESULT = ROOT / "experiments/results/simulated_kills.md"
RUNNING = 20  # trials at a time
HEADER = ("storage", "kills", "complete at each kill", "run again", "complete in the end", "lost or changed", "minutes")


def play(folder: Path, trials: int, storage: str | None) -> None:
    """Play a search to its end, and say after each trial how many have finished."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    simulation = Simulation(folder, trials, running=RUNNING, storage=storage)
    while simulation.running:
        simulation.step()
        print(simulation.finished, flush=True)
    simulation.report.stop()


def kill_and_resume(folder: Path, trials: int, kills: int, storage: str | None, seed: int = 0) -> list[object]:
    """Kill a simulated search at random moments until the kills are used up, and let it end.

    Args:
        folder: The folder of the search, which does not exist yet.
        trials: The number of its trials.
        kills: The number of kills.
        storage: The place of its study, as the option.
        seed: The seed of the moments.

    Returns:
        The columns of the table from ``kills`` to ``lost or changed``.

    Raises:
        RuntimeError: If the search did not end with exactly its trials, or a finished trial changed.
    """
    moments = random.Random(seed)
    known: dict[int, float | None] = {}
    seen: list[int] = []
    for threshold in [*sorted(moments.sample(range(trials - RUNNING), kills)), None]:
        command = [sys.executable, "-m", "experiments.simulated_kills", "--play", str(folder), "--trials", str(trials)]
        command += ["--storage", storage] if storage else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
            assert run.stdout is not None
            for line in run.stdout:
                if threshold is not None and int(line) >= threshold:
                    time.sleep(moments.uniform(0, 0.1))  # anywhere in the work for a trial
                    run.kill()
        stored = read_trials(folder, NAME, storage)
        complete = {trial.number: trial.value for trial in stored if trial.state.name == "COMPLETE"}
        changed = sum(complete.get(number) != value for number, value in known.items())
        ended = is_consistent(stored, known, trials) if threshold is None else run.returncode == -signal.SIGKILL
        if changed or not ended or (threshold is None and run.returncode):
            raise RuntimeError(f"{changed} lost or changed, {len(complete)} complete, exit code {run.returncode}")
        known |= complete
        seen.append(len(complete))
    again = sum("retry_of" in trial.user_attrs for trial in stored)
    if copies := sum("same settings" in trial.user_attrs.get("reason", "") for trial in stored):
        raise RuntimeError(f"{copies} trials were not played: they repeat others")
    return [kills, ", ".join(map(str, seen[:-1])), again, seen[-1], changed]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=STORAGES)
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--storage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        play(args.play, args.trials, args.storage)
        return 0
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        for kind in args.storages:
            began, storage = time.monotonic(), storage_of(kind, Path(place), stack)
            row = kill_and_resume(Path(place) / kind, args.trials, args.kills, storage)
            rows.append([kind, *row, f"{(time.monotonic() - began) / 60:.0f}"])
            print(rows[-1], flush=True)
            lines = [
                f"`python -m experiments.simulated_kills --trials {args.trials} --kills {args.kills} --storages "
                f"{' '.join(args.storages)}` at {commit()}; {platform.machine()}, {os.cpu_count()} cores, which others "
                "used too.",
                "",
                markdown(HEADER, rows),
            ]
            RESULT.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
