"""What is measured on a device: the cost of a cycle beside plain training, and a map of learning rates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.device.pair import MODES, Pair
from minmax_plugin import ConstantRate

TURN_S, WARMING = 0.25, 6  # the length of a turn, and cycles before the first one
METHODS: dict[str, dict[str, Any]] = {
    "plain + R1": dict(r1=1.0),
    "MinMax's default + R1": dict(r1=1.0, minmax={}),
}


def costs(device: torch.device, short: bool) -> Iterator[dict[str, Any]]:
    """The ratio of a cycle's time to that of plain training, in turns, for networks of two widths."""
    rounds, turn = (5, 0.01) if short else (31, TURN_S)
    for width in (64,) if short else (64, 1024):
        for name, settings in (
            ("default", dict(minmax={})),
            ("given f", dict(minmax=dict(acceptance=ConstantRate(0.2)), paired=False)),
        ):
            pairs = [Pair(device, width=width), Pair(device, width=width, **settings)]
            for pair in pairs:
                _seconds(pair, WARMING)
            cycles = max(1, round(turn / _seconds(pairs[0], 1)))
            turns = [[_seconds(pair, cycles) for pair in pairs] for _ in range(rounds)]
            low, middle, high = _middle([other / plain for plain, other in turns])
            yield {"check": "time, ratio to plain", "case": f"{name}, width {width}"} | {
                "value": middle,
                "low": low,
                "high": high,
                "plain_ms": 1e3 * statistics.median(plain for plain, _ in turns) / cycles,
            }


def stability(device: torch.device, short: bool) -> Iterator[dict[str, Any]]:
    """The share of pairs of learning rates at which all modes are found."""
    rates = (1e-3,) if short else (3e-4, 1e-3, 3e-3)
    cycles = 10 if short else 800
    for method, settings in METHODS.items():
        found = 0
        for pair in (Pair(device, rates=(g, d), **settings) for g in rates for d in rates):
            for _ in range(cycles):
                pair.cycle()
            found += pair.modes() == MODES
        yield {"check": "map, share that trains", "case": method, "value": found / len(rates) ** 2}


def _seconds(pair: Pair, cycles: int) -> float:
    _wait(pair.device)
    began = time.perf_counter()
    for _ in range(cycles):
        pair.cycle()
    _wait(pair.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _middle(values: list[float]) -> tuple[float, float, float]:
    """The median, between the ends of its 95 % interval by ranks (normal approximation of the sign test)."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low, high = round(len(values) / 2 - half), round(len(values) / 2 + half)
    return ordered[max(low, 0)], statistics.median(ordered), ordered[min(high, len(values) - 1)]
