"""The folder of a new search."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from minmax_plugin.errors import ConfigError
from minmax_tune.files import writing
from minmax_tune.options import Options
from minmax_tune.storage import DATABASE

LOCK = "lock"  # file that the process of a search holds
# Files of a search that was killed before it was written down. SQLite has a journal for open transactions.
UNBEGUN = (LOCK, "base", DATABASE, f"{DATABASE}-journal", "space.json", ".search.*.json")


def new_folder(folder: Path, options: Options) -> None:
    """Make the folder of a new search.

    Raises:
        ConfigError: If it holds something else, or cannot be made.
    """
    with writing(f"--storage-path={options.storage_path!r}: {folder}"):
        others = folder.iterdir() if folder.exists() else ()
        if any(not any(fnmatch(path.name, left) for left in UNBEGUN) for path in others):
            raise ConfigError(f"--name={folder.name!r}: {folder} exists already; give another name.")
        folder.mkdir(parents=True, exist_ok=True)
