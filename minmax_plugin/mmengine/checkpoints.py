"""MMEngine's checkpoints, as torch.load reads them since 2.6: each holds the history of every logged number."""

from __future__ import annotations

import copyreg
from typing import Any

import torch
from mmengine.logging import HistoryBuffer


def load_histories() -> None:
    """Let torch.load read the histories in the checkpoints that are written from now on.

    By default a history is saved with its methods, which torch.load refuses. Here it is saved as its numbers.
    """
    copyreg.pickle(HistoryBuffer, _as_numbers)
    torch.serialization.add_safe_globals([HistoryBuffer])


def _as_numbers(history: HistoryBuffer) -> tuple[Any, ...]:
    values, counts = history.data
    return HistoryBuffer, (values.tolist(), counts.tolist(), history.max_length)
