"""Switching MinMax on or off in a merged config, without editing its file."""

from __future__ import annotations

from typing import Any

from mmcv import Config
from mmgen.models.builder import MODELS

from minmax_plugin.mmgen.check import ConfigError, minmax_settings
from minmax_plugin.mmgen.gans import find_kind
from minmax_plugin.mmgen.optimizers import PREFIX

PLUGIN = "minmax_plugin.mmgen"


def opt_in(cfg: Config, preset: str = "practical", **settings: Any) -> None:
    """Turn a plain config into one that trains by MinMax, in place: what a user would add by hand.

    Args:
        cfg: the merged config.
        preset: of :class:`MinMaxHook`.
        settings: further settings of the hook.

    Raises:
        ConfigError: if it has opted in already.

    Examples:
        >>> optimizer = dict(generator=dict(type="Adam"), discriminator=dict(type="Adam"))
        >>> cfg = Config(dict(model=dict(type="StaticUnconditionalGAN"), optimizer=optimizer))
        >>> opt_in(cfg, "paper")
        >>> cfg.optimizer.generator.type, cfg.custom_hooks
        ('MinMaxAdam', [{'type': 'MinMaxHook', 'preset': 'paper'}])
    """
    if minmax_settings(cfg) is not None:
        raise ConfigError("the config has a MinMaxHook already: change its settings instead of opting in again.")
    import_also(cfg, PLUGIN)
    for entry in _optimizers(cfg):
        entry["type"] = PREFIX + entry["type"].removeprefix(PREFIX)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="MinMaxHook", preset=preset, **settings)]


def opt_out(cfg: Config) -> None:
    """Turn a config that opted in into its plain descent-ascent counterpart, in place.

    Examples:
        >>> optimizer = dict(generator=dict(type="MinMaxAdam"))
        >>> model = dict(type="StaticUnconditionalGAN")
        >>> cfg = Config(dict(model=model, optimizer=optimizer, custom_hooks=[dict(type="MinMaxHook")]))
        >>> opt_out(cfg)
        >>> cfg.optimizer.generator.type, cfg.custom_hooks
        ('Adam', [])
    """
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] != "MinMaxHook"]
    for entry in _optimizers(cfg):
        entry["type"] = entry["type"].removeprefix(PREFIX)


def import_also(cfg: Config, module: str) -> None:
    """Have a config import one more module, in place.

    Examples:
        >>> cfg = Config(dict(custom_imports=dict(imports="mine")))
        >>> import_also(cfg, "yours")
        >>> cfg.custom_imports.imports
        ['mine', 'yours']
    """
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    modules = [imports["imports"]] if isinstance(imports["imports"], str) else imports["imports"]
    cfg.custom_imports = {**imports, "imports": [*modules, module]}


def _optimizers(cfg: Config) -> list[Any]:
    kind = find_kind(MODELS.get((cfg.get("model") or {}).get("type") or ""))
    entries = (kind.optimizers_in(cfg) if kind else None) or {}
    return [entry for entry in entries.values() if isinstance(entry, dict) and "type" in entry]
