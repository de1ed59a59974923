"""Checks of the training loop's own settings: iterations, intervals, batches, schedules and evaluations."""

from __future__ import annotations

import itertools
import logging
import math
import multiprocessing
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmcv import Config
from mmcv.runner import HOOKS, CheckpointHook, Hook, IterBasedRunner
from mmcv.runner.hooks import LrUpdaterHook
from mmcv.runner.hooks.momentum_updater import MomentumUpdaterHook
from mmgen.datasets import build_dataloader
from mmgen.models.architectures.pggan import MiniBatchStddevLayer
from mmgen.models.architectures.stylegan.modules.styleganv2_modules import ModMBStddevLayer
from torch import nn

from minmax_plugin.checks import is_count
from minmax_plugin.errors import ConfigError, one_line

DICTS = (
    "model", "data", "optimizer", "train_cfg", "test_cfg", "lr_config", "momentum_config", "runner", "evaluation",
    "checkpoint_config", "log_config", "dist_params", "custom_imports",
)  # fmt: skip
FLAGS = ("cudnn_benchmark", "find_unused_parameters", "use_ddp_wrapper")
GROUPED = (MiniBatchStddevLayer, ModMBStddevLayer)
NO_LOADER = ("train", "val", "test", "train_dataloader", "val_dataloader", "test_dataloader")


def check_forms(cfg: Config) -> None:
    """Refuse settings that have another form than the toolkit takes apart.

    Raises:
        ConfigError: If one has. The message names it.

    Examples:
        >>> check_forms(Config(dict(data=3)))
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: data must be a dict, but is 3.
    """
    for name in DICTS:
        _check(name, cfg.get(name), cfg.get(name) is None or isinstance(cfg[name], Mapping), "a dict")
    for name in FLAGS:
        _check(name, cfg.get(name), cfg.get(name) in (None, True, False), "True or False")
    level, workflow = cfg.get("log_level", "INFO"), cfg.get("workflow", [("train", 1)])
    _check("log_level", level, str(level) in logging.getLevelNamesMapping() or is_count(level), "such as 'INFO'")
    flow = workflow[0] if isinstance(workflow, list) and len(workflow) == 1 else None
    fits = isinstance(flow, tuple) and len(flow) == 2 and flow[0] == "train" and is_count(flow[1])
    _check("workflow", workflow, fits, "[('train', N)], with N of 1 or more")
    gpus = cfg.get("gpu_ids", [0])  # a range of all processes' where there are several
    fits = isinstance(gpus, range) or (isinstance(gpus, list) and len(gpus) == 1 and is_count(gpus[0], least=0))
    _check("gpu_ids", gpus, fits, "a list of one number, which --gpu-id gives")
    start, threads = cfg.get("mp_start_method", "fork"), cfg.get("opencv_num_threads", 0)
    starts = multiprocessing.get_all_start_methods()
    _check("mp_start_method", start, start in starts, f"one of {starts}")
    _check("opencv_num_threads", threads, is_count(threads, least=0), "a whole number of 0 or more")
    for path, part in _at_intervals(cfg):
        interval = part.get("interval", 1)
        fits = is_count(interval) or interval == -1 or (path == "evaluation" and isinstance(interval, Mapping))
        _check(f"{path}.interval", interval, fits, "a whole number of 1 or more, or -1 for never")


def _check(name: str, value: Any, fits: bool, wanted: str) -> None:
    if not fits:
        raise ConfigError(f"{name} must be {wanted}, but is {value!r}.")


