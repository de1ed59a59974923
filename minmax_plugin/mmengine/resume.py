"""The parts of an exact resume that MMEngine's checkpoints lack: the random state, at the right place in the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minmax_plugin.randomness import set_random_state


class ResumedData:
    """The data of a resumed run. MMEngine takes all batches again that the run has had; then its random state is set.

    Args:
        batches: The batches from the first one on.
        taken: The number of batches that the run has had.
        random: The random state that it had then.
    """

    def __init__(self, batches: Iterator[Any], taken: int, random: dict[str, Any]) -> None:
        self._batches, self._left, self._random = batches, taken, random

    def __iter__(self) -> ResumedData:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._left -= 1
        if self._left == 0:
            set_random_state(self._random)
        return batch
