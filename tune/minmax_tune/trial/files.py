"""The files of a trial: its configs, and what its training numbers by iteration."""

from __future__ import annotations

from pathlib import Path

from minmax_plugin import __version__
from minmax_plugin.hosts import Config

AGAIN = "again"  # folder in a trial's or a best config's, for anyone who trains it again


def numbered(folder: Path, pattern: str) -> list[Path]:
    """List the files ``iter_N.*`` of a training by N, except those of anyone who has trained it again."""
    files = [path for path in folder.glob(pattern) if AGAIN not in path.relative_to(folder).parts]
    return sorted(files, key=lambda path: int(path.stem.removeprefix("iter_")))


def config_text(study: str, number: int, cfg: Config) -> str:
    """Return the file of a config that a trial trains, ready for ``minmax-train``."""
    return f"{_head(study, number)}\n{cfg.pretty_text}\n"


def is_config(path: Path, study: str, number: int) -> bool:
    """Whether a file holds a :func:`config_text` of that trial, by this version.

    The training leaves other files in a trial's folder, and one may have the base's name. A retry has those of the
    attempt before it.
    """
    try:
        with open(path) as file:
            return file.readline().rstrip() == _head(study, number)
    except OSError:
        return False


def _head(study: str, number: int) -> str:
    return f"# {study}, trial {number}, by minmax-plugin {__version__}"
