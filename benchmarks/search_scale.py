"""What does a finished trial cost the search itself, at ten and at ten thousand of them?

``python -m benchmarks.search_scale`` plays Ray: it asks the searcher for trials, reports measurements that it makes up,
and ends them, with two hundred running. Nothing is trained. It writes ``benchmarks/results/search_scale.csv``. Some 10
minutes on one core.

``own_ms`` and ``sampler_ms`` are milliseconds of the driver's thread for one finished trial, so that other programs on
the machine do not count. Most of the finished trials are copies, unless ``--played`` plays them all: that shows whether
memory grows in one run. Targets: ``own_ms`` (all work except the sampler's) at most 50. ``statements`` the same in
each line. ``sampler_ms`` at most 200 from 1,000 trials on. ``page_mb`` below 3.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
import unittest.mock
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import sqlalchemy
from optuna.samplers import RandomSampler, TPESampler

from benchmarks.tables import ROOT, commit, keep
from minmax_plugin.hosts import Config, load_config
from minmax_tune import searcher as searching
from minmax_tune.failures import FailureKind
from minmax_tune.options import Options
from minmax_tune.queue import fail, plan, reconcile
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.storage import DATABASE
from minmax_tune.study import Search
from minmax_tune.trial.files import config_text

RESULT = ROOT / "benchmarks" / "results" / "search_scale.csv"
SIZES = (10, 100, 1_000, 5_000, 10_000)
RUNNING = 200
WINDOW = 50  # trials that are measured at each size
PLAYED = 100  # trials that are not copies of others, by default
TRIAL = "study_id, state, datetime_start, datetime_complete"  # columns of Optuna's tables
PARTS = {
    "trial_params": "param_name, param_value, distribution_json",
    "trial_values": "objective, value, value_type",
    "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
    "trial_user_attributes": "key, value_json",
}
REPORTS = 3  # measurements of each trial
NAME = "four_gaussians"
ADAM: dict[str, dict[str, Any]] = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "betas.0": {"type": "float", "low": 0.0, "high": 0.9},
    "betas.1": {"type": "float", "low": 0.9, "high": 0.999},
}
PLAYERS = ("generator", "discriminator")
SPACE = {f"optimizer.{player}.{name}": entry for player in PLAYERS for name, entry in ADAM.items()}
SPACE |= {
    "train_cfg.disc_steps": {"type": "int", "low": 1, "high": 8},
    "data.samples_per_gpu": {"type": "int", "low": 32, "high": 512, "log": True},
}


class TimedTPE(TPESampler):
    """TPE that counts its seconds. Between the measured sizes it draws at random, which is faster."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.seconds, self.random = 0.0, RandomSampler(seed=seed)
        self.at_random = False

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.thread_time()
        yield
        self.seconds += time.thread_time() - start

    def infer_relative_search_space(self, *args: Any) -> Any:
        with self._timed():
            return {} if self.at_random else super().infer_relative_search_space(*args)

    def sample_relative(self, *args: Any) -> Any:
        with self._timed():
            return super().sample_relative(*args)

    def sample_independent(self, *args: Any) -> Any:
        with self._timed():
            return self.random.sample_independent(*args) if self.at_random else super().sample_independent(*args)

    def after_trial(self, *args: Any) -> None:
        with self._timed():
            super().after_trial(*args)


