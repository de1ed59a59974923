"""Early stopping by name: Ray's schedulers, one for each study. They count a resource that trials share."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from minmax_tune.options import Options
from minmax_tune.report.tables import learning_curve

REDUCTION = 3  # ASHA keeps the best third at each rung
RUNGS = 5  # by seconds, where no trial's full length is known
GRACE = 0.25  # share of a full training
_Earlier = namedtuple("_Earlier", "trial_id")  # what Ray's schedulers read of a trial


def make_scheduler(
    options: Options,
    images: Mapping[str, int],
    studies: Mapping[str, optuna.Study],
    out_of_memory: Callable[[str], None],
) -> TrialScheduler:
    """Make the schedulers that ``options`` name, one for each study.

    Args:
        options: The options of the search.
        images: The number of images that a whole trial of each study sees.
        studies: The studies. Reports of their earlier trials count, so that a resumed search knows them.
        out_of_memory: A function that gets the id of a trial that Ray killed because memory ran out.
    """
    metric, mode = options.directions[0]
    by_seconds = options.resource == "seconds"

    def make(study: str) -> TrialScheduler:
        if options.scheduler == "none":
            return FIFOScheduler()
        grace = float(options.grace or 0) if by_seconds else (options.grace or GRACE) * images[study]
        common: dict[str, Any] = dict(time_attr=options.resource, metric=metric, mode=mode, grace_period=grace)
        if options.scheduler == "median":
            # Never paused in favour of waiting trials, because a paused trial would have to start again.
            return MedianStoppingRule(**common, min_samples_required=3, min_time_slice=math.inf)  # type: ignore[arg-type]
        most = grace * REDUCTION**RUNGS if by_seconds else images[study]
        return ASHAScheduler(max_t=most, reduction_factor=REDUCTION, stop_last_trials=False, **common)

    scheduler = PerStudy({name: make(name) for name in studies}, out_of_memory)
    if not by_seconds:  # what is stored of each trial is by images
        scheduler.replay(studies, metric)
    return scheduler


class PerStudy(FIFOScheduler):
    """Gives each study a separate scheduler, because trials on different data sets do not compare.

    It also stops Ray from restarting a trial that it killed because memory ran out. That would happen again.

    Args:
        schedulers: The schedulers by the study's name.
        out_of_memory: A function that gets the id of such a trial.
    """

    def __init__(self, schedulers: Mapping[str, TrialScheduler], out_of_memory: Callable[[str], None]) -> None:
        super().__init__()
        self._schedulers, self._out_of_memory = schedulers, out_of_memory
        self._doomed: list[tuple[Any, Any]] = []

    def replay(self, studies: Mapping[str, optuna.Study], metric: str) -> None:
        """Show the schedulers the reports of earlier trials."""
        for name, study in studies.items():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
                stand_in = _Earlier(f"earlier_{trial.number}")
                scheduler: Any = self._schedulers[name]
                scheduler.on_trial_add(None, stand_in)
                for step, value in learning_curve(trial):
                    result = {"images": step, metric: value}
                    if scheduler.on_trial_result(None, stand_in, result) == TrialScheduler.STOP:
                        break

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_error(tune_controller, trial)
        file = trial.error_file  # on this machine; that in the storage comes later
        if file and Path(file).exists() and "running low on memory" in Path(file).read_text():
            self._out_of_memory(trial.trial_id)
            self._doomed.append((tune_controller, trial))  # it is about to be queued again

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        while self._doomed:
            controller, trial = self._doomed.pop()
            controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result.get("outcome"):  # it ends by itself, and is not to be called stopped early
            return TrialScheduler.CONTINUE
        return self._of(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if "images" in result:  # one that failed may end without a measurement
            self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)

    def _of(self, trial: Any) -> Any:
        return self._schedulers[trial.config["study"]]
