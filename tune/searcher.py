"""The joint between Ray Tune and Optuna: Ray runs the trials, the Optuna studies remember them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from tune.space import Space


class StudySearcher(Searcher):
    """Asks several Optuna studies for trials in turn, and tells them how the trials went.

    The first trial of each study is the unmodified config. A trial that finishes is COMPLETE; one that
    raises, is killed, or ends without a finite objective is FAIL, with the reason in its ``reason``
    attribute. All reported values are kept as intermediate values.

    Args:
        studies: the studies by name.
        space: the space they sample.
        metric: name of the objective.
        mode: ``min`` or ``max``.
        trials: number of trials for each study.
    """

    def __init__(self, studies: dict[str, optuna.Study], space: Space, metric: str, mode: str, trials: int) -> None:
        super().__init__(metric=metric, mode=mode)
        self._studies, self._space, self._trials = studies, space, trials
        self._running: dict[str, tuple[str, optuna.Trial]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        counts = {name: len(study.get_trials(deepcopy=False)) for name, study in self._studies.items()}
        name = min(counts, key=lambda n: counts[n])
        if counts[name] >= self._trials:
            return Searcher.FINISHED  # type: ignore[return-value]
        if 1 <= counts[name] <= len(self._space.points):  # after the unmodified config
            self._studies[name].enqueue_trial(self._space.points[counts[name] - 1])
        trial = self._studies[name].ask()
        params = self._space.sample(trial) if trial.number else {}
        settings = self._space.settings(params)
        trial.set_user_attr("baseline", trial.number == 0)
        trial.set_user_attr("settings", settings)
        self._running[trial_id] = (name, trial)
        return {"study": name, "number": trial.number, "params": params, "settings": settings}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        _, trial = self._running[trial_id]
        if _is_finite(result[self.metric]):
            trial.report(float(result[self.metric]), step=int(result["iterations"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        name, trial = self._running.pop(trial_id)
        result = result or {}
        trial.set_user_attr("metrics", {k.removeprefix("metrics/"): v for k, v in result.items() if "metrics/" in k})
        value: Any = result.get(self.metric)
        if error:
            self._fail(name, trial, "it raised an exception, or its worker died; see error.txt in its folder")
        elif not _is_finite(value):
            self._fail(name, trial, f"the objective {self.metric!r} ended as {value!r}")
        else:
            self._studies[name].tell(trial, float(value))

    def close(self, reason: str) -> None:
        """Mark what still runs as failed: the search ends before it does."""
        for name, trial in self._running.values():
            self._fail(name, trial, reason)
        self._running.clear()

    def _fail(self, name: str, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self._studies[name].tell(trial, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        running = {trial_id: [name, trial.number] for trial_id, (name, trial) in self._running.items()}
        Path(checkpoint_path).write_text(json.dumps(running))

    def restore(self, checkpoint_path: str) -> None:
        for trial_id, (name, number) in json.loads(Path(checkpoint_path).read_text()).items():
            study = self._studies[name]
            frozen = study.get_trials(deepcopy=False)[number]
            self._running[trial_id] = (name, optuna.Trial(study, frozen._trial_id))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
