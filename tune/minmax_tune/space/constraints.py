"""Constraints between the entries of a space: hard ones, which each point meets, and soft ones, which Optuna learns."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateError, Undefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from minmax_plugin.errors import SpaceError
from minmax_tune.space.paths import hint

FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "log10": math.log10, "max": max, "min": min}
MAX_DRAWS = 1000  # in a row that break a constraint, before they are taken for all

_SANDBOX = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
_SANDBOX.globals = dict(FUNCTIONS)


class Constraint(NamedTuple):
    """A constraint between parameters.

    Args:
        text: The expression, or the name of the function.
        compute: Computes it from the parameters. It returns ``None`` where it does not apply.
    """

    text: str
    compute: Callable[[Mapping[str, Any]], Any]

    def is_met(self, params: Mapping[str, Any]) -> bool:
        """Whether a hard constraint is met, or does not apply.

        Raises:
            SpaceError: If it cannot be computed, or is neither true nor false.
        """
        value = self._value(params)
        if value not in (None, True, False):
            raise SpaceError(f"the constraint {self.text!r} must be true or false, but is {value!r} at {dict(params)}.")
        return value is None or bool(value)

    def violation(self, params: Mapping[str, Any]) -> float:
        """Compute a soft constraint: 0 or less where it is met, or does not apply.

        Raises:
            SpaceError: If it cannot be computed, or is no number.
        """
        value = self._value(params)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))) or value != value:
            raise SpaceError(
                f"the soft constraint {self.text!r} must be a number, 0 or less where it is met, but is {value!r} at "
                f"{dict(params)}."
            )
        return 0.0 if value is None else float(value)

    def _value(self, params: Mapping[str, Any]) -> Any:
        try:
            return self.compute(params)
        except Exception as error:  # of anyone's function
            raise SpaceError(
                f"the constraint {self.text!r} cannot be computed at {dict(params)}: {type(error).__name__}: {error}."
            ) from error


def read_expression(text: str, entries: Collection[str]) -> Constraint:
    """Read a constraint of a YAML space. It applies where all entries in it are sampled.

    Jinja's sandbox evaluates it, which reaches nothing but the entries and :data:`FUNCTIONS`.

    Args:
        text: The expression, with entries by name.
        entries: The names of the entries of the space.

    Raises:
        SpaceError: If it cannot be read, or names something else.

    Examples:
        >>> constraint = read_expression("a.lr <= 10 * b.0", ["a.lr", "b.0"])
        >>> constraint.is_met({"a.lr": 0.1, "b.0": 0.1}), constraint.is_met({"a.lr": 2.0, "b.0": 0.1})
        (True, False)
    """
    found: dict[str, str] = {}  # its entries, each with the variable in its place

    def variable(name: str) -> str:
        return found.setdefault(name, f"entry_{len(found)}")

    source = replace_entries(text, {name: functools.partial(variable, name) for name in entries})
    try:
        evaluate = _SANDBOX.compile_expression(source, undefined_to_none=False)
        unknown = meta.find_undeclared_variables(_SANDBOX.parse(f"{{{{ ({source}) }}}}"))
    except TemplateError as error:
        raise SpaceError(f"the constraint {text!r} cannot be read: {error}.") from error
    for name in sorted(unknown - {*FUNCTIONS, *found.values()}):
        match = re.search(rf"\b{name}[\w.]*", source)
        path = match[0] if match else name
        raise SpaceError(f"the constraint {text!r}: {path!r} is no entry of the space{hint(path, entries)}.")
    if not found:
        raise SpaceError(f"the constraint {text!r} names no entry of the space{hint(text, entries)}.")

    def compute(params: Mapping[str, Any]) -> Any:
        if not found.keys() <= params.keys():
            return None
        value = evaluate(**{variable: params[name] for name, variable in found.items()})
        if isinstance(value, Undefined):
            raise TypeError("it has no value")
        return value

    return Constraint(text, compute)


def replace_entries(text: str, names: Mapping[str, Callable[[], str]]) -> str:
    """Replace the names of entries in an expression, but not in its quoted texts.

    Examples:
        >>> replace_entries("a.b == 'a.b' and a.bc < 1", {"a.b": lambda: "x"})
        "x == 'a.b' and a.bc < 1"
    """
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = rf"""'[^']*'|"[^"]*"|(?<![\w.])(?:{either})(?![\w.])"""
    return re.sub(pattern, lambda match: names[match[0]]() if match[0] in names else match[0], text)
