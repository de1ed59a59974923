"""Data that continue where a run was, in the middle of an epoch. Lightning takes such loaders if they have a state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader

from minmax_plugin.deferred import derived
from minmax_plugin.plain import plain
from minmax_plugin.randomness import random_state, set_random_state


class Run(Protocol):
    """What a loader asks of the run. It is the callback."""

    def epoch_is_over(self) -> bool:
        """Whether the epoch's last batch has been taken."""

    def resume_randomness(self) -> None:
        """Restore the random state of the run that is resumed, once."""


class ResumableLoader(DataLoader):
    """Mixin of a loader that has a state. A resumed run takes all batches again that the epoch has had.

    The order of an epoch's data is drawn when its iterator is made, or when the first batch is taken. So the state has
    the random states of both moments.
    """

    run: Run
    batches: Any = None

    def __iter__(self) -> Any:
        resumed = vars(self).pop("resumed", None)
        if resumed is not None and resumed["taken"]:
            set_random_state(resumed["start"])
        elif resumed is not None:
            self.run.resume_randomness()
        start = plain(random_state())
        self.batches = CountedBatches(super().__iter__(), start, self.run)
        if resumed is not None and resumed["taken"]:
            self.batches.skip(resumed["taken"], resumed["first"])
        return self.batches

    def state_dict(self) -> dict[str, Any]:
        if self.batches is None or self.run.epoch_is_over():
            return {"start": None, "first": None, "taken": 0}
        return {"start": self.batches.start, "first": self.batches.first, "taken": self.batches.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resumed = state


class CountedBatches:
    """The batches of an epoch, counted.

    Args:
        batches: The batches.
        start: The random state before their iterator was made.
        run: The run, which is told when the batches continue.
    """

    def __init__(self, batches: Iterator[Any], start: Any, run: Run) -> None:
        self._batches, self._run, self._resumes = batches, run, False
        self.start, self.first, self.taken = start, None, 0

    def skip(self, taken: int, first: Any) -> None:
        """Take some batches, given the random state before the first of them."""
        self._resumes, self.first, self.taken = True, first, taken
        set_random_state(first)
        for _ in range(taken):
            next(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._resumes:
            self._resumes = False
            self._run.resume_randomness()
        if self.first is None:
            self.first = plain(random_state())
        batch = next(self._batches)
        self.taken += 1
        return batch


def make_resumable(loader: Any, run: Run) -> bool:
    """Give a loader a state, in place. One that is not torch's, or has a state already, stays as it is.

    Args:
        loader: The loader.
        run: The run that it asks.

    Returns:
        Whether the loader is resumed here.
    """
    has_state = hasattr(loader, "state_dict") and not isinstance(loader, ResumableLoader)
    if has_state or not isinstance(loader, DataLoader):
        return False
    resumable: Any = loader
    kind: Any = type(loader)
    resumable.__class__ = derived(ResumableLoader, kind)
    resumable.run = run
    return True
