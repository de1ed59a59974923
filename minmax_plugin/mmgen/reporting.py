"""The hook by which a training reports its measurements to a search."""

from __future__ import annotations

import math
import pkgutil
from typing import Any

from mmcv.runner import HOOKS, Hook

from minmax_plugin.hosts import Reporter
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.openmmlab import numbers_in


@HOOKS.register_module(force=True)
class ReportHook(Hook):
    """Reports each new measurement, and stops at a loss that is not finite.

    Under :class:`~minmax_plugin.mmgen.hook.MinMaxHook` it does not stop, because the algorithm may recover.

    Args:
        reporter: The reporter, or its class as ``module:Class``.
        batch_size: The number of images in an iteration, in each process.
        arguments: The arguments of the reporter's class.
    """

    reads_weights = False  # so that no pair need be shown to it

    def __init__(self, reporter: Reporter | str, batch_size: int, **arguments: Any) -> None:
        self.batch_size = batch_size
        self.reporter = pkgutil.resolve_name(reporter)(**arguments) if isinstance(reporter, str) else reporter
        self.last: float | None = None  # the very object that was measured

    def before_run(self, runner: Any) -> None:
        # MinMax rejects a proposal that brings such a loss, and raises where that does not mend it.
        self._guarded = any(isinstance(hook, MinMaxHook) for hook in runner.hooks)

    def after_train_iter(self, runner: Any) -> None:
        self.reporter.on_iteration()
        if runner.rank > 0:
            return
        iterations = runner.iter + 1
        for name, value in (runner.outputs or {}).get("log_vars", {}).items():
            if not math.isfinite(value) and not self._guarded:
                raise FloatingPointError(f"{name} is {value} at iteration {iterations}")
        output = runner.log_buffer.output
        before, self.last = self.last, output.get(self.reporter.metric)
        if self.last is None or self.last is before:  # an old one may stay until the loggers clear it away
            return
        images = iterations * self.batch_size * runner.world_size
        self.reporter.on_measure(numbers_in(output), iterations, images, last=self.is_last_iter(runner))
