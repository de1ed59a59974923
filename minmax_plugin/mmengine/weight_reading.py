"""The hooks of MMEngine that do not look at the weights after an iteration, and when those that do are due."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import (
    CheckpointHook,
    DistSamplerSeedHook,
    EarlyStoppingHook,
    EmptyCacheHook,
    Hook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    ProfilerHook,
    RuntimeInfoHook,
)

BLIND = (
    *(DistSamplerSeedHook, EarlyStoppingHook, EmptyCacheHook, IterTimerHook),
    *(LoggerHook, ParamSchedulerHook, ProfilerHook, RuntimeInfoHook),
)


def is_due(hook: Hook, runner: Any) -> bool:
    """Whether ``hook`` will do anything after this iteration. An unknown hook always may."""
    if isinstance(hook, CheckpointHook):
        if hook.by_epoch:
            return False
        last = hook.save_last and hook.is_last_train_iter(runner)
        return hook.every_n_train_iters(runner, hook.interval, hook.save_begin) or last
    return True
