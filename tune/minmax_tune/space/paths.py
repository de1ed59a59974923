"""Settings of a config by path: ``optimizer.generator.lr``, ``optimizer.generator.betas.0``, ``minmax.restore``."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from minmax_plugin.errors import SpaceError
from minmax_plugin.hosts import Config, host_of
from minmax_plugin.settings import SEEDS, MinMaxSettings
from minmax_tune.space.renamed import MINMAX, by_present_paths, use_present_names

NO_SETTING = (LookupError, TypeError, ValueError)  # of a path that leads nowhere, or through what has no parts


def set_paths(cfg: Config, settings: Mapping[str, Any]) -> None:
    """Write settings, by path, into a config, in place and in their order.

    ``minmax: false`` removes MinMax from the config.

    Raises:
        SpaceError: If a path is not in the config, or a setting would be lost again.

    Examples:
        >>> from mmcv import Config
        >>> cfg = Config(dict(optimizer=dict(lr=0.1, betas=(0.5, 0.999))))
        >>> set_paths(cfg, {"optimizer.betas.0": 0.0, "optimizer.lr": 0.2})
        >>> dict(cfg.optimizer)
        {'lr': 0.2, 'betas': [0.0, 0.999]}
    """
    settings = copy.deepcopy(dict(settings))  # the toolkit takes its config apart as it reads it
    leave = settings.get(MINMAX) is False
    for path, value in settings.items():
        if path.startswith(f"{MINMAX}.") and leave:
            raise SpaceError(
                f"{path!r} has no effect where MinMax is taken out ({MINMAX}: false): give it a condition."
            )
        set_path(cfg, path, value)
    for path, value in settings.items():
        refined = any(other.startswith(f"{path}.") for other in settings)  # each of those is checked itself
        if path != MINMAX and not refined and not _holds(cfg, path, value):
            raise SpaceError(f"{path!r} is set, and then overwritten by another setting of the same point.")
    if leave:
        host_of(cfg).opt_out(cfg)


def trial_config(base: Config, settings: Mapping[str, Any]) -> Config:
    """Make the config that a trial trains: the base config with the trial's settings, by path.

    With another batch size it trains on as many images as the base does. Both arguments may be of a search that
    version 0.1.0 began, with its names of settings.
    """
    cfg = use_present_names(copy.deepcopy(base))
    set_paths(cfg, by_present_paths(settings))
    host_of(cfg).make_comparable(cfg, base)
    return cfg


def set_path(cfg: Config, path: str, value: Any) -> None:
    """Set one existing setting of a config, or its ``seed``. ``LIST.+`` adds an item to a list.

    An item that is added takes the place of one with the same ``type``.

    Raises:
        SpaceError: If the config has no such setting. The message has the nearest one.

    Examples:
        >>> from mmcv import Config
        >>> cfg = Config(dict(optimizer=dict(betas=(0.5, 0.999))))
        >>> set_path(cfg, "optimizer.betas.0", 0.0)
        >>> cfg.optimizer.betas
        [0.0, 0.999]
        >>> set_path(cfg, "custom_hooks.+", dict(type="SyncBuffersHook"))
        >>> cfg.custom_hooks
        [{'type': 'SyncBuffersHook'}]
    """
    wanted = path
    head, *rest = path.split(".")
    if head == MINMAX:
        _set_minmax(cfg, path, rest, value)
        return
    if path == "seed":  # the toolkit's configs do not have it: it comes from the command line
        if type(value) is not int or not 0 <= value < SEEDS:
            raise SpaceError(f"seed={value!r} must be a whole number from 0 to 2**32 - 1.")
        cfg["seed"] = value
        return
    path = host_of(cfg).own_path(cfg, path)
    head, *rest = path.split(".")
    for setting, default in host_of(cfg).defaults(cfg).items():
        if path == setting and rest:
            cfg[head] = {rest[0]: default, **(cfg.get(head) or {})}
        elif head == setting and cfg.get(head) is None:
            cfg[head] = default
    node: Any = cfg
    parent: tuple[Any, Any] | None = None
    keys = [head, *rest]
    for depth, key in enumerate(keys):
        if isinstance(node, tuple) and parent is not None:
            parent[0][parent[1]] = list(node)
            node = parent[0][parent[1]]  # a config may keep a copy
        index: Any = int(key) if isinstance(node, list) and key.isdigit() else key
        if isinstance(node, list) and key == "+" and depth == len(keys) - 1:
            same = [i for i, item in enumerate(node) if item["type"] == value["type"]]
            place = same[0] if same else len(node)
            node[place : place + 1] = [value]
            return
        known = list(range(len(node))) if isinstance(node, list) else list(getattr(node, "keys", list)())
        if index not in known:
            prefix = "".join(f"{k}." for k in keys[:depth])
            raise SpaceError(f"it has no setting {wanted!r}{hint(prefix + key, [prefix + str(k) for k in known])}.")
        if depth == len(keys) - 1:
            _check_number(path, value, node[index])
            node[index] = value
        else:
            parent, node = (node, index), node[index]


def _check_number(path: str, value: Any, old: Any) -> None:
    """Refuse text in place of a number: ``1e-4`` is text to YAML, which asks for ``1.0e-4``."""
    if not isinstance(value, str) or not isinstance(old, (int, float)) or isinstance(old, bool):
        return
    try:
        number = float(value)
    except ValueError:
        return
    raise SpaceError(f"{path}={value!r} is text where the config has the number {old!r}: write {number!r}.")


def get_path(cfg: Config, path: str) -> Any:
    """Return the value at ``path``. A setting that is not in the config has its preset's or the toolkit's value.

    Raises:
        NO_SETTING: If there is no such setting.

    Examples:
        >>> from mmcv import Config
        >>> hook = dict(type="MinMaxHook", preset="paper")
        >>> get_path(Config(dict(custom_hooks=[hook])), "minmax.acceptance.type")
        'annealed'
    """
    head, *rest = path.split(".")
    if head == MINMAX:
        hook = host_of(cfg).minmax_settings(cfg)
        return hook is not None if hook is None or not rest else MinMaxSettings.from_dict(hook).get(".".join(rest))
    path = host_of(cfg).own_path(cfg, path)
    head, *rest = path.split(".")
    node: Any = cfg
    try:
        for key in [head, *rest]:
            node = node[int(key) if isinstance(node, (list, tuple)) else key]
    except NO_SETTING:
        return host_of(cfg).defaults(cfg)[path]
    return node


def hint(name: Any, known: Iterable[Any]) -> str:
    """Write the end of an error message: the nearest of the known names, or all of them."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {names}" if names else ""


def _set_minmax(cfg: Config, path: str, rest: list[str], value: Any) -> None:
    host = host_of(cfg)
    entry = host.minmax_settings(cfg)
    if entry is None:
        raise SpaceError(f"{path!r} needs a MinMaxHook in its custom_hooks: add one, or take --space gan.yaml.")
    if not rest:
        if not isinstance(value, bool):
            raise SpaceError(f"{path!r} is true or false, but got {value!r}.")
        return
    try:
        changed = MinMaxSettings.from_dict(entry).with_setting(".".join(rest), value)
    except ValueError as error:
        raise SpaceError(f"{path!r}={value!r}: {error}") from error
    host.set_minmax(cfg, changed.to_dict())


def _holds(cfg: Config, path: str, value: Any) -> bool:
    if path.endswith(".+"):
        return any(_plain(item) == _plain(value) for item in get_path(cfg, path.removesuffix(".+")))
    try:
        return _plain(get_path(cfg, path)) == _plain(value)
    except NO_SETTING:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
