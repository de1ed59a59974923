"""Accept rules for a stack of runs: the product's policies, with one decision for each run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from experiments.stability.tasks import BATCH

THRESHOLD, WINDOW, WARMUP, RETRIES = 8.0, 200, 20, 1  # as in minmax_plugin.outliers
SAMPLES = 16  # that the default preset reads f on: an eighth of a batch
FLOOR = 1e-4  # of the scale, in units of f


class Window:
    """The last values of each run, and whether the next one is an outlier among them.

    Args:
        runs: Their number.
        threshold: The number of robust standard deviations, 1.4826 · MAD, off the median.
        size: The number of values.
        warmup: The number of values below which nothing finite is an outlier.
        floor: Added to the scale, in units of the value.
    """

    def __init__(
        self, runs: int, threshold: float = THRESHOLD, size: int = WINDOW, warmup: int = WARMUP, floor: float = FLOOR
    ) -> None:
        self.threshold, self.warmup, self.floor = threshold, warmup, floor
        self._values = torch.full((size, runs), torch.nan, dtype=torch.float64)
        self._next = 0

    def stands_out(self, value: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        """Whether each run's value is not finite, or an outlier. ``unit`` multiplies the floor."""
        median = self._values.nanquantile(0.5, dim=0)
        scale = 1.4826 * (self._values - median).abs().nanquantile(0.5, dim=0) + self.floor * unit
        far = (value - median).abs() > self.threshold * scale  # False where it is NaN
        few = self._values.isfinite().sum(0) < self.warmup
        return ~value.isfinite() | (far & ~few)

    def add(self, value: Tensor) -> None:
        """Take in each run's value in the oldest one's place. What is not finite takes the place of none."""
        self._values[self._next] = torch.where(value.isfinite(), value, torch.nan)
        self._next = (self._next + 1) % len(self._values)


Policy = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""From the decision's number, the old and the new value and a uniform draw of each run: which runs accept."""


@dataclasses.dataclass(frozen=True)
class Practical:
    """Accept what lowered f, and anything else with a constant probability. With rate 0 it is the strict rule."""

    rate: float = 0.2

    def __call__(self, index: int, old: Tensor, new: Tensor, draw: Tensor) -> Tensor:
        return (new <= old) | (draw < self.rate)


@dataclasses.dataclass(frozen=True)
class Released:
    """Accept what raised f, and every fourth proposal without a test: the released code for four Gaussians."""

    every: int = 4

    def __call__(self, index: int, old: Tensor, new: Tensor, draw: Tensor) -> Tensor:
        return (new >= old) | torch.tensor(index % self.every == 0)


@dataclasses.dataclass(frozen=True)
class RandomRate:
    """Control: accept with a given probability, one for each run."""

    rate: Tensor

    def __call__(self, index: int, old: Tensor, new: Tensor, draw: Tensor) -> Tensor:
        return draw < self.rate


@dataclasses.dataclass
class Outlier:
    """Accept unless the change is an outlier among the recent ones, in either direction.

    Old and new may have a row for each of several signals. One outlier is then enough to reject.

    Args:
        threshold: As for :class:`Window`.
        window: The number of recent proposals.
        warmup: As for :class:`Window`.
        retries: The rejections in a row after which a run accepts what is finite.
    """

    threshold: float = THRESHOLD
    window: int = WINDOW
    warmup: int = WARMUP
    retries: int = RETRIES

    def __post_init__(self) -> None:
        self._recent: Window | None = None
        self._rejections: Tensor | int = 0  # of finite proposals in a row, of each run

    def __call__(self, index: int, old: Tensor, new: Tensor, draw: Tensor) -> Tensor:
        if self._recent is None:
            self._recent = Window(new.numel(), self.threshold, self.window, self.warmup)
        change = (new - old).double().flatten()
        usual = ~self._recent.stands_out(change, old.double().abs().clamp(min=1.0).flatten())
        self._recent.add(change)  # of a rejected proposal too, as in the product
        usual, finite = (each.view(-1, new.shape[-1]).all(0) for each in (usual, change.isfinite()))
        accepted = usual | (torch.as_tensor(self._rejections >= self.retries) & finite)
        self._rejections = torch.where(accepted, 0, self._rejections + finite.long())
        return accepted


@dataclasses.dataclass(frozen=True)
class Rule:
    """How proposals are accepted, and what a rejection restores.

    Args:
        policy: The test.
        signal: What it compares. ``paired``: f on one batch before and after. ``norm``: the sum of both players'
            norms, before and after. ``f-and-norm``: these two. ``last``: f of the last ascent step's own batch, and of
            the decision before. ``gradient``: the sum of the norms of both players' gradients, and 0.
        both: Whether a rejection restores both players, or the generator alone.
        moments: Whether it restores Adam's moments.
        track: Whether a rejected value is the next one's reference all the same.
        samples: The size of the batch of ``paired``.
    """

    policy: Policy
    signal: str = "paired"
    both: bool = True
    moments: bool = True
    track: bool = False
    samples: int = BATCH


def practical(rate: float = 0.2) -> Rule:
    return Rule(Practical(rate))


def released() -> Rule:
    return Rule(Released(), signal="last", both=False, moments=False, track=True)


def outlier(signal: str = "paired") -> Rule:
    return Rule(Outlier(), signal, track=signal == "last", samples=SAMPLES)


def default() -> Rule:
    return outlier("f-and-norm")


def strict() -> Rule:
    return Rule(Practical(rate=0.0))


def random(rate: Tensor, of: Rule) -> Rule:
    """Random acceptance at a rate, with what another rule restores."""
    return Rule(RandomRate(rate), "none", of.both, of.moments)
