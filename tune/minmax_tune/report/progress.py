"""Messages of a running search: a line for each trial that ends, and on a terminal a line that stays up to date."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from ray import tune
from tqdm import tqdm

from minmax_plugin.secrets import hide
from minmax_tune.pickling import EmptyPickle
from minmax_tune.report import tables
from minmax_tune.report.results import Report
from minmax_tune.study import Search

HEARTBEAT_S = 300.0  # seconds after which a log without news gets a sign of life


class Progress(EmptyPickle, tune.Callback):
    """Says how a search goes, and has its results written as trials end.

    Args:
        record: The search.
        report: The writer of its results.
        stream: The stream for the messages, by default standard output.
    """

    def __init__(self, record: Search, report: Report, stream: IO[str] | None = None) -> None:
        self._record, self._report = record, report
        self._stream = stream or sys.stdout
        self._start = self._said = time.monotonic()
        self._running: set[tuple[str, int]] = set()
        self._count()
        rows = tables.read_rows(record) if record.competes else {}
        self._best = {name: tables.best(ranked) for name, ranked in rows.items()}
        self._before = self._done  # by an earlier run of this search
        # Only where someone watches: a log would be filled with its updates.
        self._bar = tqdm(
            total=self._total,
            initial=self._done,
            file=self._stream,
            disable=not self._stream.isatty(),
            dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} trials |{bar:12}| {desc}",
        )
        self._refresh()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._running.add(_key(trial))
        self._refresh()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        study, number = _key(trial)
        self._say(f"{study} {self._record.title(study, number)}: its worker died; it starts again")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._finish(*_key(trial))

    on_trial_error = on_trial_complete

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._bar.disable and time.monotonic() - self._said > HEARTBEAT_S:
            self._say(self._now())
        elif not self._bar.disable and time.monotonic() - self._said > 1:  # the time left goes on
            self._refresh()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._bar.close()

    def _finish(self, study: str, number: int) -> None:
        self._running.discard((study, number))
        try:
            self._count()
            self._report.update()
            how = self._how(study, number)
        except Exception as error:  # raised from here, it would make Ray run a finished trial again
            how = f"ended; its results cannot be read or written: {' '.join(str(error).split())}"
        self._bar.n, self._bar.total = self._done, self._total
        self._refresh()
        self._say(f"{study} {self._record.title(study, number)}: {how}")

    def _how(self, study: str, number: int) -> str:
        record = self._record
        row = tables.read_row(record, study, number)
        best = record.competes and tables.better(record, row, self._best[study])
        if best:
            self._best[study] = row
        if row.state == "pruned":
            return row.reason or "stopped early"
        if row.state == "running":
            return "ended, but the storage did not take its results"
        if not row.finished:
            error = record.folder / row.folder / "error.txt"
            return f"failed: {row.reason}" + (f"; see {error}" if error.exists() else "")
        values = zip(record.objectives, row.values, strict=True)
        said = ", ".join(f"{metric} {tables.number(value)}" for (metric, _), value in values)
        said += tables.interval(row)
        return f"{said}, the best so far" if best else said

    def _now(self) -> str:
        failed = [f"{self._failed} failed"] if self._failed else []
        parts = [f"{len(self._running)} running", *failed]
        best = [(name, row) for name, row in self._best.items() if row]
        return ", ".join([*parts, *(f"{n} best {tables.number(row.value)} (trial {row.number})" for n, row in best)])

    def _left(self) -> Sequence[str]:
        done = self._done - self._before
        if not done or self._done == self._total:
            return []
        seconds = (time.monotonic() - self._start) / done * (self._total - self._done)
        return [f"about {tables.duration(seconds)} left"]

    def _count(self) -> None:
        counts = self._record.state().values()
        begun = sum(n for c in counts for state, n in c.items() if state != "left")
        self._done = begun - sum(c["RUNNING"] for c in counts)
        self._total = begun + sum(c["left"] for c in counts)
        self._failed = sum(c["FAIL"] for c in counts)

    def _refresh(self) -> None:
        if not self._bar.disable:
            self._said = time.monotonic()
            self._bar.set_description_str(", ".join([self._now(), *self._left()]))

    def _say(self, what: str) -> None:
        self._said = time.monotonic()
        since = time.strftime("%H:%M:%S", time.gmtime(self._said - self._start))
        left = "".join(f"; {part}" for part in self._left()) if self._bar.disable else ""
        self._bar.write(f"[{self._done}/{self._total}] {since} {hide(what)}{left}", file=self._stream)
        self._stream.flush()


def _key(trial: Any) -> tuple[str, int]:
    return trial.config["study"], trial.config["number"]
