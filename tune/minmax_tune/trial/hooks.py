"""Hooks of the toolkit's runner by which a training reports its measurements to its trial."""

from __future__ import annotations

import json
import math
import numbers
import os
from typing import Any

import numpy
import torch
from mmcv.runner import HOOKS, Hook
from mmcv.runner.dist_utils import master_only

from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_tune.trial.distributed import measurements


class Diverged(FloatingPointError):
    """A loss that is not finite."""


@HOOKS.register_module(force=True)
class ReportToTune(Hook):
    """Watches a training for its trial: reports each new measurement, and stops at a loss that is not finite.

    Under :class:`~minmax_plugin.mmgen.hook.MinMaxHook` it does not stop, because the algorithm may recover.

    Args:
        job: The trial at work, or a stand-in for it. It has ``objectives`` and ``measure``.
        batch_size: The number of images in an iteration, on one device.
    """

    reads_weights = False  # so that no pair need be shown to it

    def __init__(self, job: Any, batch_size: int) -> None:
        self.job, self.batch_size = job, batch_size
        self.metric = job.objectives[0][0]
        self.last: float | None = None  # the very object that was measured

    def before_run(self, runner: Any) -> None:
        # MinMax rejects a proposal that brings such a loss, and raises where that does not mend it.
        self._guarded = any(isinstance(hook, MinMaxHook) for hook in runner.hooks)

    def after_train_iter(self, runner: Any) -> None:
        iterations = runner.iter + 1
        for name, value in (runner.outputs or {}).get("log_vars", {}).items():
            if not math.isfinite(value) and not self._guarded:
                raise Diverged(f"{name} is {value} at iteration {iterations}")
        output = runner.log_buffer.output
        before, self.last = self.last, output.get(self.metric)
        if self.last is None or self.last is before:  # an old one may stay until the loggers clear it away
            return
        images = iterations * self.batch_size * runner.world_size
        metrics = {name: float(value) for name, value in output.items() if _is_number(value)}
        self.job.measure(metrics, iterations, images, last=self.is_last_iter(runner))


def _is_number(value: Any) -> bool:
    """Whether a hook has logged a number, of any library."""
    return isinstance(value, numbers.Real) or (isinstance(value, (torch.Tensor, numpy.ndarray)) and value.ndim == 0)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # nothing is sent: is it there?
    except ProcessLookupError:
        return False
    return True


class _Writer:
    """A stand-in for a trial in another process. It writes the measurements down, for the trial to read."""

    def __init__(self, folder: str, watcher: int, objective: str) -> None:
        self.objectives = [(objective, "")]
        self.path = measurements(folder, watcher)

    def measure(self, metrics: dict[str, float], iterations: int, images: int, last: bool) -> None:
        self.write(metrics=metrics, iterations=iterations, images=images, last=last)

    def write(self, **line: Any) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")


@HOOKS.register_module(force=True)
class ReportToFile(ReportToTune):
    """Like :class:`ReportToTune`, in one of several processes. The first one writes.

    Args:
        folder: The folder of the training.
        watcher: The trial's process. The training ends when it is gone.
        objective: The primary objective.
        batch_size: The number of images in an iteration, on one device.
    """

    def __init__(self, folder: str, watcher: int, objective: str, batch_size: int) -> None:
        self._writer, self._watcher = _Writer(folder, watcher, objective), watcher
        super().__init__(self._writer, batch_size)

    def after_train_iter(self, runner: Any) -> None:
        # The process of a stopped trial may live on with another trial. Its file does not.
        if not (_lives(self._watcher) and self._writer.path.exists()):
            raise SystemExit("its trial has ended")
        self._report(runner)

    @master_only
    def _report(self, runner: Any) -> None:
        try:
            super().after_train_iter(runner)
        except Diverged as error:
            self._writer.write(diverged=str(error))
            raise
