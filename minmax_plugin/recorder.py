"""What is written down of the decisions: a file of JSON lines, and the numbers of a log line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minmax_plugin.decision import Decision


class DecisionRecorder:
    """Writes each decision as a line of ``decisions.jsonl``.

    Args:
        path: the file.
        decisions: that were made before; a run that was killed may have written more, which are dropped.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "decisions.jsonl"
        >>> recorder = DecisionRecorder(path, decisions=0)
        >>> recorder.write(Decision(0, math.nan, 0.5, math.nan, True, "initial", 0))
        >>> json.loads(path.read_text())["f_old"] is None  # plain JSON has no NaN
        True
    """

    def __init__(self, path: Path, decisions: int) -> None:
        self._path = path
        truncate_lines(path, lambda line: line["index"] < decisions)

    def write(self, decision: Decision) -> None:
        line = {name: None if value != value else value for name, value in dataclasses.asdict(decision).items()}
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")


def log_values(decision: Decision) -> dict[str, float]:
    """The finite numbers of a decision, by the names that a log gives them."""
    shown = {
        "acceptance": float(decision.accepted),
        "f_new": decision.f_new,
        "f_old": decision.f_old,
        "f_change": decision.f_new - decision.f_old,
        "standard_error": decision.standard_error,
        "rejections": float(decision.rejections),
    }
    return {name: value for name, value in shown.items() if math.isfinite(value)}


def truncate_lines(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drop what an earlier run wrote past the point where this one starts, from a file of JSON lines.

    A last line that the earlier run was killed in the middle of goes too.
    """
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and keep(json.loads(line))]
        if kept != lines:
            aside = path.with_name(f".{path.name}")
            aside.write_text("".join(kept))
            os.replace(aside, path)  # a run that is killed now leaves the old lines or the new ones
