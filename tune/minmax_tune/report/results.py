"""The results of a search: tables, plots, the best configs and a page, rebuilt from storage after every trial."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence

import optuna

from minmax_plugin.secrets import hide
from minmax_tune.files import replaced, write_text
from minmax_tune.report import export, html, plots, tables
from minmax_tune.report.tables import Row
from minmax_tune.study import Search

SHARE_OF_TIME = 0.02  # that drawing may take while trials run


class Report:
    """Writes the results of a search into its folder, from storage alone.

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
        self._warned = False
        self._draw_after = 0.0  # on the monotonic clock

    def write(self) -> None:
        """Write everything, but the pictures only if the last ones are old enough."""
        # No error here is worth the trials that run.
        self._say_once(Exception, draw=time.monotonic() >= self._draw_after)

    def finish(self) -> None:
        """Write everything, the pictures too, at the end of a search."""
        self._say_once((OSError, optuna.exceptions.StorageInternalError), draw=True)

    def closing(self) -> str:
        """Return the last message: the leaderboard, how to train the best trials again, and where everything is."""
        rows = tables.read_rows(self._record)
        lines = [tables.leaderboard(self._record, rows), ""]
        for name in rows:
            command = self._record.folder / "best" / name / "command.txt"
            if command.exists():
                lines += [f"best of {name}:", *(f"  {line}" for line in command.read_text().splitlines())]
        lines.append(f"all results: {self._record.folder} (report.html to look at)")
        return "\n".join(lines)

    def _say_once(self, errors: type[Exception] | tuple[type[Exception], ...], draw: bool) -> None:
        try:
            self._write(draw)
        except errors as error:
            if not self._warned:
                what = hide(f"{type(error).__name__}: {error}")
                warnings.warn(f"results could not be written ({what}); the search goes on.", stacklevel=3)
            self._warned = True

    def _write(self, draw: bool) -> None:
        record, folder = self._record, self._record.folder
        rows = tables.read_rows(record)
        frame = tables.table(record, rows)
        with replaced(folder / "trials.csv") as path:
            frame.to_csv(path, index=False)
        write_text(folder / "trials.json", tables.json_text(frame) + "\n")
        write_text(folder / "summary.json", json.dumps(tables.summary(record, rows), indent=2, allow_nan=False) + "\n")
        write_text(folder / "leaderboard.md", tables.leaderboard(record, rows) + "\n")
        for ranked in rows.values():
            for row in ranked:
                if row.state != "running":
                    export.write_configs(record, row)
            export.write_best(record, ranked)
        if draw:
            self._draw(rows)
        write_text(folder / "report.html", html.render(record, rows))

    def _draw(self, rows: Mapping[str, Sequence[Row]]) -> None:
        start = time.monotonic()
        for name, ranked in rows.items():
            plots.draw(self._record.studies[name], ranked, self._record.objectives, self._record.folder / "plots")
        plots.draw_samples(self._record, rows)
        end = time.monotonic()
        self._draw_after = end + (end - start) / SHARE_OF_TIME
