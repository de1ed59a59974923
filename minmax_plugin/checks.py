"""Checks of arguments. Each raises one ValueError that names the argument, its value and the right values."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number of at least ``least``. ``True`` is none.

    Examples:
        >>> is_count(3), is_count(True), is_count("3"), is_count(3.0)
        (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether a value is a real number, infinity included. ``True`` and NaN are none.

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
    """Refuse a value that is no probability."""
    if not (is_number(rate) and 0 <= rate <= 1):
        raise ValueError(f"rate must be between 0 and 1, but got {rate!r}.")


def check_above_0(name: str, value: Any) -> None:
    """Refuse a value that is no number above 0. Infinity is one."""
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name} must be above 0, but got {value!r}.")


def check_positive(**numbers: Any) -> None:
    """Refuse a value that is no finite number above 0."""
    for name, number in numbers.items():
        if not (is_number(number) and 0 < number < math.inf):
            raise ValueError(f"{name} must be above 0 and finite, but got {number!r}.")


def check_not_negative(**numbers: Any) -> None:
    """Refuse a value that is no finite number of 0 or more."""
    for name, number in numbers.items():
        if not (is_number(number) and 0 <= number < math.inf):
            raise ValueError(f"{name} must be 0 or more and finite, but got {number!r}.")


def check_count(name: str, value: Any) -> None:
    """Refuse a value that is no whole number of 1 or more."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number of 1 or more, but got {value!r}.")


def check_whole(**numbers: Any) -> None:
    """Refuse a value that is no whole number of 64 bits, its sign included."""
    for name, number in numbers.items():
        if not is_count(number, least=-(2**63)) or number >= 2**63:
            raise ValueError(f"{name} must be a whole number of 64 bits, but got {number!r}.")


def check_seed(seed: Any) -> None:
    """Refuse a seed that is no whole number of 64 bits."""
    if not is_count(seed, least=-(2**63)) or seed >= 2**64:
        raise ValueError(f"seed must be a whole number of at most 64 bits, but got {seed!r}.")


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """Refuse a value that is neither ``None`` nor of a kind."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be of type {kind.__name__}, {example}, but got {value!r}.")


def check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise ValueError(f"{name} must be a function, but got {value!r}.")


ON_PATIENCE = ("stop", "accept", "raise")


def check_patience(patience: Any, on_patience: Any, max_nonfinite: Any) -> None:
    """Refuse limits of rejections in a row that make no sense."""
    if patience is not None and not is_count(patience):
        raise ValueError(f"patience must be 1 or more rejections, or None, but got {patience!r}.")
    if on_patience not in ON_PATIENCE:
        raise ValueError(f"on_patience must be one of {list(ON_PATIENCE)}, but got {on_patience!r}.")
    if not is_count(max_nonfinite):
        raise ValueError(f"max_nonfinite must be 1 or more, but got {max_nonfinite!r}.")
