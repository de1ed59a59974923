"""MMEngine as a :class:`~minmax_plugin.hosts.Host`: what the search asks of the toolkit."""

from __future__ import annotations

import copy
import inspect
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import (
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    DefaultScope,
)
from mmengine.runner import Runner

from minmax_plugin.config_kind import is_for_mmengine
from minmax_plugin.errors import ConfigError, SpaceError, one_line
from minmax_plugin.hosts import Reporter
from minmax_plugin.mmengine.hook import MinMaxHook
from minmax_plugin.mmengine.reporting import ReportHook
from minmax_plugin.openmmlab import give_settings, is_intact, minmax_settings, scale_counts  # noqa: F401  of a Host

REGISTRIES = (
    *(MODELS, DATASETS, TRANSFORMS, METRICS, EVALUATOR, HOOKS, LOOPS),
    *(OPTIMIZERS, OPTIM_WRAPPERS, OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS),
)

OWN_NAMES = {"train_cfg.disc_steps": "model.discriminator_steps"}
"""Settings that have another path here. Those of the optimizers do too; see :func:`own_path`."""

NONE_HERE = {
    "model.disc_auxiliary_loss": "MMEngine's models have their penalties as separate settings",
    "train_cfg.use_ema": "MMagic's models average by model.ema_config, and others by EMAHook",
    "lr_config": "write param_scheduler",
    "data": "write train_dataloader",
    "total_iters": "write train_cfg.max_iters",
}
"""Settings of MMGeneration's configs that have no counterpart, and what to write instead."""

_runs = itertools.count()


def owns(config: Any) -> bool:
    """Whether a config, or the file at a path, is written for MMEngine."""
    return is_for_mmengine(config)


def load_config(path: str | Path) -> Config:
    """Read a config file, and import what it asks for.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return Config.fromfile(os.path.expanduser(path))
    except Exception as error:  # a config is Python, which may raise anything
        raise ConfigError(f"config {str(path)!r} cannot be put together: {one_line(error)}.") from error


def classes() -> dict[tuple[str, str], Any]:
    """Return the classes that configs name, by registry and name, as this process has them now."""
    return {(registry.name, name): found for registry in REGISTRIES for name, found in registry.module_dict.items()}


def check_config(cfg: Config) -> None:
    """Refuse a config that is no GAN's, or that cannot be searched.

    Raises:
        ConfigError: If a setting is wrong. The message names the first one.

    Examples:
        >>> check_config(Config(dict(model=dict(type="PlainGAN"))))
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: train_dataloader is missing: a training needs it.
    """
    for name in ("model", "train_dataloader", "optim_wrapper", "train_cfg"):
        if not isinstance(cfg.get(name), Mapping):
            raise ConfigError(f"{name} is missing: a training needs it.")
    if not isinstance(cfg.train_cfg.get("max_iters"), int):
        raise ConfigError(
            f"train_cfg={dict(cfg.train_cfg)!r} counts no iterations: write dict(type='IterBasedTrainLoop', "
            "max_iters=...), and by_epoch=False for the hooks and schedules."
        )
    if not isinstance(cfg.train_dataloader.get("batch_size"), int):
        raise ConfigError("train_dataloader.batch_size is missing: the images of a training are counted by it.")
    settings = minmax_settings(cfg)
    if settings is not None:
        try:
            MinMaxHook(**{name: value for name, value in settings.items() if name not in ("type", "priority")})
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error
        for name in _players(cfg).values():
            if name not in cfg.optim_wrapper:
                raise ConfigError(f"optim_wrapper.{name} is missing, which MinMaxHook drives.")
    with _scope(cfg):
        for path, registry in (("model", MODELS), ("train_dataloader.dataset", DATASETS)):
            kind = _at(cfg, path).get("type")
            if isinstance(kind, str) and registry.get(kind) is None:
                raise ConfigError(f"{path}.type={kind!r} is not registered: import its module by custom_imports.")


def read_data(cfg: Config) -> None:
    """Read a first sample of the training data.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        with _scope(cfg):
            DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))[0]
    except Exception as error:  # of any data set
        raise ConfigError(f"train_dataloader.dataset cannot be read: {one_line(error)}.") from error


def set_minmax(cfg: Config, settings: Mapping[str, Any]) -> None:
    """Give the config's :class:`MinMaxHook` other settings, in place."""
    give_settings(minmax_settings(cfg), settings, kept=("type", "priority", *_players({})))


def opt_out(cfg: Config) -> None:
    """Remove MinMax from a config, in place."""
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] != "MinMaxHook"]


