"""A search of ``tune/search.py``, begun or resumed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from mmcv import Config

from benchmarks.tables import ROOT
from minmax_plugin.mmgen.config import load_config
from minmax_tune.study import Search


def search(
    folder: Path, config: Path, cfg: Config, space: dict[str, Any], options: Sequence[str], trials: int, at_once: int
) -> str | None:
    """Begin a search, or resume the one in ``folder``; give the reason if it fails.

    Args:
        folder: of the search.
        config: the file for ``cfg``; the space is written beside it.
        cfg: what it trains.
        space: what it samples.
        options: of a new search.
        trials: that it is to have.
        at_once: trials at a time.
    """
    config.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(str(config))
    command = [sys.executable, str(ROOT / "tune/search.py")]
    if (folder / "search.json").exists():
        ((_, begun),) = (record := Search.open(folder)).configs.items()
        if dict(begun) != dict(load_config(config)) or record.space.content != space:
            return f"the search in {folder} was begun with another config or space than now: remove that folder"
        more = trials - record.options.num_samples
        command += ["--resume", str(folder)] + (["--extend", str(more)] if more > 0 else [])
    else:
        file = config.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(space, sort_keys=False))
        command += [str(config), "--space", str(file), *options, "--num-samples", str(trials)]
        command += ["--storage-path", str(folder.parent), "--name", folder.name]
    code = subprocess.run([*command, "--max-concurrent", str(at_once)], cwd=ROOT).returncode
    if code == 1:
        return "all of its trainings failed: see error.txt in the folders of its trials"
    return f"the search ended with exit code {code}; the same command resumes it" if code else None
