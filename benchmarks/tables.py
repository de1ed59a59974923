"""Tables of results, as CSV and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from benchmarks.versions import ROOT, commit

__all__ = ["ROOT", "between", "commit", "filled", "keep", "markdown"]


def keep(file: Path, rows: Sequence[dict[str, Any]] | pandas.DataFrame, keys: Sequence[str]) -> None:
    """Write lines into a CSV table. They replace lines with the same ``keys``; a missing table is made."""
    frame = pandas.DataFrame(rows)
    if file.exists():
        earlier = pandas.read_csv(file)
        measured = pandas.MultiIndex.from_frame(frame[list(keys)])
        again = pandas.MultiIndex.from_frame(earlier[list(keys)]).isin(measured)
        frame = pandas.concat([earlier[~again], frame])
    frame.to_csv(file, index=False, float_format="%.4g")


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def between(text: str, name: str, new: str) -> str:
    """A page with ``new`` between the marks of ``name``."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = text.split(start)
    return head + start + new + rest[rest.index(end) :]


def filled(page: Path, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its parts made again, each between its marks."""
    text = page.read_text()
    for name, make in parts.items():
        text = between(text, name, make())
    return text
