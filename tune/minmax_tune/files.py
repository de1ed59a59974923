"""Writing result files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minmax_plugin.errors import FULL, ConfigError


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise one clear error for a place that cannot be written. A full disk raises its own error.

    Args:
        what: The place, with the option that names it.

    Raises:
        ConfigError: If the place cannot be written. The message has the system's reason.

    Examples:
        >>> with writing("--storage-path='a'"):  # doctest: +ELLIPSIS
        ...     raise PermissionError(13, "Permission denied")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: --storage-path='a' cannot be written (Permission denied): ...
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        reason = error.strerror
        raise ConfigError(f"{what} cannot be written ({reason}): make it writable, or give another place.") from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Make a file beside ``path`` to write to. It replaces ``path`` when all went well.

    Args:
        path: The file. Its folder is made if it is missing.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a" / "b.txt"
        >>> with replaced(path) as aside:
        ...     _ = aside.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, or not at all."""
    if not path.is_file() or path.read_text() != text:
        with replaced(path) as aside:
            aside.write_text(text)


def link_or_copy(source: Path, path: Path) -> None:
    """Make ``path`` a relative link to ``source``, or a copy where links do not work."""
    target = os.path.relpath(source, path.parent)
    if path.is_symlink() and os.readlink(path) == target:
        return
    with replaced(path) as aside:
        try:
            aside.symlink_to(target)
        except OSError:
            shutil.copy(source, aside)
