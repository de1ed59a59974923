"""Pictures on disk: listed in one order everywhere, and named where they cannot be read."""

from __future__ import annotations

import functools
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import mmcv

from minmax_plugin.errors import ConfigError, one_line

LISTED = ("UnconditionalImageDataset", "GrowScaleImgDataset")
"""The data sets that the toolkit lists in the disk's order."""


def repair_pictures() -> None:
    """Have the toolkit list pictures in the order of their names, log those it skips, and name unreadable ones.

    Call it again where more of the toolkit may be imported by then: labelled pictures are mmcls's.
    """
    if not hasattr(mmcv.scandir, "__wrapped__"):
        mmcv.scandir = _sorted(mmcv.scandir)
    for package in ("mmgen", "mmcls"):
        for name, loader in vars(sys.modules.get(f"{package}.datasets.pipelines.loading", object)).items():
            stock = vars(loader).get("__call__") if name.startswith("Load") else None
            if stock is not None and not hasattr(stock, "__wrapped__"):
                loader.__call__ = _naming(stock)


def _sorted(stock: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    @functools.wraps(stock)
    def scandir(dir_path: Any, suffix: Any = None, *args: Any, **kwargs: Any) -> Iterator[str]:
        found = sorted(stock(dir_path, suffix, *args, **kwargs))
        if suffix is not None:
            skipped = Counter(Path(name).suffix for name in set(stock(dir_path, None, *args, **kwargs)) - set(found))
            if skipped:
                kinds = ", ".join(f"{number} {kind or 'without suffix'}" for kind, number in sorted(skipped.items()))
                logging.getLogger("mmgen").warning(
                    "%s: files with other suffixes than %s are skipped: %s", dir_path, suffix, kinds
                )
        return iter(found)

    return scandir


def _naming(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def load(self: Any, results: dict[str, Any]) -> Any:
        try:
            return stock(self, results)
        except (AttributeError, OSError, ValueError, cv2.error) as error:  # of an empty, cut off or other file
            info = results.get("img_info", {}).get("filename", "")
            path = results.get(f"{getattr(self, 'key', '')}_path") or Path(results.get("img_prefix") or "", info)
            said = one_line(error) if isinstance(error, OSError) else "it is no picture, or not whole"
            raise ConfigError(f"data: {str(path)!r} cannot be read ({said}): repair or remove the file.") from error

    return load
