"""The results of a search: tables, plots, the best configs and a page, rebuilt from its studies as trials end."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import optuna

from minmax_plugin.secrets import hide
from minmax_tune.confirmation import Confirmation
from minmax_tune.files import replaced, write_text
from minmax_tune.report import best_configs, html, plots, tables
from minmax_tune.report.confirmed import Confirmed, read_confirmed, told
from minmax_tune.report.tables import Row
from minmax_tune.study import Search

SHARE_OF_TIME = 0.02  # that drawing may take while trials run
PAUSE = 10  # between two writings by the thread, in units of the time that the last one took


class Report:
    """Writes the results of a search into its folder, from its studies alone.

    The tables are ``trials.csv``, ``trials.json``, ``summary.json`` and ``leaderboard.md``. It writes each finished
    trial's configs, and the best ones in ``best/STUDY/``. The pictures are ``plots/`` and ``samples.png``, and
    ``report.html`` holds it all. Each file is replaced whole. A result that cannot be written, as on a full disk,
    causes one warning and ends nothing.

    Args:
        record: The search.

    Examples:
        >>> Report(Search.open("results/tonight")).finish()  # doctest: +SKIP
    """

    def __init__(self, record: Search) -> None:
        self._record = record
        self._confirmation = Confirmation(record) if record.options.confirm else None
        self.failed = False  # whether results could not be written
        self._draw_after = 0.0  # on the monotonic clock
        self._configured: set[Path] = set()  # folders of trials whose configs are there
        self._dropped: set[tuple[str, int]] = set()  # trials whose checkpoints are deleted
        self._wanted, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def update(self) -> None:
        """Have a thread write everything soon, so that the trials do not wait for it."""
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_up, name="report", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, after what it writes just now."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        self._stopping.clear()

    def _keep_up(self) -> None:
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            self._stopping.wait(PAUSE * self.write())

    def write(self) -> float:
        """Write everything, but the pictures only if the last ones are old enough.

        Returns:
            The seconds that it took, without the pictures.
        """
        start = time.monotonic()
        # No error here is worth the trials that run.
        drawing = self._say_once(Exception, draw=start >= self._draw_after)
        return time.monotonic() - start - drawing

    def finish(self) -> None:
        """Write everything, the pictures too, at the end of a search."""
        self.stop()
        self._say_once((OSError, optuna.exceptions.StorageInternalError), draw=True)

    def closing(self) -> str:
        """Return the last message: the leaderboard, how to train the best trials again, and where everything is."""
        rows = tables.read_rows(self._record)
        lines = [tables.leaderboard(self._record, rows), ""]
        for name in rows:
            command = self._record.folder / "best" / name / "command.txt"
            if command.exists():
                lines += [f"best of {name}:", *(f"  {line}" for line in command.read_text().splitlines())]
        page = self._record.folder / "report.html"
        lines.append(f"all results: {self._record.folder}" + " (report.html to look at)" * page.exists())
        if confirmed := self._confirmed(rows):
            lines += ["", *told(confirmed)]
            if (picture := self._record.folder / "samples.png").exists():
                lines.append(f"picture of the samples: {picture}")
        return "\n".join(lines)

    def _say_once(self, errors: type[Exception] | tuple[type[Exception], ...], draw: bool) -> float:
        try:
            return self._write(draw)
        except errors as error:
            if not self.failed:
                what = hide(f"{type(error).__name__}: {error}")
                warnings.warn(f"results could not be written ({what}); the search goes on.", stacklevel=3)
            self.failed = True
            return 0.0

    def _write(self, draw: bool) -> float:
        record, folder = self._record, self._record.folder
        rows = tables.read_rows(record)
        confirmed = self._confirmed(rows)
        frame = tables.table(record, rows)
        with replaced(folder / "trials.csv") as path:
            frame.to_csv(path, index=False)
        write_text(folder / "trials.json", tables.json_text(frame) + "\n")
        summary = tables.summary(record, rows)
        for name, its in confirmed.items():
            summary["studies"][name]["confirmed"] = its.summary()
        write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        said = "".join(f"\n- {line}" for line in told(confirmed))
        write_text(folder / "leaderboard.md", tables.leaderboard(record, rows) + "\n" + (said and f"{said}\n"))
        for ranked in rows.values():
            best_configs.write_best(record, ranked)
            best_configs.drop_checkpoints(record, ranked, self._dropped)
        drawing = self._draw(rows, confirmed) if draw else 0.0
        write_text(folder / "report.html", html.render(record, rows, self._confirmation, confirmed))
        self._write_configs(record, chain(*rows.values()))
        if self._confirmation is not None:
            sides = (side for its in confirmed.values() for side in its.sides)
            self._write_configs(self._confirmation, chain(*(side.rows for side in sides)))
        return drawing

    def _write_configs(self, record: Search, rows: Iterable[Row]) -> None:
        for row in rows:
            folder = record.trial_folder(row.study, row.number)
            if row.state != "running" and folder not in self._configured:
                best_configs.write_configs(record, row)
                self._configured.add(folder)

    def _confirmed(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, Confirmed]:
        return read_confirmed(self._confirmation, rows) if self._confirmation else {}

    def _draw(self, rows: Mapping[str, Sequence[Row]], confirmed: Mapping[str, Confirmed]) -> float:
        start = time.monotonic()
        for name, ranked in rows.items():
            plots.draw(self._record.studies[name], ranked, self._record.objectives, self._record.folder / "plots")
        if not (self._confirmation and plots.draw_both(self._confirmation, confirmed)):
            plots.draw_samples(self._record, rows)
        end = time.monotonic()
        self._draw_after = end + (end - start) / SHARE_OF_TIME
        return end - start