def own_path(cfg: Config, path: str) -> str:
    """Return MMEngine's path of a setting that a space names as MMGeneration's configs do.

    Raises:
        SpaceError: If it has no counterpart.

    Examples:
        >>> own_path(Config(), "optimizer.generator.betas.0")
        'optim_wrapper.generator.optimizer.betas.0'
        >>> own_path(Config(), "lr_config")
        Traceback (most recent call last):
        minmax_plugin.errors.SpaceError: 'lr_config' is no setting of a config of MMEngine: write param_scheduler.
    """
    for name, instead in NONE_HERE.items():
        if path == name or path.startswith(f"{name}."):
            raise SpaceError(f"{path!r} is no setting of a config of MMEngine: {instead}.")
    head, _, rest = path.partition(".")
    player, _, setting = rest.partition(".")
    if head == "optimizer" and setting:
        return f"optim_wrapper.{_players(cfg).get(player, player)}.optimizer.{setting}"
    return OWN_NAMES.get(path, path)


def defaults(cfg: Config) -> dict[str, Any]:
    """Return the number k of the model, where its class takes it and the config leaves it out."""
    found: dict[str, Any] = {"custom_hooks": []}
    with _scope(cfg):
        kind = MODELS.get(str((cfg.get("model") or {}).get("type")))
    if kind is not None and any("discriminator_steps" in inspect.signature(c).parameters for c in kind.__mro__[:-1]):
        found["model.discriminator_steps"] = 1
    return found


def unread(cfg: Config, path: str) -> str | None:
    """Say why a setting has no effect on a training, where that is known."""
    if path.split(".")[0].startswith("test_"):
        return "no training reads it"
    return None


def set_dataset(cfg: Config, dataset: Config) -> None:
    """Give a config the loaders and evaluators of another, in place. Other settings of that one are taken over too."""
    for key in dataset:
        cfg[key] = copy.deepcopy(dataset[key])


def make_comparable(cfg: Config, base: Config) -> None:
    """Give a config with another batch size as many images as its base has, in place.

    It is validated and saved at the same numbers of images, too. Its checkpoints are in its work dir.

    Examples:
        >>> base = Config(dict(train_cfg=dict(max_iters=100, val_interval=10), train_dataloader=dict(batch_size=32)))
        >>> cfg = copy.deepcopy(base)
        >>> cfg.train_dataloader.batch_size = 64
        >>> make_comparable(cfg, base)
        >>> cfg.train_cfg.max_iters, cfg.train_cfg.val_interval
        (50, 5)
    """
    mine, its = _saving(cfg), _saving(base)
    mine.pop("out_dir", None)
    ratio = batch_size(base) / batch_size(cfg)
    counts = [(name, cfg.train_cfg, base.train_cfg) for name in ("max_iters", "val_interval")]
    scale_counts([*counts, ("interval", mine, its)] if ratio != 1 else [], ratio)


def measured_metrics(cfg: Config) -> list[str] | None:
    """Return no name where a config validates nothing. The names of a validation's metrics are not known before."""
    return None if cfg.get("val_dataloader") and cfg.get("val_evaluator") else []


def iterations(cfg: Config) -> int:
    """Return the iterations of a whole training."""
    return cfg.train_cfg.max_iters


def batch_size(cfg: Config) -> int:
    """Return the real images of an iteration, in each process."""
    return cfg.train_dataloader.batch_size


def train(cfg: Config, folder: Path, seed: int, checkpoint: Path | None, reporter: Reporter | None) -> None:
    """Train a config in this process."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    cfg.randomness = {**(cfg.get("randomness") or {}), "seed": seed}
    cfg.resume, cfg.load_from = (True, str(checkpoint)) if checkpoint else (False, cfg.get("load_from"))
    # MMEngine keeps the logs and messages of each name for the whole process.
    cfg.experiment_name = f"{Path(folder).name}_{os.getpid()}_{next(_runs)}"
    runner = Runner.from_cfg(cfg)
    if reporter is not None:
        runner.register_hook(ReportHook(reporter, batch_size(cfg)))
    runner.train()


def add_reporter(cfg: Config, kind: str, **arguments: Any) -> None:
    """Give a config a :class:`~minmax_plugin.mmengine.reporting.ReportHook` that makes its own reporter."""
    entry = dict(type="ReportHook", reporter=kind, batch_size=batch_size(cfg), **arguments)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), entry]


def _players(cfg: Any) -> dict[str, str]:
    """Return the names of the players by role."""
    entry = minmax_settings(cfg) or {}
    return {role: entry.get(role, role) for role in ("generator", "discriminator")}


def _saving(cfg: Config) -> Any:
    return (cfg.get("default_hooks") or {}).get("checkpoint") or {}


def _at(cfg: Config, path: str) -> Any:
    for name in path.split("."):
        cfg = cfg.get(name) or {}
    return cfg


def _scope(cfg: Config) -> Any:
    return DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine")
