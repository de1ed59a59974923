"""Logs a search to MLflow as well: an experiment for the search, a run for each trial."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any

from ray import tune

from minmax_plugin.errors import ConfigError
from minmax_plugin.secrets import hide
from minmax_tune.addresses import fill_in, shown
from minmax_tune.pickling import EmptyPickle
from minmax_tune.report import tables
from minmax_tune.study import Search

STATUS = {"complete": "FINISHED", "pruned": "KILLED"}  # in MLflow's words; anything else has failed


def connect(uri: str) -> Any:
    """Make a client of MLflow.

    Args:
        uri: MLflow's tracking server, database or folder, as ``--mlflow`` names it.

    Raises:
        ConfigError: If MLflow is not installed, or there is nothing at ``uri``.
    """
    place, given = fill_in("--mlflow", uri), f"--mlflow={shown(uri)!r}"
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError as error:
        raise ConfigError(f"{given} needs MLflow: pip install mlflow-skinny") from error
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        client.search_experiments(max_results=1)
    except Exception as error:  # of the store or server that the URI names
        raise ConfigError(f"{given} cannot be used: {hide(' '.join(str(error).split()))[:300]}") from error
    return client


class MlflowLogger(EmptyPickle, tune.Callback):
    """A run for each trial: what was sampled, the metrics by images, and how it ended.

    Ray's own MLflow callback counts reports, not images, and knows no early stop. A server that cannot be reached later
    causes one warning and ends nothing.

    Args:
        record: The search. Its name is that of the experiment.
        uri: MLflow's tracking server, database or folder, as ``--mlflow`` names it.

    Raises:
        ConfigError: If MLflow is not installed, or there is nothing at ``uri``.
    """

    def __init__(self, record: Search, uri: str) -> None:
        self._record, self._client = record, connect(uri)
        known = self._client.get_experiment_by_name(record.name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(record.name)
        self._runs: dict[tuple[str, int], str] = {}
        self._warned = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._try(self._start, trial.config)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self._try(self._log, trial.config, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._try(self._end, trial.config)

    on_trial_error = on_trial_complete

    def _start(self, config: dict[str, Any]) -> None:
        key = config["study"], config["number"]
        if key in self._runs:  # its worker died, and it starts again
            return
        name = f"{key[0]} {self._record.title(*key)}"
        run = self._client.create_run(self._experiment, tags={"study": key[0], "trial": str(key[1])}, run_name=name)
        self._runs[key] = run.info.run_id
        for setting, value in config["params"].items():
            self._client.log_param(run.info.run_id, setting, value)

    def _log(self, config: dict[str, Any], result: dict[str, Any]) -> None:
        run, step = self._runs[config["study"], config["number"]], int(result.get("images", 0))
        objective = self._record.objectives[0][0]
        metrics = {**result.get("metrics", {}), objective: result.get(objective), "seconds": result.get("seconds")}
        for name, value in metrics.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._client.log_metric(run, name, value, step=step)

    def _end(self, config: dict[str, Any]) -> None:
        study, number = config["study"], config["number"]
        run = self._runs.pop((study, number))
        row = tables.read_row(self._record, study, number)
        if row.interval:
            for name, value in zip(("low", "high"), row.interval, strict=True):
                self._client.log_metric(run, f"{self._record.objectives[0][0]}_{name}", value)
        self._client.set_tag(run, "reason", row.reason or "")
        self._client.set_terminated(run, STATUS.get(row.state, "FAILED"))

    def _try(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:
            if not self._warned:
                warnings.warn(f"MLflow could not be told ({hide(str(error))}); the search goes on.", stacklevel=2)
            self._warned = True
