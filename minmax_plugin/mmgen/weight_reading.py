"""The hooks of a runner that may look at the weights after an iteration, and when they do."""

from __future__ import annotations

from typing import Any

from mmcv.runner import CheckpointHook, Hook, IterTimerHook, LoggerHook
from mmgen.core.evaluation import GenerativeEvalHook
from mmgen.core.hooks import (
    ExponentialMovingAverageHook,
    PickleDataHook,
    VisualizationHook,
    VisualizeUnconditionalSamples,
)

from minmax_plugin.mmgen.metrics import SampleMetrics

BLIND = (LoggerHook, IterTimerHook, VisualizationHook, PickleDataHook)


def weight_reading_hooks(runner: Any) -> list[Hook]:
    """Find the hooks that may look at the weights after an iteration.

    A hook that does not look says so by an attribute ``reads_weights = False``.
    """
    hooks = [h for h in runner.hooks if not isinstance(h, BLIND) and getattr(h, "reads_weights", True)]
    return [h for h in hooks if "after_train_iter" in h.get_triggered_stages()]


def is_due(hook: Hook, runner: Any) -> bool:
    """Whether ``hook`` will do anything after this iteration. An unknown hook always may."""
    if isinstance(hook, GenerativeEvalHook):
        return hook.every_n_iters(runner, hook.get_current_interval(runner))
    if isinstance(hook, (CheckpointHook, ExponentialMovingAverageHook, SampleMetrics, VisualizeUnconditionalSamples)):
        return hook.every_n_iters(runner, hook.interval) or hook.is_last_iter(runner)
    return True
