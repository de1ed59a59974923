"""Checks of a config, made before any training starts: one clear error, naming the setting and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcv import Config
from mmgen.datasets import build_dataset
from mmgen.models.builder import MODELS

from minmax_plugin.mmgen.gan import SUPPORTED, ascent_steps
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.mmgen.optimizers import PREFIX

PATH_KEYS = ("root", "imgs_root", "img_root", "dataroot", "data_prefix", "ann_file", "img_path")


class ConfigError(ValueError):
    """A config that cannot be trained as it stands; the message names the setting and the mend."""


def check_config(cfg: Config) -> None:
    """Refuse a config that could only fail later.

    Args:
        cfg: the merged config, its ``custom_imports`` already imported.

    Raises:
        ConfigError: for the first setting that is wrong.

    Example:
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
    try:
        _check_minmax(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    data = cfg.get("data") or {}
    for name in ("train", "val") if cfg.get("evaluation") else ("train",):
        if isinstance(data.get(name), Mapping):
            _check_paths(f"data.{name}", data[name])


def read_data(cfg: Config) -> Any:
    """The config's training data set.

    Raises:
        ConfigError: if it cannot be read, with what it says.
    """
    try:
        return build_dataset(cfg.data.train)
    except (ValueError, KeyError, OSError) as error:
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
    train_cfg = cfg.get("train_cfg") or cfg.model.get("train_cfg") or {}
    settings = minmax_settings(cfg)
    disc_steps = train_cfg.get("disc_steps", 1)
    if settings is None:
        k = ascent_steps(disc_steps)  # the toolkit itself cannot do without one
    else:
        k = ascent_steps(disc_steps, train_cfg.get("batch_accumulation_steps", 1), train_cfg.get("gen_steps", 1))
    optimizers = cfg.get("optimizer") or {}
    types = {name: str(o.get("type")) for name, o in optimizers.items() if isinstance(o, Mapping)}
    if settings is None:
        prefixed = [f"optimizer.{name}.type={kind!r}" for name, kind in types.items() if kind.startswith(PREFIX)]
        if prefixed:
            raise ConfigError(
                f"{prefixed[0]} needs a MinMaxHook: add dict(type='MinMaxHook') to custom_hooks, or drop the prefix."
            )
        return
    model_class = MODELS.get(cfg.model.type)
    if model_class is None or not issubclass(model_class, SUPPORTED):
        raise ConfigError(
            f"model.type={cfg.model.type!r} cannot be driven by MinMax; it drives {[c.__name__ for c in SUPPORTED]}."
        )
    hook = build_hook(settings)
    if hook.ascent_steps not in (None, k):
        raise ConfigError(
            f"MinMaxHook has ascent_steps={hook.ascent_steps}, but train_cfg makes k={k}; remove ascent_steps or "
            "change train_cfg.disc_steps."
        )
    for name in ("generator", "discriminator"):
        if name not in types:
            raise ConfigError(f"optimizer.{name} is missing: MinMax needs one optimizer for each player.")
        if not types[name].startswith(PREFIX):
            raise ConfigError(
                f"optimizer.{name}.type is {types[name]!r}; under MinMaxHook it must be {PREFIX + types[name]!r}."
            )


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
