"""Checkpoints on disk: which are whole, and which a killed run left torn."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

from minmax_plugin.mmgen.check import ConfigError


def is_whole(path: str | Path) -> bool:
    """Whether a file is a complete archive, every part of it as it was written; nothing in it is executed.

    Examples:
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
            f"resume_from={str(path)!r} is torn, as a run that is killed leaves it, or not in torch.save's format. "
            "Give another one, or 'auto' for the last whole one."
        )


def last_whole(work_dir: str | Path, out_dir: str | None = None) -> str | None:
    """The whole checkpoint that was written last, or ``None``; torn ones are passed over with a warning.

    Args:
        work_dir: of the run; all its folders are looked through.
        out_dir: the folder that the config's ``checkpoint_config`` names, if any; the toolkit writes into one of
            the work dir's name there.
    """
    places = [Path(work_dir), *([Path(out_dir) / Path(work_dir).name] if out_dir else [])]
    found = {path for place in places for path in place.glob("**/*.pth") if not path.is_symlink()}
    regular = [path for path in found if not path.name.startswith("best_")]  # the toolkit's latest.pth is a link
    for path in sorted(regular, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True):
        if is_whole(path):
            return str(path)
        logging.getLogger(__name__).warning("%s is torn: its run was killed while it was written", path)
    return None
