"""Checks of a config, made before any training starts: one clear error, naming the setting and the mend."""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import logging
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from mmcv import Config
from mmcv.runner import HOOKS, OPTIMIZERS, RUNNERS, build_optimizer, get_priority
from mmcv.utils import Registry
from mmgen.core.registry import METRICS
from mmgen.datasets import build_dataset
from mmgen.models.builder import MODELS
from mmgen.models.translation_models import BaseTranslationModel
from torch import nn

from minmax_plugin.checks import is_count
from minmax_plugin.errors import ConfigError, one_line
from minmax_plugin.mmgen.adapters import GameAdapter, driven_classes, find_adapter
from minmax_plugin.mmgen.baselines import NOT_TOGETHER, WITHOUT_MINMAX
from minmax_plugin.mmgen.check_loop import check_forms, check_hook, check_loop, is_known
from minmax_plugin.mmgen.effect import check_effect
from minmax_plugin.mmgen.estimates import check_readable
from minmax_plugin.mmgen.optimizers import PREFIX
from minmax_plugin.mmgen.pictures import repair_pictures
from minmax_plugin.mmgen.shims import ADA, ADA_MISSING, active_shims
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.randomness import random_state, set_random_state
from minmax_plugin.settings import SEEDS, MinMaxSettings

FROM_NOISE = ("SampleMetrics", "VisualizeUnconditionalSamples")
PATH_KEYS = ("root", "imgs_root", "img_root", "dataroot", "data_prefix", "ann_file", "img_path")


