"""Checks of a config, made before any training starts: one clear error, naming the setting and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcv import Config
from mmgen.datasets import build_dataset
from mmgen.models.builder import MODELS

from minmax_plugin.mmgen.baselines import NOT_TOGETHER, WITHOUT_MINMAX
from minmax_plugin.mmgen.estimates import OWN_TERMS
from minmax_plugin.mmgen.gans import driven_classes, find_kind
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.mmgen.optimizers import PREFIX
from minmax_plugin.mmgen.schedules import OfPlayerLrUpdaterHook
from minmax_plugin.mmgen.shims import ADA, ADA_MISSING, active_shims

PATH_KEYS = ("root", "imgs_root", "img_root", "dataroot", "data_prefix", "ann_file", "img_path")


class ConfigError(ValueError):
    """A config that cannot be trained as it stands; the message names the setting and the mend."""


def check_config(cfg: Config, paths: bool = True) -> None:
    """Refuse a config that could only fail later.

    Args:
        cfg: the merged config, its ``custom_imports`` already imported.
        paths: whether it must be whole, and the data that it names must be there.

    Raises:
        ConfigError: for the first setting that is wrong.

    Examples:
        >>> check_config(Config(dict(model=dict(type="StaticUnconditionalGAN"))))
        Traceback (most recent call last):
        minmax_plugin.mmgen.check.ConfigError: model.discriminator is missing: ...
    """
    model = cfg.get("model") or {}
    if not (model.get("discriminator") or model.get("discriminators")):
        raise ConfigError(
            "model.discriminator is missing: min-max training needs a discriminator; give the model one, or train "
            "this config with the toolkit's own script."
        )
    if "type" not in model:
        raise ConfigError("model.type is missing: name the toolkit's class of the model.")
    if ADA in active_shims and (model.get("discriminator") or {}).get("data_aug"):
        raise ConfigError(f"model.discriminator.data_aug: {ADA_MISSING}")
    try:
        _check_minmax(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_hooks(cfg)
    if not paths:
        return
    data = cfg.get("data") or {}
    if not data.get("train"):
        raise ConfigError("data.train is missing: name the data set to train on.")
    if not isinstance(cfg.get("total_iters"), int):
        raise ConfigError(f"total_iters must be the number of iterations to train, but is {cfg.get('total_iters')!r}.")
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
    rates = cfg.get("lr_config") or {}
    players = cfg.get("optimizer")
    if rates.get("policy") != "OfPlayer":
        return
    if isinstance(players, Mapping) and rates.get("player") not in players:
        raise ConfigError(f"lr_config.player must be one of {list(players)}, but got {rates.get('player')!r}.")
    try:
        OfPlayerLrUpdaterHook(**{name: value for name, value in rates.items() if name != "policy"})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except (AssertionError, TypeError) as error:
        raise ConfigError(f"lr_config: {error}") from error


def read_data(cfg: Config) -> Any:
    """The config's training data set.

    Raises:
        ConfigError: if it cannot be read, with what it says.
    """
    try:
        return build_dataset(cfg.data.train)
    except (ValueError, KeyError, OSError, TypeError, AttributeError, AssertionError) as error:
        raise ConfigError(f"data.train: {error}") from error


def minmax_settings(cfg: Config) -> Mapping[str, Any] | None:
    """The entry of :class:`MinMaxHook` in ``custom_hooks``, or ``None``.

    Raises:
        ConfigError: if there are several.
    """
    entries = [hook for hook in cfg.get("custom_hooks") or [] if hook.get("type") == "MinMaxHook"]
    if len(entries) > 1:
        raise ConfigError(f"custom_hooks has {len(entries)} entries of MinMaxHook; keep one.")
    return entries[0] if entries else None


def _check_minmax(cfg: Config) -> None:
    kind = find_kind(MODELS.get(cfg.model.type))
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
    hook = build_hook(settings)
    if hook.value.kind == "last" and kind.own_terms:
        raise ConfigError(OWN_TERMS)
    if hook.ascent_steps not in (None, k):
        raise ConfigError(
            f"MinMaxHook has ascent_steps={hook.ascent_steps}, but train_cfg makes k={k}; remove ascent_steps or "
            "change train_cfg.disc_steps."
        )
    for path in entries:
        if path not in types:
            raise ConfigError(f"{path} is missing: MinMax needs one optimizer for each player.")
        if not types[path].startswith(PREFIX):
            raise ConfigError(f"{path}.type is {types[path]!r}; under MinMaxHook it must be {PREFIX + types[path]!r}.")


def build_hook(settings: Mapping[str, Any]) -> MinMaxHook:
    """Build the hook from its config entry, as the toolkit will, with errors that name the setting."""
    arguments = {key: value for key, value in settings.items() if key not in ("type", "priority")}
    try:
        return MinMaxHook(**arguments)
    except TypeError as error:
        raise ConfigError(f"MinMaxHook does not take these settings: {error}.") from error


def _check_paths(where: str, part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, Mapping):
            _check_paths(f"{where}.{key}", value)
        elif key in PATH_KEYS and isinstance(value, str) and not Path(value).exists():
            raise ConfigError(f"{where}.{key}={value!r} does not exist: point it at your data.")
