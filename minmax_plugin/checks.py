"""Checks of arguments: each raises one ValueError that names the argument, its value and what would be right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from torch import nn
from torch.optim import Optimizer


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number of at least ``least``; ``True`` is none.

    Examples:
        >>> is_count(3), is_count(True), is_count("3"), is_count(3.0)
        (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether a value is a real number, infinity included; ``True`` and NaN are none.

    Examples:
        >>> is_number(0.5), is_number(False), is_number("0.5"), is_number(float("nan"))
        (True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def check_flags(**flags: Any) -> None:
    """Refuse a switch that is neither ``True`` nor ``False``."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, but got {value!r}.")


def check_rate(rate: Any) -> None:
    """Refuse what is no probability."""
    if not (is_number(rate) and 0 <= rate <= 1):
        raise ValueError(f"rate must be between 0 and 1, but got {rate!r}.")


def check_above_0(name: str, value: Any) -> None:
    """Refuse what is no number above 0; infinity is one."""
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name} must be above 0, but got {value!r}.")


def check_seed(seed: Any) -> None:
    """Refuse a seed that is no whole number of 64 bits."""
    if not is_count(seed, least=-(2**63)) or seed >= 2**64:
        raise ValueError(f"seed must be a whole number of at most 64 bits, but got {seed!r}.")


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """Refuse what is neither ``None`` nor of a kind."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be of type {kind.__name__}, {example}, but got {value!r}.")


def check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise ValueError(f"{name} must be a function, but got {value!r}.")


def modules_of(name: str, given: Any) -> list[nn.Module]:
    """One module, or several, as a list.

    Raises:
        ValueError: for anything that is no module.

    Examples:
        >>> modules_of("modules", "generator")
        Traceback (most recent call last):
        ValueError: modules must be torch modules, but got 'generator'.
    """
    several = _several(given, nn.Module)
    for module in [given] if several is None else several:
        if not isinstance(module, nn.Module):
            raise ValueError(f"{name} must be torch modules, but got {_kind(module)}.")
    return several or []


def optimizers_of(name: str, given: Any) -> list[Optimizer]:
    """One optimizer, or several, as a list.

    Raises:
        ValueError: for anything else, and for a wrapper that only hands its steps on.

    Examples:
        >>> optimizers_of("min_player", nn.Linear(2, 1))
        Traceback (most recent call last):
        ValueError: min_player must be a torch optimizer, but got a Linear: pass the optimizer of its parameters.
    """
    several = _several(given, Optimizer)
    for optimizer in [given] if several is None else several:
        _check_optimizer(name, optimizer)
    if not several:
        raise ValueError(f"{name} must hold at least one optimizer, but got none.")
    if len({id(optimizer) for optimizer in several}) < len(several):
        raise ValueError(f"{name} must be different optimizers, but got one of them twice.")
    return several


def inner_optimizers(optimizer: Any) -> dict[str, Optimizer]:
    """The optimizers that an object holds as attributes, by name."""
    return {name: v for name, v in getattr(optimizer, "__dict__", {}).items() if isinstance(v, Optimizer)}


def _check_optimizer(name: str, given: Any) -> None:
    """Refuse what is no optimizer, or one that does not run its own step hooks, by which a proposal is seen."""
    if isinstance(given, Optimizer):
        keeps_hooks = "_optimizer_step_post_hooks" in vars(given)
        runs_them = any(getattr(vars(kind).get("step"), "hooked", False) for kind in type(given).__mro__)
        if keeps_hooks and runs_them:
            return
    for attribute, inner in inner_optimizers(given).items():
        public = attribute.lstrip("_")
        attribute = public if getattr(given, public, None) is inner else attribute
        raise ValueError(
            f"{name} must be the torch optimizer itself, but got {_kind(given)}, which wraps one: pass its attribute "
            f"{attribute!r}, the {type(inner).__name__}."
        )
    if isinstance(given, Optimizer):
        raise ValueError(
            f"{name} must be a torch optimizer that runs step hooks, but got {_kind(given)}, which does not: call "
            "torch.optim.Optimizer.__init__ in its __init__."
        )
    mend = ": pass the optimizer of its parameters" if isinstance(given, nn.Module) else ""
    raise ValueError(f"{name} must be a torch optimizer, but got {_kind(given)}{mend}.")


def _several(given: Any, kind: type) -> list[Any] | None:
    """One object of a kind, or an iterable of them, as a list; ``None`` for what is neither."""
    if isinstance(given, kind):
        return [given]
    return list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes, nn.Module)) else None


def _kind(value: Any) -> str:
    return (
        repr(value)
        if isinstance(value, (str, bytes, int, float, type)) or value is None
        else f"a {type(value).__name__}"
    )
