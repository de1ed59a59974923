"""The methods that the algorithm is compared with, one round at a time, so that an experiment can loop over them.

All state of every method is in its two optimizers. Their ``state_dict()`` resumes it to the last bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam
from minmax_plugin.baselines.tiada import TiAda, couple
from minmax_plugin.checks import check_count

Loss = Callable[[], Tensor]


@dataclasses.dataclass(eq=False)
class Baseline:
    """Base of all methods: a call plays one round.

    Each function draws its player's loss again at every call, and the player minimises it. Neither function may touch
    gradients. Only the stepping player's gradient is computed, by ``torch.autograd.grad``. So these methods are for
    plain loops, without DistributedDataParallel or a gradient scaler.

    Args:
        min_optimizer: The min player's optimizer (the generator's).
        max_optimizer: The max player's (the discriminator's).
        min_loss: The min player's loss, a scalar: f, or another loss that it minimises.
        max_loss: The max player's loss −f, a scalar.
    """

    optimizer: ClassVar[type[Optimizer]] = Adam  # the kind of optimizer to give it

    min_optimizer: Optimizer
    max_optimizer: Optimizer
    min_loss: Loss
    max_loss: Loss

    def __call__(self) -> None:
        raise NotImplementedError

    def _check_optimizers(self) -> None:
        for name in ("min_optimizer", "max_optimizer"):
            given = getattr(self, name)
            if not isinstance(given, self.optimizer):
                raise ValueError(
                    f"{name} must be of type {self.optimizer.__name__!r}, but got {type(given).__name__!r}."
                )


@dataclasses.dataclass(eq=False)
class Simultaneous(Baseline):
    """Descent-ascent in which both players step from the same point."""

    moves: ClassVar[tuple[str, ...]] = ("step",)  # methods of the optimizers, each called with new gradients

    def __call__(self) -> None:
        for move in self.moves:
            differentiate(self.max_loss, self.max_optimizer)
            differentiate(self.min_loss, self.min_optimizer)
            getattr(self.max_optimizer, move)()
            getattr(self.min_optimizer, move)()


@dataclasses.dataclass(eq=False)
class Alternating(Baseline):
    """Descent-ascent by turns: k steps of the max player, then one of the min player.

    Args:
        k: The number of ascent steps in a round, 1 or more.

    Raises:
        ValueError: If ``k`` is out of range.
    """

    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def __call__(self) -> None:
        for _ in range(self.k):
            differentiate(self.max_loss, self.max_optimizer)
            self.max_optimizer.step()
        differentiate(self.min_loss, self.min_optimizer)
        self.min_optimizer.step()


@dataclasses.dataclass(eq=False)
class Optimistic(Simultaneous):
    """Optimistic mirror descent: both players step at once with :class:`OptimisticAdam`.

    For the form with several ascent steps, give :class:`OptimisticAdam` to :class:`Alternating`.

    Raises:
        ValueError: If an optimizer is of another kind.
    """

    optimizer: ClassVar[type[Optimizer]] = OptimisticAdam

    def __post_init__(self) -> None:
        self._check_optimizers()


@dataclasses.dataclass(eq=False)
class Extragradient(Simultaneous):
    """Extragradient: both players extrapolate from one point, then step with their gradients at the other.

    A round draws each loss twice. Both optimizers are :class:`ExtraAdam`.

    Raises:
        ValueError: If an optimizer is of another kind.
    """

    optimizer: ClassVar[type[Optimizer]] = ExtraAdam
    moves: ClassVar[tuple[str, ...]] = ("extrapolate", "step")

    def __post_init__(self) -> None:
        self._check_optimizers()


@dataclasses.dataclass(eq=False)
class Lookahead(Alternating):
    """:class:`Alternating` descent-ascent under :class:`LookaheadMinmax`.

    Args:
        k: The number of ascent steps in a round, 1 or more.
        period: The number of rounds from one backtracking to the next, 1 or more.
        alpha: The share of the way that is kept, above 0 and up to 1.

    Raises:
        ValueError: If a setting is out of range.
    """

    period: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lookahead = LookaheadMinmax(self.min_optimizer, self.max_optimizer, self.period, self.alpha)

    def __call__(self) -> None:
        super().__call__()
        self.lookahead.step()


@dataclasses.dataclass(eq=False)
class TimeScaleAdaptive(Simultaneous):
    """TiAda: both players step at once with :class:`TiAda`, the min player never faster than the max player allows.

    Raises:
        ValueError: If an optimizer is of another kind, or the min player's exponent is not above the max player's.
    """

    optimizer: ClassVar[type[Optimizer]] = TiAda

    def __post_init__(self) -> None:
        self._check_optimizers()
        couple(self.min_optimizer, self.max_optimizer)  # type: ignore[arg-type]


def trained(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimizer trains."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def differentiate(loss: Loss, optimizer: Optimizer) -> None:
    """Set the gradients of the parameters that ``optimizer`` trains, and of no other."""
    parameters = trained(optimizer)
    for p, gradient in zip(parameters, torch.autograd.grad(loss(), parameters, allow_unused=True), strict=True):
        p.grad = gradient
