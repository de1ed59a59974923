"""What the hosts of OpenMMLab's toolkits do alike with configs and checkpoints. It imports no toolkit."""

from __future__ import annotations

import numbers
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from minmax_plugin.errors import ConfigError


def minmax_settings(cfg: Any) -> Mapping[str, Any] | None:
    """Find the entry of :class:`MinMaxHook` in ``custom_hooks``, or ``None``.

    Raises:
        ConfigError: If there are several, or the hooks are no list of dicts.
    """
    hooks = cfg.get("custom_hooks") or []
    if not (isinstance(hooks, (list, tuple)) and all(isinstance(hook, Mapping) for hook in hooks)):
        raise ConfigError(f"custom_hooks must be a list of dicts, but is {hooks!r}.")
    entries = [hook for hook in hooks if hook.get("type") == "MinMaxHook"]
    if len(entries) > 1:
        raise ConfigError(f"custom_hooks has {len(entries)} entries of MinMaxHook; keep one.")
    return entries[0] if entries else None


def give_settings(entry: Any, settings: Mapping[str, Any], kept: Iterable[str]) -> None:
    """Give the entry of :class:`MinMaxHook` other settings, in place.

    Args:
        entry: The entry.
        settings: Those of :class:`~minmax_plugin.MinMaxSettings`, by name.
        kept: The names of what the entry keeps.

    Examples:
        >>> entry = dict(type="MinMaxHook", preset="paper", priority="LOW")
        >>> give_settings(entry, {"restore": "both"}, kept=("type", "priority"))
        >>> entry
        {'type': 'MinMaxHook', 'priority': 'LOW', 'restore': 'both'}
    """
    registered = {key: entry[key] for key in kept if key in entry}
    entry.clear()
    entry.update({**registered, **settings})


def scale_counts(parts: Iterable[tuple[str, Any, Any]], ratio: float) -> None:
    """Scale numbers of iterations, in place. Those that differ from the base config's stay as they are.

    Args:
        parts: The name of each number, the part of the config that has it, and that of the base config.
        ratio: The factor.

    Examples:
        >>> part = dict(interval=50)
        >>> scale_counts([("interval", part, dict(interval=50))], 0.5)
        >>> part
        {'interval': 25}
    """
    for name, mine, its in parts:
        if isinstance(its.get(name), int) and mine.get(name) == its[name]:
            mine[name] = max(1, round(its[name] * ratio))


def is_intact(path: str | Path) -> bool:
    """Whether a file is a complete archive, every part of it as it was written. Nothing in it is executed.

    Examples:
        >>> is_intact("/dev/null")
        False
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def numbers_in(values: Mapping[str, Any]) -> dict[str, float]:
    """Return those of the values that are numbers, of any library.

    Examples:
        >>> numbers_in({"modes": torch.tensor(4), "name": "four"})
        {'modes': 4.0}
    """
    plain = {n: v.detach() if isinstance(v, torch.Tensor) else v for n, v in values.items() if _is_number(v)}
    return {name: float(value) for name, value in plain.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or (isinstance(value, (torch.Tensor, numpy.ndarray)) and value.ndim == 0)
