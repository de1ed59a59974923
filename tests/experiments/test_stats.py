"""The intervals of shares, means and ratios."""

import pytest

from experiments import stats
from minmax_tune.scores import student


def test_a_share_has_wilson_s_interval():
    assert stats.share(1, 3) == "1/3 (6%–79%)"  # Wilson (1927): 0.0615 to 0.7923
    assert stats.wilson(0, 20) == pytest.approx((0, 3.8415 / 23.8415), abs=1e-4)  # z² / (n + z²)


def test_a_mean_has_student_s_interval():
    assert student([1, 2, 3, 4, 5]) == pytest.approx(2.7764 * 0.70711, abs=1e-4)  # t(0.975, 4) × standard error


def test_ratios_are_taken_pair_by_pair():
    assert stats.paired_ratio([1.0, 2.0, 1.0], [2.0, 4.0, 2.0]) == {"ratio": 2, "ratio_low": 2, "ratio_high": 2}
