"""Acceptance policies: which proposals are kept.

A policy only answers "keep it?"; it neither moves nor restores anything. It is given one uniform draw per
decision, whether it needs it or not, so that the random stream's position is the number of decisions.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any


class Acceptance:
    """Base of all policies.

    ``__call__(index, f_old, f_new, draw)`` returns ``(accepted, reason)`` for decision number ``index``
    (from 0), the value f before and after the proposal, and ``draw``, uniform on [0, 1).
    """

    def __call__(self, index: int, f_old: float, f_new: float, draw: float) -> tuple[bool, str]:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Strict(Acceptance):
    """Keep a proposal only if it lowered f: ``f_new <= f_old - slack``.

    The test of the theory (arXiv:2006.12376, Algorithm 1; slack is ε/2 in v1), without the random part.

    Args:
        slack: how much f must fall, in units of f; 0 or more.

    Raises:
        ValueError: if ``slack`` is negative or not finite.

    Example:
        >>> Strict(slack=0.5)(0, f_old=1.0, f_new=0.6, draw=0.0)
        (False, 'worse')
    """

    slack: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slack) and self.slack >= 0):
            raise ValueError(f"slack must be 0 or more and finite, but got {self.slack!r}.")

    def probability(self, index: int) -> float:
        """Probability that a proposal which failed the test is kept all the same."""
        return 0.0

    def __call__(self, index: int, f_old: float, f_new: float, draw: float) -> tuple[bool, str]:
        if f_new <= f_old - self.slack:
            return True, "improved"
        if draw < self.probability(index):
            return True, "chance"
        return False, "worse"


@dataclasses.dataclass(frozen=True)
class ConstantRate(Strict):
    """The practical rule: keep what lowered f, and the rest with the constant probability e^(−1/τ).

    The paper's GAN experiments use this in place of the theory's annealed e^(−i/τ₁). Four Gaussians: rate
    1/4; 0-1 MNIST: 1/5; CIFAR-10: 1/2.

    Args:
        slack: how much f must fall, in units of f; 0 or more.
        rate: the probability itself, in [0, 1]. Give ``rate`` or ``tau``; with neither, 1/5.
        tau: the temperature, above 0, with rate = e^(−1/tau).

    Raises:
        ValueError: if both ``rate`` and ``tau`` are given, or either is out of range.

    Example:
        >>> ConstantRate(rate=0.25)(0, f_old=1.0, f_new=2.0, draw=0.2)
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
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"tau must be above 0, but got {self.tau!r}.")
        if self.rate is not None:
            _check_rate(self.rate)

    def probability(self, index: int) -> float:
        if self.tau is not None:
            return math.exp(-1.0 / self.tau)
        return 0.2 if self.rate is None else self.rate


@dataclasses.dataclass(frozen=True)
class Always(Acceptance):
    """Control: keep every proposal. The training is then plain descent-ascent, to the last bit.

    Example:
        >>> Always()(0, f_old=1.0, f_new=9.0, draw=0.5)
        (True, 'always')
    """

    def __call__(self, index: int, f_old: float, f_new: float, draw: float) -> tuple[bool, str]:
        return True, "always"


@dataclasses.dataclass(frozen=True)
class Never(Acceptance):
    """Control: keep no proposal.

    Example:
        >>> Never()(0, f_old=1.0, f_new=0.0, draw=0.5)
        (False, 'never')
    """

    def __call__(self, index: int, f_old: float, f_new: float, draw: float) -> tuple[bool, str]:
        return False, "never"


@dataclasses.dataclass(frozen=True)
class RandomRate(Acceptance):
    """Control: keep a proposal with a given probability, whatever f says.

    Args:
        rate: that probability, in [0, 1].

    Raises:
        ValueError: if ``rate`` is outside [0, 1].

    Example:
        >>> RandomRate(rate=0.3)(0, f_old=1.0, f_new=0.0, draw=0.5)
        (False, 'random')
    """

    rate: float

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def __call__(self, index: int, f_old: float, f_new: float, draw: float) -> tuple[bool, str]:
        return draw < self.rate, "random"


POLICIES: dict[str, type[Acceptance]] = {
    "strict": Strict,
    "constant": ConstantRate,
    "always": Always,
    "never": Never,
    "random": RandomRate,
}


def build_acceptance(spec: str | Mapping[str, Any] | Acceptance) -> Acceptance:
    """Build a policy from its name, or from a dict with ``type`` and the policy's arguments.

    Args:
        spec: a name in :data:`POLICIES`, a mapping such as ``dict(type="constant", rate=0.25)``, or a policy.

    Raises:
        ValueError: for an unknown name or an argument the policy does not have.

    Example:
        >>> build_acceptance(dict(type="constant", rate=0.25))
        ConstantRate(slack=0.0, rate=0.25, tau=None)
    """
    if isinstance(spec, Acceptance):
        return spec
    settings = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("type", "constant")
    if name not in POLICIES:
        raise ValueError(f"acceptance must be one of {sorted(POLICIES)}, but got {name!r}.")
    policy = POLICIES[name]
    known = list(inspect.signature(policy).parameters)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"acceptance {name!r} takes {known}, but got {unknown}.")
    try:
        return policy(**settings)
    except TypeError as error:
        raise ValueError(f"acceptance {name!r} takes {known}, but got {settings}: {error}.") from error


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be between 0 and 1, but got {rate!r}.")
