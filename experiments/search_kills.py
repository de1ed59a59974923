"""What a search loses when its driver is killed at random moments and resumed.

``python -m experiments.search_kills [--kills 20]`` writes ``experiments/results/search_kills.md``. SIGKILL goes to the
command alone. Each search is killed and resumed until it is done; searches begin until the kills are used up: a third
of them with SQLite, a journal file and PostgreSQL each. A short form is in tests/tune/test_failures.py.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from benchmarks.tables import ROOT, commit, markdown

sys.path.insert(0, str(ROOT / "tests"))

import postgresql
from search_runs import short_config, space_file, start

from minmax_tune.storage import open_storage

STORAGES = ("SQLite", "journal", "PostgreSQL")
HEADER = ("kill", "storage", "after, s", "complete", "lost", "changed", "run again")


def storage_of(kind: str, folder: Path, stack: contextlib.ExitStack) -> str | None:
    """Return a place for studies, as the option; PostgreSQL's server runs as long as the stack is open."""
    if kind == "PostgreSQL":
        server = stack.enter_context(postgresql.server())
        os.environ["PASSWORD"] = server.quoted
        return str(server.url())
    return f"journal:{folder / 'journal'}" if kind == "journal" else None


def read_trials(folder: Path, study: str, storage: str | None) -> list[FrozenTrial]:
    """Read the trials of a study as they are stored."""
    name = f"{folder.name}-{study}" if storage else study
    return optuna.load_study(study_name=name, storage=open_storage(storage, folder)).get_trials()


def is_consistent(stored: list[FrozenTrial], known: Mapping[int, float | None], wanted: int) -> bool:
    """Whether a search that was killed and resumed has ended as it should.

    Args:
        stored: The trials of its study.
        known: The values of the trials that were complete at a kill, by number.
        wanted: The number of trials that it was to have.
    """
    retried = [t.user_attrs["retry_of"] for t in stored if "retry_of" in t.user_attrs]
    return (
        sum(t.state.name == "COMPLETE" for t in stored) == wanted
        and all(t.state.name in ("COMPLETE", "FAIL") for t in stored)
        and len(set(retried)) == len(retried)
        and all(stored[n].state.name == "FAIL" for n in retried)
        and all(stored[n].value == value for n, value in known.items())
    )


def kill_once(
    search: Callable[[], list[FrozenTrial]],
    run: subprocess.Popen[str],
    wait: float,
    at_work: bool,
    known: dict[int, float | None],
) -> dict[str, object]:
    """Kill a running search after ``wait`` seconds; ``at_work``: after its first measurement."""
    began = since = time.monotonic()
    before = count(search)
    while time.monotonic() - since < wait and run.poll() is None:
        time.sleep(0.05)
        if at_work and count(search) == before:
            since = time.monotonic()
    after = time.monotonic() - began
    finished = run.poll() is not None
    if not finished:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    stored = search()
    complete = {t.number: t.value for t in stored if t.state.name == "COMPLETE"}
    lost = [n for n in known if n not in complete]
    changed = [n for n in known if complete.get(n, known[n]) != known[n]]
    again = [t.number for t in stored if t.user_attrs.get("retry_of") in complete]
    known.update(complete)
    return {"after, s": f"{after:.1f}", "complete": len(complete), "lost": len(lost), "changed": len(changed),
            "run again": len(again), "finished": finished}  # fmt: skip


def count(search: Callable[[], list[FrozenTrial]]) -> int:
    """The number of measurements in the study."""
    try:
        return sum(len(t.intermediate_values) for t in search())
    except Exception:  # there is no study yet, or half of one
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=10, help="of each search")
    parser.add_argument("--latest", type=float, default=12, help="seconds within which it is killed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    moments = random.Random(args.seed)
    rows: list[dict[str, object]] = []
    searches, ends = 0, []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        storages = {kind: storage_of(kind, Path(place), stack) for kind in STORAGES}
        while len(rows) < args.kills:
            kind = STORAGES[len(rows) * len(STORAGES) // args.kills]
            due = -(-(STORAGES.index(kind) + 1) * args.kills // len(STORAGES))  # kills until the next storage's turn
            searches += 1
            scratch = Path(place) / str(searches)
            scratch.mkdir()
            name, log = f"s{searches}", scratch / "log"
            folder, known = scratch / name, dict[int, float | None]()
            search = functools.partial(read_trials, folder, "short", storages[kind])
            options = ["--storage-path", scratch, "--name", name, "--num-samples", args.trials]
            options += ["--storage", storages[kind]] if storages[kind] else []
            run = start(short_config(scratch, pause=0.02), "--space", space_file(scratch), *options, log=log)
            while True:
                # before the folder is there, there is nothing to resume
                while not (folder / "search.json").exists() and run.poll() is None:
                    time.sleep(0.05)
                more = len(rows) < due
                # three in four while trials run, one in four while it starts
                at_work, wait = moments.random() < 0.75, moments.uniform(0, args.latest)
                row = kill_once(search, run, wait if more else 1e9, at_work and more, known)
                if row.pop("finished"):
                    break
                rows.append({"kill": len(rows) + 1, "storage": kind, **row})
                print(rows[-1], flush=True)
                run = start("--resume", folder, log=log)
            consistent = run.returncode == 0 and is_consistent(search(), known, args.trials)
            ends.append(consistent)
            print(f"search {searches}: {'consistent' if consistent else log.read_text()}", flush=True)
    lines = [
        f"`python -m experiments.search_kills --kills {args.kills} --trials {args.trials} --latest {args.latest:g} "
        f"--seed {args.seed}` at {commit()}; {platform.machine()}, {os.cpu_count()} cores; "
        f"{(time.monotonic() - began) / 60:.0f} minutes.",
        "Three kills in four come within that many seconds of the first measurement, the others of the start.",
        "",
        f"{len(rows)} kills over {searches} searches of {args.trials} trials: {sum(ends)} of {len(ends)} searches "
        f"ended consistent: exactly {args.trials} COMPLETE trials, nothing left RUNNING, only failed trials run again.",
        "",
        markdown(HEADER, [[row[name] for name in HEADER] for row in rows]),
    ]
    (ROOT / "experiments/results/search_kills.md").write_text("\n".join(lines) + "\n")
    return 0 if all(ends) else 1


if __name__ == "__main__":
    sys.exit(main())
