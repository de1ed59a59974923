"""Acceptance policies: which proposals are accepted.

A policy only answers "accept or reject?". It neither moves nor restores anything. It gets one uniform draw per
decision, even if it needs none. So the random stream's position is the number of decisions.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar

from minmax_plugin.checks import check_above_0, check_flags, check_rate, is_count, is_number

NO_DECISION = ("initial", "no proposal")  # reasons of a Decision in whose cycle there was nothing to accept or reject


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a policy is asked about one proposal.

    Args:
        index: The decision's number, from 0.
        f_old: The value of f at the incumbent.
        f_new: The value of f at the proposal, after the response.
        draw: A uniform number on [0, 1).
        standard_error: The standard error of f_new − f_old, in the units of f; NaN where there is none.

    Examples:
        >>> Comparison(index=3, f_old=1.0, f_new=0.5, draw=0.7).standard_error
        nan
    """

    index: int
    f_old: float
    f_new: float
    draw: float
    standard_error: float = math.nan


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
class Periodic(Strict):
    """The released code's form of a constant rate: every ``every``-th decision skips the test.

    Args:
        min_decrease: How much f must fall, in units of f, 0 or more.
        every: The period, in decisions, 1 or more. The first decision that skips the test is number 0.

    Raises:
        ValueError: If ``every`` is below 1.

    Examples:
        >>> [Periodic(every=3).probability(i) for i in range(4)]
        [1.0, 0.0, 0.0, 1.0]
    """

    every: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_count(self.every):
            raise ValueError(f"every must be 1 or more decisions, but got {self.every!r}.")

    def probability(self, index: int) -> float:
        return float(index % self.every == 0)


@dataclasses.dataclass(frozen=True)
class DecreasingTemperature(Strict):
    """The released code's decreasing temperature: p_i = 1 / (4 + exp((i/scale)²)).

    Args:
        min_decrease: How much f must fall, in units of f, 0 or more.
        scale: The time scale, in decisions, above 0. The released code has 20,000.

    Raises:
        ValueError: If ``scale`` is not above 0.

    Examples:
        >>> DecreasingTemperature().probability(0)
        0.2
    """

    scale: float = 20000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above_0("scale", self.scale)

    def probability(self, index: int) -> float:
        # The exponent is capped before it overflows; p is 0 to machine precision there.
        return 1.0 / (4.0 + math.exp(min((index / self.scale) ** 2, 700.0)))


@dataclasses.dataclass(frozen=True)
class Significant(Acceptance):
    """Decide by the test only where Δf exceeds its noise, and by a named rule elsewhere.

    The theory's strict test decides when abs(f_new − f_old) > ``z`` standard errors. Otherwise, or where there is no
    standard error, ``otherwise`` decides. This departs from the paper, whose test does not know its noise. ``z=0``
    undoes it.

    Args:
        z: The number of standard errors, 0 or more.
        min_decrease: How much f must fall, in units of f, 0 or more.
        otherwise: The rule for a Δf within its noise: a policy, a name or a dict.

    Raises:
        ValueError: If ``z`` or ``min_decrease`` is negative.

    Examples:
        >>> rule = Significant(z=2, otherwise="always")
        >>> rule(Comparison(0, f_old=1.0, f_new=1.1, draw=0.0, standard_error=0.2))
        (True, 'always')
        >>> rule(Comparison(0, f_old=1.0, f_new=1.5, draw=0.0, standard_error=0.2))
        (False, 'worse')
    """

    needs_error = True

    z: float = 2.0
    min_decrease: float = 0.0
    otherwise: str | Mapping[str, Any] | Acceptance = "always"

    def __post_init__(self) -> None:
        if not (is_number(self.z) and self.z >= 0):
            raise ValueError(f"z must be 0 or more standard errors, but got {self.z!r}.")
        object.__setattr__(self, "otherwise", build_acceptance(self.otherwise))
        object.__setattr__(self, "_strict", Strict(self.min_decrease))

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        stands_out = abs(c.f_new - c.f_old) > self.z * c.standard_error  # False where it is NaN
        rule: Any = self._strict if stands_out else self.otherwise  # type: ignore[attr-defined]
        return rule(c)


@dataclasses.dataclass(frozen=True)
class Always(Acceptance):
    """Control: accept every proposal. The training is then plain descent-ascent, to the last bit.

    Examples:
        >>> Always()(Comparison(0, f_old=1.0, f_new=9.0, draw=0.5))
        (True, 'always')
    """

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        return True, "always"


@dataclasses.dataclass(frozen=True)
class Never(Acceptance):
    """Control: accept no proposal.

    Examples:
        >>> Never()(Comparison(0, f_old=1.0, f_new=0.0, draw=0.5))
        (False, 'never')
    """

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        return False, "never"


