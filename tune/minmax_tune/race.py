"""The race of a search: settings that are worse than the best one, seed by seed, train no further seeds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from scipy import stats

from minmax_tune.options import RACE_SEEDS

P_VALUE = 0.05  # below which the worse one is stopped


class Race:
    """Compares the settings of a study with the best one that has trained all its seeds.

    A setting is compared on the seeds that both have, by the one-sided paired t-test. The difference of two trainings
    with one seed scatters less than that of two with different ones.

    Args:
        mode: Whether the ``max`` or the ``min`` of the scores is the best.

    Examples:
        >>> race = Race("max")
        >>> race.finish(4, {1: 0.8, 2: 0.9, 3: 0.85, 4: 0.7})
        >>> race.verdict({1: 0.3, 2: 0.5, 3: 0.4})
        'worse than trial 4 on the 3 seeds that it has trained (p = 0.002)'
        >>> race.verdict({1: 0.7, 2: 0.95, 3: 0.8}), race.verdict({1: 0.0, 2: 0.0})
        (None, None)
    """

    def __init__(self, mode: str) -> None:
        self._sign = 1 if mode == "max" else -1
        self._best: tuple[int, dict[int, float]] | None = None

    def finish(self, number: int, scores: Mapping[int, float]) -> None:
        """Take note of a trial that has trained all its seeds, with its scores by seed."""
        if self._best is None or self._mean(scores) > self._mean(self._best[1]):
            self._best = number, dict(scores)

    def _mean(self, scores: Mapping[int, float]) -> float:
        return self._sign * sum(scores.values()) / len(scores)

    def verdict(self, scores: Mapping[int, float]) -> str | None:
        """Say why a setting with these scores by seed is to be stopped, if it is."""
        if self._best is None:
            return None
        number, best = self._best
        seeds = sorted(best.keys() & scores.keys())
        if len(seeds) < RACE_SEEDS:
            return None
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of differences without spread
            test = stats.ttest_rel(
                [self._sign * best[seed] for seed in seeds],
                [self._sign * scores[seed] for seed in seeds],
                alternative="greater",
            )
        if not test.pvalue < P_VALUE:  # not a number where all scores are equal
            return None
        return f"worse than trial {number} on the {len(seeds)} seeds that it has trained (p = {test.pvalue:.2g})"
