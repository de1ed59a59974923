"""One trial: the toolkit's own training of one sampled config, reporting to Ray Tune as it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmcv.runner import HOOKS, Hook
from ray import tune

import minmax_plugin.mmgen  # noqa: F401  the registries that configs name
from minmax_plugin.mmgen.train import train
from tune.record import trial_config, trial_folder


@HOOKS.register_module(force=True)
class ReportToTune(Hook):
    """Reports each fresh measurement to Ray Tune: the metrics, and what they cost so far.

    Args:
        metric: the objective; a measurement is fresh when it stands in the log's output.
        batch_size: images in one iteration.
    """

    reads_weights = False  # so that no pair need be shown to it

    def __init__(self, metric: str, batch_size: int) -> None:
        self.metric, self.batch_size = metric, batch_size
        self.start = time.monotonic()

    def after_train_iter(self, runner: Any) -> None:
        output = runner.log_buffer.output
        if self.metric not in output:
            return
        iterations = runner.iter + 1
        metrics = {name: float(value) for name, value in output.items() if isinstance(value, (int, float))}
        metrics.update(images=iterations * self.batch_size, seconds=time.monotonic() - self.start)
        tune.report({self.metric: metrics[self.metric], "iterations": iterations, "metrics": metrics})


def run_trial(config: dict[str, Any]) -> None:
    """Ray Tune's trainable: trains ``config["settings"]`` laid over the base config of ``config["study"]``."""
    torch.set_num_threads(max(1, int(config["cpus"])))
    cfg = trial_config(config["bases"][config["study"]], config["settings"])
    # Not Ray's idea of the trial's folder: a warm worker keeps that of its first trial.
    cfg.work_dir = str(trial_folder(Path(config["folder"]), config["study"], config["number"]))
    cfg.custom_hooks = [
        *(cfg.get("custom_hooks") or []),
        dict(type="ReportToTune", metric=config["metric"], batch_size=cfg.data.samples_per_gpu, priority="LOW"),
    ]
    train(cfg, name="config.py", seed=config["seed"])
