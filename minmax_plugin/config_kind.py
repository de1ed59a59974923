"""For which toolkit a config is written, told from its content. No toolkit is imported, and nothing is executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARKS = {"optim_wrapper", "train_dataloader", "read_base"}
"""Settings at the top of MMEngine's configs and data sets, and the name by which they import a base config."""


def is_for_mmengine(config: Any) -> bool:
    """Whether a config, or the file at a path, is written for MMEngine.

    Examples:
        >>> is_for_mmengine({"optim_wrapper": {}}), is_for_mmengine({"optimizer": {}, "total_iters": 5})
        (True, False)
    """
    if not isinstance(config, (str, Path)):
        return not MARKS.isdisjoint(config.keys())
    return any(name in MARKS for name in _names(Path(config).expanduser(), set()))


def _names(path: Path, seen: set[Path]) -> Iterator[str]:
    """Yield the names at the top of a config file and of its bases."""
    if path in seen or not path.is_file():  # of a shipped config, for one
        return
    seen.add(path)
    text = path.read_text(errors="replace")
    if path.suffix != ".py":
        yield from re.findall(r"\boptim_wrapper\b", text)
        return
    try:
        tree = ast.parse(text)
    except SyntaxError:  # which the host reports
        return
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                yield target.id
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            bases = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            for base in bases:
                if isinstance(base, str):
                    yield from _names((path.parent / base).resolve(), seen)
