"""The batches of real data that f is read on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from minmax_plugin.randomness import inference

if TYPE_CHECKING:
    from minmax_plugin.settings import MinMaxSettings

LEAST_SAMPLES = 8  # for an evaluation of f; batch norm takes the statistics of these
GROUPS = 4  # evaluations on different batches, whose spread is the standard error


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


def sample_batches(loader: DataLoader[Any], batches: int, size: int | None = None) -> list[Any]:
    """Load some random batches of a loader's data set, as the loader would collate them.

    The loader itself does not move.

    Args:
        loader: The loader of the training.
        batches: The number of batches, at most. A small data set has fewer.
        size: The number of samples in a batch; the loader's own if not given.

    Examples:
        >>> [len(batch) for batch in sample_batches(DataLoader(range(10), batch_size=4), batches=2)]
        [4, 4]
    """
    dataset: Dataset[Any] = loader.dataset
    size = size or loader.batch_size or 1
    total = len(dataset)  # type: ignore[arg-type]
    # A permutation of a data set that is repeated millions of times would not pay.
    random = torch.randperm(total) if total <= 10**6 else torch.randint(total, (size * batches,))
    picks = random[: size * batches].tolist()
    own = DataLoader(
        dataset, size, sampler=picks, collate_fn=loader.collate_fn, drop_last=len(picks) >= size, num_workers=0
    )
    return list(itertools.islice(own, batches))


def sample_groups(
    settings: MinMaxSettings, batch_size: int, sample: Callable[[int, int], Sequence[Any]]
) -> list[list[Any]]:
    """Load small batches for evaluations of f, in groups where their standard error is needed.

    Args:
        settings: The settings, with the share of a batch and the number of batches.
        batch_size: The number of samples in a batch of the training.
        sample: A function that loads some number of batches of some size.
    """
    size = min(batch_size, max(LEAST_SAMPLES, round(settings.estimated.fraction * batch_size)))
    groups = GROUPS if settings.policy.needs_error else 1
    parts = sample(max(groups, settings.pool * batch_size // size), size)
    return [list(parts[i : i + groups]) for i in range(0, max(1, len(parts) - groups + 1), groups)]
