"""The scores of a trial over its seeds, and the interval of their mean."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from typing import Any

from scipy import stats


def summary(runs: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Summarise the runs of a trial: scores by seed, their interval, and mean metrics.

    Args:
        runs: The runs, each with ``base``, ``seed`` and ``metrics``.
        metric: The primary objective.

    Examples:
        >>> runs = [{"base": "a", "seed": s, "metrics": {"m": v}} for s, v in ((1, 0.4), (2, 0.6))]
        >>> kept = summary(runs, "m")
        >>> kept["scores"], [round(x, 2) for x in kept["interval"]]
        ([0.4, 0.6], [-0.77, 1.77])
    """
    scores = list(by_seed(runs, metric).values())
    names = [n for n in runs[-1]["metrics"] if all(n in run["metrics"] for run in runs)]
    metrics = {n: sum(run["metrics"][n] for run in runs) / len(runs) for n in names}
    return {"runs": runs, "scores": scores, "interval": interval(scores), "metrics": metrics}


def by_seed(runs: list[dict[str, Any]], metric: str) -> dict[int, float]:
    """Compute the score of each seed: the mean of a metric over its runs, on each data set."""
    values: dict[int, list[float]] = {}
    for run in runs:
        values.setdefault(run["seed"], []).append(run["metrics"].get(metric, math.nan))
    return {seed: sum(its) / len(its) for seed, its in values.items()}


def interval(scores: Sequence[float]) -> list[float] | None:
    """Compute the 95 % Student-t interval of the mean of ``scores``, or ``None`` for fewer than two.

    Examples:
        >>> interval([0.5])
    """
    if len(scores) < 2 or not all(map(math.isfinite, scores)):
        return None
    mean, half = sum(scores) / len(scores), student(scores)
    return [mean - half, mean + half]


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, list[float] | None] | None:
    """Compute how far the mean of ``first`` is above that of ``second``, with Welch's 95 % interval.

    There is no interval for fewer than two values of each, and nothing without values.

    Examples:
        >>> gain, bounds = difference([0.8, 0.9, 1.0], [0.2, 0.3, 0.4])
        >>> round(gain, 2), [round(x, 2) for x in bounds]
        (0.6, [0.37, 0.83])
    """
    if not first or not second:
        return None
    gain = sum(first) / len(first) - sum(second) / len(second)
    if min(len(first), len(second)) < 2:
        return gain, None
    if len({*first}) == len({*second}) == 1:  # no spread, for which Welch's degrees of freedom are not defined
        return gain, [gain, gain]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of one side without spread
        bounds = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return gain, [float(bounds.low), float(bounds.high)]


def student(values: Collection[float]) -> float:
    """Compute half the width of the 95 % Student-t interval of a mean.

    Examples:
        >>> round(student([0.4, 0.6]), 2)
        1.27
    """
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
