"""The committed results: a CSV with a line for each run, and beside it a JSON of how they came about."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import torch

from benchmarks.tables import ROOT, commit, keep

RESULTS = ROOT / "experiments" / "results" / "stability"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of results.

    Args:
        folder: Where it is.
        name: Of its two files.
        keys: The columns that a batch of runs has in common.
    """

    folder: Path
    name: str
    keys: tuple[str, ...]

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.csv"

    def read(self) -> pandas.DataFrame:
        return pandas.read_csv(self.file) if self.file.exists() else pandas.DataFrame(columns=[*self.keys])

    def has(self, *key: Any) -> bool:
        """Whether a batch of runs is there."""
        frame = self.read()
        return bool((frame[list(self.keys)] == list(key)).all(axis=1).any()) if len(frame) else False

    def add(self, rows: Sequence[dict[str, Any]], began: float, **more: Any) -> None:
        """Add a batch of runs, or replace it.

        Args:
            rows: A line for each run.
            began: When, by :func:`time.time`.
            more: What else to note of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        keep(self.file, rows, self.keys)
        note = self.folder / f"{self.name}.json"
        key = {name: rows[0][name] for name in self.keys}
        batches = [b for b in json.loads(note.read_text()) if {n: b[n] for n in key} != key] if note.exists() else []
        batch = {
            **key,
            "runs": len(rows),
            "command": f"python -m experiments.stability {shlex.join(sys.argv[1:])}",
            "commit": commit(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(began)),
            "seconds": round(time.time() - began),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            **more,
        }
        note.write_text(json.dumps([*batches, batch], indent=1) + "\n")
