"""The rules of the authors' released code: how its experiments accept proposals that failed the test."""

from __future__ import annotations

import dataclasses
import math

from minmax_plugin.acceptance import Strict
from minmax_plugin.checks import check_above_0, is_count


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
