"""The two-sided rule: reject a proposal whose change is an outlier among the recent ones, and no other."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from minmax_plugin.acceptance import Acceptance, Comparison
from minmax_plugin.checks import check_above_0, is_count

NORMAL = 1.4826  # the standard deviation of normal values, in units of their MAD
LEAST_SCALE = 1e-4  # of the old value: changes that are nearly equal do not make the next one an outlier
SIGNALS = ("f", "the weights' norm")


@dataclasses.dataclass(frozen=True)
class Outlier(Acceptance):
    """Reject a proposal if it changes f, or the norm of the weights, far more or less than the recent ones did.

    It undoes bad steps: a corrupted weight, an overflow, a broken batch. It departs from the paper, whose test is
    one-sided: a damaged discriminator lowers f, so that test accepts it. A change is an outlier if it is more than
    ``threshold`` robust standard deviations away from the median, in either direction. The robust standard deviation
    is 1.4826 times the median absolute deviation (MAD), plus 10⁻⁴ · max(1, abs(old value)). The norm is known at each
    decision anyway. It sees weights of a wrong size, and f sees a wrong sign.

    An accident does not repeat. So after ``retries`` rejections in a row the next proposal is accepted: what happens
    again from the same incumbent, on other batches, belongs to the game. An outlier costs one cycle at most, then.
    Rejected changes enter the window too.

    Args:
        threshold: The number of robust standard deviations, above 0.
        window: The number of recent proposals, 1 or more.
        warmup: The number of changes in the window below which everything finite is accepted. It is 1 or more, and
            at most ``window``.
        retries: The rejections in a row after which an outlier is accepted, 1 or more. What is not finite never is.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> changes = ((0.1, 0.0), (-0.1, 0.0)) * 10
        >>> rule = Outlier(threshold=8)
        >>> rule(Comparison(20, f_old=1.0, f_new=1.5, draw=0.0, changes=changes))
        (True, 'usual')
        >>> rule(Comparison(20, f_old=1.0, f_new=-1.0, draw=0.0, changes=changes))
        (False, 'outlier of f')
        >>> rule(Comparison(20, f_old=1.0, f_new=1.0, draw=0.0, norm_old=9.0, norm_new=99.0, changes=changes))
        (False, "outlier of the weights' norm")
    """

    threshold: float = 8.0
    window: int = 200
    warmup: int = 20
    retries: int = 1

    def __post_init__(self) -> None:
        check_above_0("threshold", self.threshold)
        if not is_count(self.window):
            raise ValueError(f"window must be 1 or more proposals, but got {self.window!r}.")
        if not (is_count(self.warmup) and self.warmup <= self.window):
            raise ValueError(f"warmup must be between 1 and window={self.window}, but got {self.warmup!r}.")
        if not is_count(self.retries):
            raise ValueError(f"retries must be 1 or more rejections in a row, but got {self.retries!r}.")

    @property
    def memory(self) -> int:
        return self.window

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        pairs = (c.f_old, c.f_new), (c.norm_old, c.norm_new)
        recent = [[change[i] for change in c.changes if math.isfinite(change[i])] for i in range(len(SIGNALS))]
        for name, (old, new), changes in zip(SIGNALS, pairs, recent, strict=True):
            if len(changes) >= self.warmup and self._stands_out(old, new, changes):
                return (True, "repeated") if c.rejections >= self.retries else (False, f"outlier of {name}")
        return True, "usual" if len(recent[0]) >= self.warmup else "warm-up"

    def _stands_out(self, old: float, new: float, changes: Sequence[float]) -> bool:
        median = statistics.median(changes)
        mad = statistics.median(abs(change - median) for change in changes)
        scale = NORMAL * mad + LEAST_SCALE * max(1.0, abs(old))
        return abs(new - old - median) > self.threshold * scale  # False where one is NaN