@dataclasses.dataclass(frozen=True)
class RandomRate(Acceptance):
    """Control: accept a proposal with a given probability, without a look at f.

    Args:
        rate: That probability, in [0, 1]. Or several, each for ``window`` decisions, with the last for the rest.
        window: The number of decisions for which each of several rates holds.

    Raises:
        ValueError: If a rate is outside [0, 1], there is none, or ``window`` does not fit.

    Examples:
        >>> RandomRate(rate=0.3)(Comparison(0, f_old=1.0, f_new=0.0, draw=0.5))
        (False, 'random')
        >>> falling = RandomRate(rate=[1.0, 0.3], window=100)
        >>> [falling(Comparison(i, f_old=1.0, f_new=0.0, draw=0.5))[0] for i in (0, 99, 100, 500)]
        [True, True, False, False]
    """

    rate: float | Sequence[float]
    window: int | None = None

    def __post_init__(self) -> None:
        several = isinstance(self.rate, Sequence) and not isinstance(self.rate, str)
        if several != (self.window is not None):
            raise ValueError(f"window goes with several rates; got rate={self.rate!r} and window={self.window!r}.")
        rates: list[Any] = list(self.rate) if several else [self.rate]  # type: ignore[arg-type]
        if not rates:
            raise ValueError(f"rate must be a number, or one or more, but got {self.rate!r}.")
        for rate in rates:
            check_rate(rate)
        if self.window is not None and not is_count(self.window):
            raise ValueError(f"window must be 1 or more decisions, but got {self.window!r}.")
        object.__setattr__(self, "_rates", rates)

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        rates: list[float] = self._rates  # type: ignore[attr-defined]
        rate = rates[min(c.index // self.window, len(rates) - 1)] if self.window else rates[0]
        return c.draw < rate, "random"


@dataclasses.dataclass(frozen=True)
class Matched(Acceptance):
    """Control: accept proposals at random, as often as a recorded run accepted them.

    The probability at decision i is the recorded share of accepted proposals in i's window of ``window`` decisions.
    Past the record's end it is the share in the last window. The draw is this run's own.

    Args:
        record: For each recorded decision, whether the proposal was accepted. Or a file of JSON lines with a field
            ``accepted``, as :class:`MinMaxHook` writes it.
        window: The number of decisions in a window. ``None`` is the whole record.

    Raises:
        ValueError: If the record is empty, or ``window`` is below 1.
        FileNotFoundError: If the record's file does not exist.

    Examples:
        >>> control = Matched([True, True, False, False], window=2)
        >>> [control(Comparison(i, f_old=1.0, f_new=0.0, draw=0.5))[0] for i in (0, 1, 2, 3, 9)]
        [True, True, False, False, False]
    """

    record: Sequence[bool | None] | str
    window: int | None = None

    def __post_init__(self) -> None:
        record = self.record
        if isinstance(record, str):
            lines = map(json.loads, Path(record).read_text().splitlines())
            # A cycle without a proposal has a place, but counts as neither.
            record = [None if line.get("reason") in NO_DECISION else bool(line["accepted"]) for line in lines]
        if isinstance(record, str) or not isinstance(record, Sized) or len(record) == 0:
            raise ValueError(f"record must hold at least one decision, but got {self.record!r}.")
        if self.window is not None and not is_count(self.window):
            raise ValueError(f"window must be 1 or more decisions, or None, but got {self.window!r}.")
        size = self.window or len(record)
        shares = [_share(record[i : i + size]) for i in range(0, len(record), size)]
        object.__setattr__(self, "_coin", RandomRate(shares, size))

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        coin: RandomRate = self._coin  # type: ignore[attr-defined]
        return coin(c)


POLICIES: dict[str, type[Acceptance]] = {
    "strict": Strict,
    "constant": ConstantRate,
    "annealed": Annealed,
    "periodic": Periodic,
    "decreasing": DecreasingTemperature,
    "significant": Significant,
    "always": Always,
    "never": Never,
    "random": RandomRate,
    "matched": Matched,
}


def build_acceptance(spec: str | Mapping[str, Any] | Acceptance) -> Acceptance:
    """Build a policy from its name, or from a dict with ``type`` and the policy's arguments.

    Args:
        spec: A name in :data:`POLICIES`, a mapping such as ``dict(type="constant", rate=0.25)``, or a policy.

    Raises:
        ValueError: If the name is unknown, the policy lacks an argument that was given, or ``spec`` is none of these.

    Examples:
        >>> build_acceptance(dict(type="constant", rate=0.25))
        ConstantRate(min_decrease=0.0, reverse=False, rate=0.25, tau=None)
    """
    if isinstance(spec, Acceptance):
        return spec
    if not isinstance(spec, (str, Mapping)):
        raise ValueError(
            f"acceptance must be a policy such as ConstantRate(rate=0.2), a name or a dict with type, but got {spec!r}."
        )
    settings = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("type", "constant")
    if not isinstance(name, str) or name not in POLICIES:
        raise ValueError(f"acceptance must be one of {sorted(POLICIES)}, but got {name!r}.")
    policy = POLICIES[name]
    known = list(inspect.signature(policy).parameters)
    unknown = sorted(set(settings) - set(known), key=str)
    if unknown:
        hint = ": slack is named min_decrease now" if unknown == ["slack"] else ""
        raise ValueError(f"acceptance {name!r} takes {known}, but got {unknown}{hint}.")
    try:
        return policy(**settings)
    except TypeError as error:
        raise ValueError(f"acceptance {name!r} takes {known}, but got {settings}: {error}.") from error


def _share(kept: Sequence[bool | None]) -> float:
    proposals = [k for k in kept if k is not None]
    return sum(proposals) / len(proposals) if proposals else 1.0
