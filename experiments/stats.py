"""Statistics of results, each with its 95 % interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    interval = stats.binomtest(hits, runs).proportion_ci(method="wilson")
    return interval.low, interval.high


def share(hits: int, runs: int) -> str:
    """The number of runs that hit, with Wilson's interval of their share."""
    low, high = wilson(hits, runs)
    return f"{hits}/{runs} ({low:.0%}–{high:.0%})"


def paired_ratio(plain: ArrayLike, other: ArrayLike) -> dict[str, float]:
    """The median ratio of two series of times, taken pair by pair, with its bootstrap interval."""
    ratios = np.asarray(other) / np.asarray(plain)
    interval = stats.bootstrap((ratios,), np.median, method="percentile", rng=0).confidence_interval
    return {"ratio": float(np.median(ratios)), "ratio_low": interval.low, "ratio_high": interval.high}
