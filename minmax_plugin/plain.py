"""Values that a checkpoint may hold so that torch.load reads it. Since 2.6 it refuses numbers of NumPy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

PLAIN = (type(None), bool, int, float, str, bytes)


def plain(value: Any) -> Any:
    """Copy a value for a checkpoint, without the types that torch.load refuses.

    A number or an array of NumPy becomes Python's. A value of no plain type becomes its text, with a warning.

    Examples:
        >>> plain({"best_score_fid": numpy.float64(3.5), "shape": (numpy.int64(2), None)})
        {'best_score_fid': 3.5, 'shape': (2, None)}
    """
    if isinstance(value, (numpy.generic, numpy.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    for container in (list, tuple, set):
        if isinstance(value, container):
            return container(map(plain, value))
    if type(value) in PLAIN or isinstance(value, torch.Tensor):
        return value
    for kind in (int, float, str):  # of a derived class, such as an enum's
        if isinstance(value, kind):
            return kind(value)
    if not isinstance(value, Path):
        logging.getLogger(__name__).warning("a checkpoint keeps %r as text: torch.load would refuse it", value)
    return str(value)


def load_numpy_numbers() -> None:
    """Let torch.load read the numbers and arrays of NumPy that an existing checkpoint may hold.

    Each is data alone: loading one executes nothing.
    """
    core = numpy._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(numpy.dtype(code)) for code in numpy.typecodes["All"]}
    makers = [
        (getattr(core, name), f"numpy.{place}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for place in ("core", "_core")  # of NumPy 1, and of NumPy 2
    ]
    torch.serialization.add_safe_globals([numpy.dtype, numpy.ndarray, *kinds, *makers])