def check_config(cfg: Config, paths: bool = True) -> None:
    """Refuse a config that could only fail later.

    Args:
        cfg: The merged config, with its ``custom_imports`` already imported.
        paths: Whether it must be whole, and the data that it names must exist.

    Raises:
        ConfigError: If a setting is wrong. The message names the first one.

    Examples:
        >>> check_config(Config(dict(model=dict(type="StaticUnconditionalGAN"))))
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: model.discriminator is missing: ...
    """
    check_forms(cfg)
    model = cfg.get("model") or {}
    if not (model.get("discriminator") or model.get("discriminators")):
        raise ConfigError(
            "model.discriminator is missing: min-max training needs a discriminator; give the model one, or train "
            "this config with the toolkit's own script."
        )
    if not isinstance(model.get("type"), str):
        raise ConfigError("model.type is missing: name the toolkit's class of the model.")
    if ADA in active_shims and (model.get("discriminator") or {}).get("data_aug"):
        raise ConfigError(f"model.discriminator.data_aug: {ADA_MISSING}")
    try:
        _check_minmax(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_hooks(cfg)
    _check_parts(cfg)
    check_effect(cfg)
    if not paths:
        return
    check_loop(cfg)
    data = cfg.data
    for name in ("train", "val") if cfg.get("evaluation") else ("train",):
        if isinstance(data.get(name), Mapping):
            _check_paths(f"data.{name}", data[name])


def _check_hooks(cfg: Config) -> None:
    types = {hook.get("type") for hook in cfg.get("custom_hooks") or []}
    for other in types.intersection(WITHOUT_MINMAX if "MinMaxHook" in types else ()):
        raise ConfigError(NOT_TOGETHER.format(other))
    average = (cfg.get("train_cfg") or {}).get("use_ema")
    if average and "MinMaxHook" in types and "ExponentialMovingAverageHook" not in types:
        raise ConfigError(
            "train_cfg.use_ema=True needs an ExponentialMovingAverageHook in custom_hooks, or the averaged generator "
            "would never move. A list replaces that of the base config: repeat the base's hooks beside your own."
        )
    rates, players = cfg.get("lr_config") or {}, cfg.get("optimizer")
    if rates.get("policy") == "OfPlayer" and isinstance(players, Mapping) and rates.get("player") not in players:
        raise ConfigError(f"lr_config.player must be one of {list(players)}, but got {rates.get('player')!r}.")


class _Throwaway(nn.Module):
    """Stands for a model, where optimizers and runners are built to see whether they can be."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))

    def train_step(self, *args: Any, **kwargs: Any) -> None: ...


def _check_parts(cfg: Config) -> None:
    """Build the parts that the toolkit builds after the networks, so that their errors come first."""
    kind = find_adapter(MODELS.get(cfg.model.type))
    players = cfg.get("optimizer")
    entries = {f"optimizer.{name}": entry for name, entry in players.items()} if _is_nested(players) else {}
    entries |= (kind.optimizers_in(cfg) if kind else None) or {}
    for path, entry in entries.items():
        if isinstance(entry, Mapping):
            _build(path, entry, OPTIMIZERS, functools.partial(_build_optimizer, kind, path.rpartition(".")[2]))
    entry = cfg.get("runner") or {"type": "IterBasedRunner"}
    runner = _class_of("runner", entry, RUNNERS)
    if cfg.get("runner") and is_known(runner):
        _build("runner", entry, RUNNERS, _build_runner)
    for index, entry in enumerate(cfg.get("custom_hooks") or []):
        path = f"custom_hooks.{index}"
        several = entry.get("metrics") if isinstance(entry.get("metrics"), (list, tuple)) else []
        for number, metric in enumerate(several):
            _class_of(f"{path}.metrics.{number}", metric, METRICS)
        try:
            get_priority(entry.get("priority", "NORMAL"))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}.priority={entry['priority']!r} is none of the toolkit's: {error}") from error
        model = MODELS.get(cfg.model.type)
        if entry.get("type") in FROM_NOISE and model and issubclass(model, BaseTranslationModel):
            raise ConfigError(
                f"{path}: {entry['type']} draws samples from noise, and {cfg.model.type} translates images; leave "
                "the hook out, or measure by evaluation."
            )
        check_hook(path, _build(path, _without_priority(entry), HOOKS), cfg, runner)
    rates, momenta, saving = (cfg.get(name) for name in ("lr_config", "momentum_config", "checkpoint_config"))
    others = {
        "lr_config": rates and schedule_hook(rates),
        "momentum_config": momenta and schedule_hook(momenta, "momentum_config", "MomentumUpdaterHook"),
        "checkpoint_config": saving and {"type": "CheckpointHook", "by_epoch": False, **saving},
    }
    for path, entry in others.items():
        if entry:
            check_hook(path, _build(path, entry, HOOKS), cfg, runner)
    for index, entry in enumerate((cfg.get("log_config") or {}).get("hooks", [])):
        _check_names(f"log_config.hooks.{index}", entry, HOOKS)
    if evaluation := cfg.get("evaluation"):
        _check_names("evaluation", _without_priority(evaluation), HOOKS)
        metrics = evaluation.get("metrics")
        for number, metric in enumerate(metrics if isinstance(metrics, (list, tuple)) else [metrics]):
            _class_of(f"evaluation.metrics.{number}", metric, METRICS)


def _without_priority(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "priority"}


def _is_nested(entry: Any) -> bool:
    return isinstance(entry, Mapping) and all(isinstance(value, Mapping) for value in entry.values())


def schedule_hook(rates: Mapping[str, Any], path: str = "lr_config", suffix: str = "LrUpdaterHook") -> dict[str, Any]:
    """Return the hook that a schedule of a config stands for, as the toolkit finds it.

    Args:
        rates: The policy and its settings.
        path: The place of the schedule in the config.
        suffix: The end of the hook's name: a schedule may be of another setting than the learning rate.

    Raises:
        ConfigError: If there is no such policy. The message has the nearest one.

    Examples:
        >>> schedule_hook(dict(policy="step", step=[3]))
        {'by_epoch': False, 'step': [3], 'type': 'StepLrUpdaterHook'}
    """
    settings = dict(rates)
    policy = str(settings.pop("policy", None))
    name = f"{policy.title() if policy == policy.lower() else policy}{suffix}"
    if name not in HOOKS:
        known = [key.removesuffix(suffix) for key in HOOKS.module_dict if key.endswith(suffix)]
        nearest = _nearest(policy, known)
        raise ConfigError(f"{path}.policy={rates.get('policy')!r} is none of the toolkit's{nearest}.")
    return {"by_epoch": False, **settings, "type": name}


def _class_of(path: str, entry: Any, registry: Registry) -> Any:
    """Return the class that an entry of a config names.

    Raises:
        ConfigError: If there is none of that name. The message has the nearest one.
    """
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind is None:
        raise ConfigError(f"{path} must be a dict with a type, but is {entry!r}.")
    found = registry.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise ConfigError(
            f"{path}.type={kind!r} is not registered{_nearest(kind, registry.module_dict)}; correct it, or name the "
            "module that has it in custom_imports."
        )
    return found


def _nearest(name: str, known: Any) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {nearest[0]!r}" if nearest else ""


def _check_names(path: str, entry: Any, registry: Registry) -> None:
    kind = _class_of(path, entry, registry)
    takes = inspect.signature(kind).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        for name in sorted(set(entry) - set(takes) - {"type", "paramwise_cfg", "constructor"}):
            known = [key for key in takes if key != "params"]
            raise ConfigError(f"{path}.{name}={entry[name]!r}: {entry['type']} takes {known}{_nearest(name, known)}.")
    for name in set(entry) & set(takes) if is_known(kind) else ():
        default = takes[name].default
        if isinstance(entry[name], str) and isinstance(default, (bool, int, float)):  # "false" would be true
            wanted = "True or False" if isinstance(default, bool) else "a number"
            raise ConfigError(f"{path}.{name}={entry[name]!r} is text: it must be {wanted}.")


def _build(path: str, entry: Any, registry: Registry, build: Any = None) -> Any:
    """Build an entry of a config, for its errors to come before the training.

    Raises:
        ConfigError: If it cannot be built. The message names the entry and its settings.
    """
    _check_names(path, entry, registry)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again, from the real one
            return (build or registry.build)(copy.deepcopy(dict(entry)))
    except Exception as error:
        raise ConfigError(f"{path}: {one_line(error)}; correct one of its settings {dict(entry)}.") from error


def _build_optimizer(kind: type[GameAdapter] | None, player: str, entry: dict[str, Any]) -> None:
    if "constructor" in entry:  # one of the user's own knows the model's parameters
        return
    optimizer = build_optimizer(_Throwaway(), entry)
    if kind:
        kind.check_optimizer(player, optimizer)


def _build_runner(entry: dict[str, Any]) -> None:
    settings = dict(model=_Throwaway(), logger=logging.getLogger(__name__), use_apex_amp=False, meta={})
    RUNNERS.build(entry, default_args=settings)


def read_data(cfg: Config) -> Any:
    """Read the config's training data set, and its first sample.

    Raises:
        ConfigError: If one cannot be read. The message has the reason.
    """
    train = cfg.data.train
    try:
        dataset = build_dataset(train)
        size = len(dataset)
    except (ValueError, KeyError, OSError, TypeError, AttributeError, AssertionError) as error:
        raise ConfigError(f"data.train: {one_line(error)}") from error
    if size == 0:
        raise ConfigError(f"data.train holds no sample: point it at your data; it is {_without(train, 'pipeline')}.")
    _check_classes(cfg, dataset)
    repair_pictures()
    state = random_state()
    try:
        dataset[0]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"data.train: its first sample cannot be read: {one_line(error)}.") from error
    finally:
        set_random_state(state)
    return dataset


def _check_classes(cfg: Config, dataset: Any) -> None:
    """Refuse labels that a conditional model has no place for, and warn of classes that no picture has."""
    while hasattr(dataset, "dataset"):  # repeated
        dataset = dataset.dataset
    found, wanted = getattr(dataset, "CLASSES", None), cfg.model.get("num_classes")
    if not found or not wanted or len(found) == wanted:
        return
    said = f"data.train has {len(found)} classes, {list(found)[:3]} and so on, but model.num_classes={wanted}"
    if len(found) > wanted:
        raise ConfigError(f"{said}: give the model, its generator and its discriminator as many.")
    logging.getLogger("mmgen").warning("%s: check that its folders are the classes", said)


def _without(part: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {k: _without(v, name) if isinstance(v, Mapping) else v for k, v in part.items() if k != name}


def check_seed(seed: Any) -> None:
    """Refuse a seed that the random generators do not take.

    Raises:
        ConfigError: If they do not take it. The message names the range.
    """
    if not (is_count(seed, least=0) and seed < SEEDS):
        raise ConfigError(f"--seed={seed} must be from 0 to {SEEDS - 1}.")


def _check_minmax(cfg: Config) -> None:
    kind = find_adapter(MODELS.get(cfg.model.type))
    if kind is not None and not cfg.model.get("gan_loss"):
        raise ConfigError(
            f"model.gan_loss={cfg.model.get('gan_loss')!r}: a GAN needs its loss, such as dict(type='GANLoss', "
            "gan_type='vanilla')."
        )
    settings = minmax_settings(cfg)
    entries = (kind.optimizers_in(cfg) if kind else None) or {}
    types = {path: str(o.get("type")) for path, o in entries.items() if isinstance(o, Mapping)}
    train_cfg = cfg.get("train_cfg") or cfg.model.get("train_cfg") or {}
    if settings is None:
        if kind is not None:
            kind.cycle({**train_cfg, "batch_accumulation_steps": 1})  # the toolkit itself cannot do without one
        prefixed = [f"{path}.type={type_!r}" for path, type_ in types.items() if type_.startswith(PREFIX)]
        if prefixed:
            raise ConfigError(
                f"{prefixed[0]} needs a MinMaxHook: add dict(type='MinMaxHook') to custom_hooks, or drop the prefix."
            )
        return
    if kind is None:
        raise ConfigError(
            f"model.type={cfg.model.type!r} cannot be driven by MinMax; it drives {driven_classes()} and classes "
            "derived from them."
        )
    k, _ = kind.cycle(train_cfg)
    try:
        chosen = MinMaxSettings.from_dict(settings)
    except ValueError as error:
        raise ConfigError(f"MinMaxHook: {error}") from error
    model_class = MODELS.get(cfg.model.type)
    kind.check_model(model_class)
    check_readable(chosen.estimated, kind.has_auxiliary_losses, kind.has_own_loss(model_class))
    if chosen.ascent_steps not in (None, k):
        raise ConfigError(
            f"MinMaxHook has ascent_steps={chosen.ascent_steps}, but train_cfg makes k={k}; remove ascent_steps or "
            "change train_cfg.disc_steps."
        )
    for path in entries:
        if path not in types:
            raise ConfigError(f"{path} is missing: MinMax needs one optimizer for each player.")
        if not types[path].startswith(PREFIX):
            raise ConfigError(f"{path}.type is {types[path]!r}; under MinMaxHook it must be {PREFIX + types[path]!r}.")


def _check_paths(where: str, part: Mapping[str, Any], keys: Collection[str] = PATH_KEYS) -> None:
    for key, value in part.items():
        if isinstance(value, Mapping):  # imgs_roots has a folder for each scale
            _check_paths(f"{where}.{key}", value, value if key == "imgs_roots" else PATH_KEYS)
        elif key in keys and isinstance(value, str) and not Path(value).exists():
            raise ConfigError(f"{where}.{key}={value!r} does not exist: point it at your data.")