def _at_intervals(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parts that a training asks for at intervals. Hooks of the user's own may count otherwise."""
    for path in ("checkpoint_config", "log_config", "evaluation"):
        yield path, cfg.get(path) or {}
    for index, entry in enumerate(cfg.get("custom_hooks") or []):
        kind = HOOKS.get(str(entry.get("type"))) if isinstance(entry, Mapping) else None
        if kind is not None and is_known(kind) and kind.__name__ != "SampleMetrics":  # it checks its own
            yield f"custom_hooks.{index}", entry


def is_known(kind: type) -> bool:
    """Whether a class is the toolkit's, PyTorch's or this project's. A user's own may need more than a check has."""
    return kind.__module__.startswith(("mmcv.", "mmgen.", "torch.", "minmax_plugin."))


def loader_settings(cfg: Config) -> dict[str, Any]:
    """Return the settings of the training's data loader: those of ``data``, under those of ``data.train_dataloader``.

    Examples:
        >>> loader_settings(Config(dict(data=dict(samples_per_gpu=8, train_dataloader=dict(samples_per_gpu=4)))))
        {'samples_per_gpu': 4}
    """
    common = {name: value for name, value in cfg.data.items() if name not in NO_LOADER}
    return common | dict(cfg.data.get("train_dataloader") or {})


def check_loop(cfg: Config) -> None:
    """Refuse a whole config whose loop could not run to its end.

    Raises:
        ConfigError: If it could not. The message names the first setting.
    """
    data = cfg.get("data") or {}
    if not data.get("train"):
        raise ConfigError("data.train is missing: name the data set to train on.")
    part = data["train"]
    _check("data.train", part, isinstance(part, Mapping) and isinstance(part.get("type"), str), "a dict with a type")
    total = cfg.get("total_iters")
    _check("total_iters", total, is_count(total), "the number of iterations to train, 1 or more")
    settings, own = loader_settings(cfg), data.get("train_dataloader") or {}
    for name, least in (("samples_per_gpu", 1), ("workers_per_gpu", 0)):
        path = f"data.train_dataloader.{name}" if name in own else f"data.{name}"
        _check(path, settings.get(name), is_count(settings.get(name), least), f"a whole number of {least} or more")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the number of processes; it comes again
            build_dataloader([0], **{**settings, "dist": False})
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"data: its loader cannot be made: {one_line(error)}; correct one of {settings}.") from error
    if cfg.get("evaluation") and not data.get("val"):
        raise ConfigError("data.val is missing: evaluation needs it; name a data set, or pass --no-validate.")
    if (start := cfg.get("load_from")) and ":" not in start and not Path(start).is_file():
        raise ConfigError(f"load_from={start!r} does not exist: name a checkpoint.")


def check_batches(cfg: Config, samples: int, model: nn.Module) -> None:
    """Refuse batches that the networks cannot take, though it be the last one of an epoch.

    Of several ranks, each fills its last batch.

    Args:
        cfg: The merged config.
        samples: The number of samples in its data set.
        model: Its model. A layer that compares the samples of a batch takes whole groups.

    Raises:
        ConfigError: If there is such a batch, or no batch at all.

    Examples:
        >>> check_batches(Config(dict(data=dict(samples_per_gpu=8, drop_last=True))), 5, nn.Linear(1, 1))
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: data.train has 5 samples, and drop_last=True drops a batch of less than ...
    """
    settings = loader_settings(cfg)
    size, drops = settings["samples_per_gpu"], settings.get("drop_last")
    if settings.get("dist"):
        return
    if drops and samples < size:
        raise ConfigError(
            f"data.train has {samples} samples, and drop_last=True drops a batch of less than samples_per_gpu={size}: "
            "lower samples_per_gpu, or leave drop_last out."
        )
    last = samples % size
    sizes = [size] if samples >= size else []
    if last and not drops and samples // size < cfg.total_iters:
        sizes.append(last)
    groups = {module.group_size for module in model.modules() if isinstance(module, GROUPED)}
    for batch, group in itertools.product(sizes, groups):
        if batch > group and batch % group:
            mend = "add drop_last=True to data.train_dataloader" if batch == last else "change samples_per_gpu"
            raise ConfigError(
                f"data: a batch of {batch} samples ({samples} in batches of {size}) does not divide into the groups of "
                f"{group} that model.discriminator compares: {mend}."
            )


def check_hook(path: str, hook: Hook, cfg: Config, runner: type) -> None:
    """Refuse a hook that never acts, or a schedule that fails, in a training of ``total_iters``.

    Raises:
        ConfigError: If it is one. The message names its place in the config.
    """
    counts = isinstance(hook, (CheckpointHook, LrUpdaterHook, MomentumUpdaterHook)) and issubclass(
        runner, IterBasedRunner
    )
    if counts and hook.by_epoch:
        raise ConfigError(f"{path}.by_epoch=True has no effect: the toolkit counts iterations; write by_epoch=False.")
    total, schedule = cfg.get("total_iters"), getattr(hook, "schedule", hook)
    if not (isinstance(schedule, LrUpdaterHook) and is_known(type(hook)) and is_count(total)):
        return
    players = [name for name, entry in (cfg.get("optimizer") or {}).items() if isinstance(entry, Mapping)]
    optimizers = {name: torch.optim.Adam([torch.zeros(1)], lr=0.1) for name in [*players, "generator"]}
    clock = SimpleNamespace(optimizer=optimizers, iter=0, max_iters=total, epoch=0, max_epochs=None)
    try:
        hook.before_run(clock)
        for clock.iter in sorted({0, total // 2, total - 1}):
            hook.before_train_iter(clock)
            rates = [group["lr"] for optimizer in optimizers.values() for group in optimizer.param_groups]
            if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
                raise ValueError(f"rates of {sorted(set(rates))}")
    except Exception as error:
        start = getattr(schedule, "start", 0)
        why = f"start={start} is past the end" if start > total else one_line(error)
        raise ConfigError(
            f"{path} fails at iteration {clock.iter} of total_iters={total} ({why}): correct its settings "
            f"{dict(cfg.get(path) or {})}, or train longer."
        ) from error
