"""Tables of results: a line that is measured again takes the place of its earlier self, the others stay."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The commit that is measured, marked where files other than results differ from it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    differ = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs")
    return git("rev-parse", "--short", "HEAD") + "-dirty" * bool(differ)


def keep(file: Path, rows: Sequence[dict[str, Any]] | pandas.DataFrame, keys: Sequence[str]) -> None:
    """Put lines into a table, in place of those with the same ``keys``; a table that is not there is made."""
    frame = pandas.DataFrame(rows)
    if file.exists():
        earlier = pandas.read_csv(file)
        measured = pandas.MultiIndex.from_frame(frame[list(keys)])
        again = pandas.MultiIndex.from_frame(earlier[list(keys)]).isin(measured)
        frame = pandas.concat([earlier[~again], frame])
    frame.to_csv(file, index=False, float_format="%.4g")
