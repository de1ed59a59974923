"""Why and when a search ends before its last trial, or a trial before its end."""

from __future__ import annotations

import getpass
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from ray.tune import Stopper

from minmax_plugin.errors import ConfigError
from minmax_plugin.secrets import hide
from minmax_tune.files import write_text, writing
from minmax_tune.study import STOP, Search

TIME_BUDGET = "time budget"


def request_stop(record: Search, name: str) -> str:
    """Ask for the end of one trial of a running search. It ends at its next measurement.

    The request is a file in the trial's folder. So it may come from any machine that has the folder.

    Args:
        record: The search.
        name: The trial's number, or ``STUDY_NUMBER``.

    Returns:
        The trial, as ``STUDY_NUMBER``.

    Raises:
        ConfigError: If there is no such trial, or it does not run.
    """
    default = f"{next(iter(record.studies))}_" if len(record.studies) == 1 and name.isdigit() else ""
    study, _, number = f"{default}{name}".rpartition("_")
    trials = record.studies[study].get_trials(deepcopy=False) if study in record.studies else []
    if not number.isdigit() or int(number) >= len(trials):
        some = f"{next(iter(record.studies))}_0"
        raise ConfigError(f"--stop-trial: {record.folder} has no trial {name!r}; name one as {some!r}.")
    if (state := trials[int(number)].state) != TrialState.RUNNING:
        raise ConfigError(f"--stop-trial: {study}_{number} is {state.name}, and only a running trial can be stopped.")
    file = record.trial_folder(study, int(number)) / STOP
    with writing(str(file)):
        write_text(file, _who())
    return f"{study}_{number}"


def _who() -> str:
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name, as in some containers
        return f"someone on {socket.gethostname()}"


class SearchStopper(Stopper):
    """Why and when a search ends before its last trial, or a trial before its end.

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
        self.requests: dict[str, Path] = {}  # the files that ask for the end of a trial, by its id
        self.stopped_by: dict[str, str] = {}  # who asked, by the ids of the trials that were stopped for it
        self.judge: Callable[[str, dict[str, Any]], str | None] = lambda trial_id, result: None  # of a race
        self.lost: dict[str, str] = {}  # why, by the ids of the trials that lost a race
        self.reason: str | None = None
        self.error: Path | None = None  # the traceback that explains it

    def end(self, reason: str, error: Path | None = None) -> None:
        if self.reason is None:
            self.reason, self.error = hide(reason), error

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if result.get("outcome"):  # it may end by itself just now
            return False
        if result.get("seconds", 0.0) > self._trial_time:
            self.timed_out.add(trial_id)
        elif (request := self.requests.get(trial_id)) and request.exists():
            self.stopped_by[trial_id] = request.read_text()
        elif verdict := self.judge(trial_id, result):
            self.lost[trial_id] = verdict
        return any(trial_id in ended for ended in (self.timed_out, self.stopped_by, self.lost))

    def stop_all(self) -> bool:
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.end(TIME_BUDGET)
        return self.reason is not None
