"""Why and when a search ends before its last trial."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from ray.tune import Stopper

from minmax_plugin.secrets import hide

TIME_BUDGET = "time budget"


class SearchStopper(Stopper):
    """Why and when a search ends before its last trial.

    Args:
        time_budget: The seconds from now until the search ends, or ``None``.
        trial_time: The seconds that a trial may train, or ``None``.

    Examples:
        >>> stopper = SearchStopper(None)
        >>> stopper.stop_all()
        False
        >>> stopper.end("interrupted (SIGINT)")
        >>> stopper.stop_all(), stopper.reason
        (True, 'interrupted (SIGINT)')
    """

    def __init__(self, time_budget: float | None, trial_time: float | None = None) -> None:
        self._deadline = None if time_budget is None else time.monotonic() + time_budget
        self._trial_time = math.inf if trial_time is None else trial_time
        self.timed_out: set[str] = set()  # ids of the trials that were stopped because their time was over
        self.reason: str | None = None
        self.error: Path | None = None  # the traceback that explains it

    def end(self, reason: str, error: Path | None = None) -> None:
        if self.reason is None:
            self.reason, self.error = hide(reason), error

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if result.get("seconds", 0.0) <= self._trial_time or result.get("outcome"):  # it may end by itself just now
            return False
        self.timed_out.add(trial_id)
        return True

    def stop_all(self) -> bool:
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.end(TIME_BUDGET)
        return self.reason is not None
