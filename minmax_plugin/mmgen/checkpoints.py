"""Checkpoints on disk: which are whole, and which a killed run left torn."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

from minmax_plugin.mmgen.check import ConfigError


def is_whole(path: str | Path) -> bool:
    """Whether a file is a complete archive, every part of it as it was written; nothing in it is executed.

    Example:
        >>> is_whole("/dev/null")
        False
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def check_whole(path: str | Path) -> None:
    """Refuse a checkpoint that does not exist or is torn.

    Raises:
        ConfigError: saying which.
    """
    if not Path(path).exists():
        raise ConfigError(f"resume_from={str(path)!r} does not exist: give a checkpoint (iter_N.pth), or 'auto'.")
    if not is_whole(path):
        raise ConfigError(
            f"resume_from={str(path)!r} is torn: its run was killed while it was written. Give an earlier one, or "
            "'auto' for the last whole one."
        )


def last_whole(work_dir: str | Path) -> str | None:
    """The latest whole checkpoint below a work dir, or ``None``; torn ones are passed over with a warning."""
    found = {int(p.stem.removeprefix("iter_")): p for p in Path(work_dir).glob("**/iter_*.pth")}
    for _, path in sorted(found.items(), reverse=True):
        if is_whole(path):
            return str(path)
        logging.getLogger(__name__).warning("%s is torn: its run was killed while it was written", path)
    return None
