"""The batches of real data that f is read on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from minmax_plugin.randomness import inference


class BatchPool:
    """Some batches that are held in memory, so that reading f loads nothing and does not move the training's data.

    Args:
        load: gives the batches; it is called at the first need, with random numbers of its own.
        seed: of these random numbers.

    Examples:
        >>> pool = BatchPool(lambda: [torch.ones(2)], seed=0)
        >>> pool.draw()
        tensor([1., 1.])
    """

    def __init__(self, load: Callable[[], Sequence[Any]], seed: int) -> None:
        self._load, self._seed = load, seed
        self.batches: list[Any] = []

    def draw(self) -> Any:
        """One of the batches, by torch's random state."""
        if not self.batches:
            with inference([], self._seed):
                self.batches.extend(self._load())
        return self.batches[int(torch.randint(len(self.batches), ()))]

    def clear(self) -> None:
        """Load other batches at the next need: the data have changed."""
        self.batches.clear()
