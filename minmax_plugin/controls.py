"""Controls of experiments: policies that do not look at f, or never accept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

from minmax_plugin.acceptance import NO_DECISION, Acceptance, Comparison
from minmax_plugin.checks import check_rate, is_count


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
        object.__setattr__(self, "_random", RandomRate(shares, size))

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        random: RandomRate = self._random  # type: ignore[attr-defined]
        return random(c)


def _share(kept: Sequence[bool | None]) -> float:
    proposals = [k for k in kept if k is not None]
    return sum(proposals) / len(proposals) if proposals else 1.0
