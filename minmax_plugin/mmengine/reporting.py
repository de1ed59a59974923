"""The hook by which a training reports its validations to a search."""

from __future__ import annotations

import math
import pkgutil
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from minmax_plugin.hosts import Reporter
from minmax_plugin.mmengine.hook import MinMaxHook
from minmax_plugin.openmmlab import numbers_in


@HOOKS.register_module()
class ReportHook(Hook):
    """Reports each validation that has the objective, and stops at a loss that is not finite.

    Under :class:`~minmax_plugin.mmengine.hook.MinMaxHook` it does not stop, because the algorithm may recover.

    Args:
        reporter: The reporter, or its class as ``module:Class``.
        batch_size: The number of images in an iteration, in each process.
        arguments: The arguments of the reporter's class.
    """

    reads_weights = False
    priority = "LOWEST"

    def __init__(self, reporter: Reporter | str, batch_size: int, **arguments: Any) -> None:
        self.batch_size = batch_size
        self.reporter = pkgutil.resolve_name(reporter)(**arguments) if isinstance(reporter, str) else reporter

    def before_train(self, runner: Any) -> None:
        self._guarded = any(isinstance(hook, MinMaxHook) for hook in runner.hooks)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.reporter.on_iteration()
        for name, value in numbers_in(outputs or {}).items():
            if not math.isfinite(value) and not self._guarded:
                raise FloatingPointError(f"{name} is {value} at iteration {runner.iter + 1}")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if runner.rank == 0 and self.reporter.metric in (measured := numbers_in(metrics or {})):
            images = runner.iter * self.batch_size * runner.world_size
            self.reporter.on_measure(measured, runner.iter, images, last=runner.iter >= runner.max_iters)
