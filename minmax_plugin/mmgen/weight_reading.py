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
from minmax_plugin.weight_reading import weight_readers

BLIND = (LoggerHook, IterTimerHook, VisualizationHook, PickleDataHook)


def weight_reading_hooks(runner: Any) -> list[Hook]:
    """Find the hooks of a toolkit's runner that may look at the weights after an iteration."""
    return weight_readers(runner.hooks, BLIND)


def is_due(hook: Hook, runner: Any) -> bool:
    """Whether ``hook`` will do anything after this iteration. An unknown hook always may."""
    if isinstance(hook, GenerativeEvalHook):
        return hook.every_n_iters(runner, hook.get_current_interval(runner))
    if isinstance(hook, (CheckpointHook, ExponentialMovingAverageHook, SampleMetrics, VisualizeUnconditionalSamples)):
        return hook.every_n_iters(runner, hook.interval) or hook.is_last_iter(runner)
    return True