class Simulation:
    """A search whose trials are made up.

    Args:
        folder: The folder of the search. If there is one already, it is resumed.
        trials: The number of its trials.
        running: The number of trials that run at a time.
        storage: The place of its study, as the option.
    """

    def __init__(self, folder: Path, trials: int, running: int = RUNNING, storage: str | None = None) -> None:
        config = load_config("four_gaussians_minmax.py")
        options = Options(configs=("four_gaussians_minmax.py",), num_samples=trials, storage=storage)
        self.folder, self._room = folder, running
        if (folder / "search.json").exists():
            record = Search.open(folder)
            record.hold()
            reconcile(record)
        else:
            record = Search.create(folder, options, Space.load({"space": SPACE}), {NAME: config})
        plan(record, {NAME: config})
        self._begin(record)

    def _begin(self, record: Search) -> None:
        trials = len(record.studies[NAME].get_trials(deepcopy=False))
        self.record, self.sampler = record, TimedTPE(seed=1 + trials)  # a resumed search draws no point again
        self.sampler.at_random = True
        with unittest.mock.patch.object(searching, "make_sampler", return_value=self.sampler):
            self.searcher = StudySearcher(self.record, SearchStopper(None))
        self.report = Report(self.record)
        self.progress = Progress(self.record, self.report, stream=io.StringIO())
        self.running: deque[Any] = deque()
        self.finished = self.record.state()[NAME]["COMPLETE"]
        self._asked = 0
        while len(self.running) < self._room and self._start():
            pass

    def fill(self, size: int, played: int = PLAYED) -> None:
        """Have ``size`` finished trials: the first ones are played, the others are copies of them in the database.

        The search is then resumed, as after a kill.
        """
        while self.finished < min(size, played):
            self.step()
        if self.finished < size:
            self.report.stop()
            for trial in self.running:
                fail(self.record, NAME, trial.config["number"], FailureKind.ERROR, "the search was filled")
            for number in copy_trials(self.folder / DATABASE, size - self.finished):
                self._write_files({"folder": self.record.trial_folder(NAME, number), "number": number})
            self._begin(Search.open(self.folder))

    def step(self) -> float:
        """End the trial that runs longest, and begin another one.

        Returns:
            The seconds of this thread that the search took for it, without its sampler.
        """
        trial = self.running.popleft()
        self._write_files(trial.config)
        start, before = time.thread_time(), self.sampler.seconds
        for i in range(REPORTS):
            self.searcher.on_trial_result(trial.trial_id, made_up(trial.config["number"], i))
        last = made_up(trial.config["number"], REPORTS) | {"outcome": "complete"}
        self.searcher.on_trial_complete(trial.trial_id, last)
        self.progress.on_trial_complete(0, [], trial)
        self._start()
        self.finished += 1
        return time.thread_time() - start - (self.sampler.seconds - before)

    def _start(self) -> bool:
        self._asked += 1
        config = self.searcher.suggest(str(self._asked))
        if not isinstance(config, dict):
            return False
        trial = SimpleNamespace(config=config, trial_id=str(self._asked))
        self.progress.on_trial_start(0, [], trial)
        self.running.append(trial)
        return True

    def _write_files(self, config: dict[str, Any]) -> None:
        config["folder"].mkdir(parents=True)  # as a worker has made it
        cfg: Config = SimpleNamespace(pretty_text="total_iters = 1")  # type: ignore[assignment]
        (config["folder"] / f"{NAME}.py").write_text(config_text(NAME, config["number"], cfg))


def copy_trials(database: Path, count: int) -> range:
    """Add copies of finished trials to a search's SQLite database, and return their numbers."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (first,) = connection.execute("SELECT COUNT(*) FROM trials").fetchone()
        done = [row[0] for row in connection.execute("SELECT trial_id FROM trials WHERE state = 'COMPLETE'")][:PLAYED]
        for number in range(first, first + count):
            source = done[number % len(done)]
            copied = connection.execute(
                f"INSERT INTO trials (number, {TRIAL}) SELECT ?, {TRIAL} FROM trials WHERE trial_id = ?",
                (number, source),
            ).lastrowid
            for table, columns in PARTS.items():
                connection.execute(
                    f"INSERT INTO {table} (trial_id, {columns}) SELECT ?, {columns} FROM {table} WHERE trial_id = ?",
                    (copied, source),
                )
        connection.commit()
    return range(first, first + count)


def made_up(number: int, report: int) -> dict[str, Any]:
    score = (number * 0.618 % 1 + report) / (REPORTS + 1)
    metrics = {"balance": score, "modes": 4.0, "hq": score}
    runs = [{"base": NAME, "seed": 1, "metrics": metrics}]
    return {"balance": score, "images": 1000 * (report + 1), "seconds": report + 1.0, "runs": runs}


@contextlib.contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the SQL statements that are executed."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


def measure(play: Simulation, version: str) -> dict[str, Any]:
    """Measure a window of trials, and then the results."""
    finished, play.sampler.at_random = play.finished, False
    before = play.sampler.seconds
    with statements() as seen:
        own = [1000 * play.step() for _ in range(WINDOW)]
    sampler = 1000 * (play.sampler.seconds - before) / WINDOW
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    play.sampler.at_random = True
    play.report.stop()
    start = time.perf_counter()
    Report(play.record).finish()
    return {
        "finished": finished,
        "running": len(play.running),
        "own_ms": statistics.mean(own),
        "own_ms_p95": statistics.quantiles(own, n=20)[-1],
        "trials_a_second": 1000 / statistics.mean(own),
        "statements": len(seen) / WINDOW,
        "sampler_ms": sampler,
        "rss_mb": memory,
        "results_s": time.perf_counter() - start,
        "page_mb": (play.record.folder / "report.html").stat().st_size / 1e6,
        "commit": version,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="finished trials")
    parser.add_argument("--running", type=int, default=RUNNING)
    parser.add_argument("--played", action="store_true", help="play all trials, in one run")
    parser.add_argument("--place", help="where the folder of the search is made")
    args, version = parser.parse_args(), commit()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(dir=args.place) as place:
        play = Simulation(Path(place) / "search", 2 * (max(args.sizes) + len(args.sizes) * args.running), args.running)
        for size in args.sizes:
            play.fill(size, size if args.played else PLAYED)
            row = {"played": args.played, **measure(play, version)}
            print({n: round(value, 2) if isinstance(value, float) else value for n, value in row.items()}, flush=True)
            keep(RESULT, [row], ["played", "finished", "running"])
        play.report.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
