"""Logs a search to Weights & Biases as well, by Ray's own integration: a group for the search, a run for each trial."""

from __future__ import annotations

import os
from typing import Any

from ray.air.integrations.wandb import WandbLoggerCallback

from minmax_plugin.errors import ConfigError
from minmax_tune.study import Search

SHOWN = ("study", "number", "params", "settings")  # of what Ray knows as the config of a trial
NOT_LOGGED = ("config", "runs", "earlier")  # of a trial's report: they are no metrics


def check_wandb(project: str) -> None:
    """Refuse W&B where it is not installed, or has no key.

    Raises:
        ConfigError: If it cannot be used.
    """
    try:
        WandbLoggerCallback(project=project).setup()
    except RuntimeError as error:
        raise ConfigError(f"--wandb={project!r} needs W&B: pip install wandb") from error
    except ValueError as error:
        raise ConfigError(
            f"--wandb={project!r}: W&B has no key: run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline."
        ) from error


class WandbLogger(WandbLoggerCallback):
    """A run for each trial: its parameters and settings, and its metrics at each measurement. The step is ``images``.

    W&B keeps its files in the search's folder. Its key comes from ``WANDB_API_KEY`` or ``wandb login``. With
    ``WANDB_MODE=offline`` it needs none, and ``wandb sync`` sends the files later.

    Args:
        record: The search. Its name is that of the group.
        project: W&B's project.
    """

    def __init__(self, record: Search, project: str) -> None:
        mode = os.environ.get("WANDB_MODE")  # Ray's workers on a cluster do not have it
        super().__init__(project=project, group=record.name, dir=str(record.folder), mode=mode)

    def log_trial_start(self, trial: Any) -> None:
        self.excludes = [name for name in trial.config if name not in SHOWN]
        super().log_trial_start(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        # Ray counts reports from 1 again after a restart. W&B drops what has an earlier step.
        step = {"training_iteration": int(result.get("images", 0))}
        super().log_trial_result(iteration, trial, {k: v for k, v in result.items() if k not in NOT_LOGGED} | step)
