"""Acceptance policies: which proposals are accepted.

A policy only answers "accept or reject?". It neither moves nor restores anything. It gets one uniform draw per
decision, even if it needs none. So the random stream's position is the number of decisions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from minmax_plugin.checks import check_above_0, check_flags, check_rate, is_number

NO_DECISION = ("initial", "no proposal")  # reasons of a Decision in whose cycle there was nothing to accept or reject


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The facts about one proposal by which a policy decides.

    Args:
        index: The decision's number, from 0.
        f_old: The value of f at the incumbent.
        f_new: The value of f at the proposal, after the response.
        draw: A uniform number on [0, 1).
        standard_error: The standard error of f_new − f_old, in the units of f; NaN where there is none.
        norm_old: The sum of both players' Euclidean norms at the incumbent; NaN where it is not known.
        norm_new: The same at the proposal, after the response.
        changes: The changes of f and of the norm in the last proposals, accepted or not: as many as the policy's
            ``memory``.
        rejections: The number of finite proposals from this incumbent that were rejected so far, in a row.

    Examples:
        >>> Comparison(index=3, f_old=1.0, f_new=0.5, draw=0.7).standard_error
        nan
    """

    index: int
    f_old: float
    f_new: float
    draw: float
    standard_error: float = math.nan
    norm_old: float = math.nan
    norm_new: float = math.nan
    changes: Sequence[tuple[float, float]] = ()
    rejections: int = 0


class Acceptance:
    """Base of all policies. Called with a :class:`Comparison`, a policy returns ``(accepted, reason)``.

    Examples:
        >>> class Halving(Acceptance):
        ...     def __call__(self, c):
        ...         return c.f_new <= c.f_old / 2, "halving"
        >>> Halving()(Comparison(0, f_old=1.0, f_new=0.7, draw=0.0))
        (False, 'halving')
    """

    needs_error: ClassVar[bool] = False
    """Whether the policy decides by the standard error, which not every estimator of f has."""

    @property
    def memory(self) -> int:
        """The number of recent proposals whose changes of f the policy decides by. The game keeps them."""
        return 0

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Strict(Acceptance):
    """Accept a proposal only if it lowered f: ``f_new <= f_old - min_decrease``.

    This is the test of the theory, without the random part (arXiv:2006.12376, Algorithm 1). The paper's min_decrease
    is ε/2 in v1 and δ/4 in v6. The rules below add a probability p_i that a proposal which failed is accepted.

    Args:
        min_decrease: How much f must fall, in units of f, 0 or more.
        reverse: Whether to reverse the test, and accept what *raised* f. The authors' released code for four
            Gaussians does so, against the theory.

    Raises:
        ValueError: If ``min_decrease`` is negative or not finite.

    Examples:
        >>> Strict(min_decrease=0.5)(Comparison(0, f_old=1.0, f_new=0.6, draw=0.0))
        (False, 'worse')
    """

    min_decrease: float = 0.0
    reverse: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not (is_number(self.min_decrease) and 0 <= self.min_decrease < math.inf):
            raise ValueError(f"min_decrease must be 0 or more and finite, but got {self.min_decrease!r}.")
        check_flags(reverse=self.reverse)

    def probability(self, index: int) -> float:
        """Return p_i, the probability that a proposal which failed the test is accepted all the same."""
        return 0.0

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        passed = c.f_new >= c.f_old + self.min_decrease if self.reverse else c.f_new <= c.f_old - self.min_decrease
        if passed:
            return True, "improved"
        if c.draw < self.probability(c.index):
            return True, "chance"
        return False, "worse"


@dataclasses.dataclass(frozen=True)
class ConstantRate(Strict):
    """The practical rule: p_i is constant, e^(−1/τ).

    The paper's GAN experiments use this in place of the theory's annealed e^(−i/τ₁). Their rates are 1/4 for four
    Gaussians, 1/5 for 0-1 MNIST and 1/2 for CIFAR-10.

    Args:
        min_decrease: How much f must fall, in units of f, 0 or more.
        rate: The probability p_i, in [0, 1]. Give ``rate`` or ``tau``. Without both it is 1/5.
        tau: The temperature τ, above 0, with rate = e^(−1/tau).

    Raises:
        ValueError: If both ``rate`` and ``tau`` are given, or either is out of range.

    Examples:
        >>> ConstantRate(rate=0.25)(Comparison(0, f_old=1.0, f_new=2.0, draw=0.2))
        (True, 'chance')
        >>> round(ConstantRate(tau=5).probability(0), 4)
        0.8187
    """

    rate: float | None = None
    tau: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is not None and self.tau is not None:
            raise ValueError(f"give rate or tau, not both; got rate={self.rate!r} and tau={self.tau!r}.")
        if self.tau is not None:
            check_above_0("tau", self.tau)
        if self.rate is not None:
            check_rate(self.rate)

    def probability(self, index: int) -> float:
        if self.tau is not None:
            return math.exp(-1.0 / self.tau)
        return 0.2 if self.rate is None else self.rate


@dataclasses.dataclass(frozen=True)
class Annealed(Strict):
    """The theory's rule: p_i = e^(−i/τ₁). Early decisions accept nearly everything.

    Args:
        min_decrease: How much f must fall, in units of f, 0 or more.
        tau1: The temperature τ₁, in decisions, above 0.

    Raises:
        ValueError: If ``tau1`` is not above 0.

    Examples:
        >>> round(Annealed(tau1=100).probability(100), 4)
        0.3679
    """

    tau1: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above_0("tau1", self.tau1)

    def probability(self, index: int) -> float:
        return math.exp(-index / self.tau1)


@dataclasses.dataclass(frozen=True)
class Always(Acceptance):
    """Control: accept every proposal. The training is then plain descent-ascent, to the last bit.

    Examples:
        >>> Always()(Comparison(0, f_old=1.0, f_new=9.0, draw=0.5))
        (True, 'always')
    """

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        return True, "always"
