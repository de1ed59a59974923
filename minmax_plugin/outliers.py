"""The two-sided rule: reject a proposal whose change of f is an outlier among the recent ones, and no other."""

from __future__ import annotations

import dataclasses
import math
import statistics

from minmax_plugin.acceptance import Acceptance, Comparison
from minmax_plugin.checks import check_above_0, is_count

NORMAL = 1.4826  # the standard deviation of normal values, in units of their MAD
LEAST_SCALE = 1e-4  # in units of f: changes that are nearly equal do not make the next one an outlier


@dataclasses.dataclass(frozen=True)
class Outlier(Acceptance):
    """Reject a proposal if its change of f, f_new − f_old, is far from the recent changes, in either direction.

    It undoes bad steps: a corrupted weight, an overflow, a broken batch. It departs from the paper, whose test is
    one-sided: a damaged discriminator lowers f, so that test accepts it. An outlier is more than ``threshold`` robust
    standard deviations away from the median. The robust standard deviation is 1.4826 times the median absolute
    deviation (MAD), plus 10⁻⁴ · max(1, abs(f_old)).

    Rejected changes enter the window too. So the rule cannot reject for ever: after a lasting shift of f, the new
    changes soon fill half of the window, and become the usual ones.

    Args:
        threshold: The number of robust standard deviations, above 0.
        window: The number of recent proposals, 1 or more.
        warmup: The number of changes in the window below which everything finite is accepted. It is 1 or more, and
            at most ``window``.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> changes = (0.1, -0.1) * 10
        >>> rule = Outlier(threshold=8)
        >>> rule(Comparison(20, f_old=1.0, f_new=1.5, draw=0.0, changes=changes))
        (True, 'usual')
        >>> rule(Comparison(20, f_old=1.0, f_new=-1.0, draw=0.0, changes=changes))
        (False, 'outlier')
    """

    threshold: float = 8.0
    window: int = 200
    warmup: int = 20

    def __post_init__(self) -> None:
        check_above_0("threshold", self.threshold)
        if not is_count(self.window):
            raise ValueError(f"window must be 1 or more proposals, but got {self.window!r}.")
        if not (is_count(self.warmup) and self.warmup <= self.window):
            raise ValueError(f"warmup must be between 1 and window={self.window}, but got {self.warmup!r}.")

    @property
    def memory(self) -> int:
        return self.window

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        changes = [change for change in c.changes if math.isfinite(change)]
        if len(changes) < self.warmup:
            return True, "warm-up"
        median = statistics.median(changes)
        mad = statistics.median(abs(change - median) for change in changes)
        scale = NORMAL * mad + LEAST_SCALE * max(1.0, abs(c.f_old))
        usual = abs(c.f_new - c.f_old - median) <= self.threshold * scale
        return usual, "usual" if usual else "outlier"
