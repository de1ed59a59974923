"""Switching MinMax off in a merged config, without editing its file."""

from __future__ import annotations

from mmcv import Config

from minmax_plugin.mmgen.optimizers import PREFIX


def opt_out(cfg: Config) -> None:
    """Turn a config that opted in into its plain descent-ascent counterpart, in place.

    Example:
        >>> optimizer = dict(generator=dict(type="MinMaxAdam"))
        >>> cfg = Config(dict(optimizer=optimizer, custom_hooks=[dict(type="MinMaxHook")]))
        >>> opt_out(cfg)
        >>> cfg.optimizer.generator.type, cfg.custom_hooks
        ('Adam', [])
    """
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] != "MinMaxHook"]
    for settings in cfg.optimizer.values():
        if isinstance(settings, dict):
            settings["type"] = settings["type"].removeprefix(PREFIX)
