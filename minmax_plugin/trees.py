"""Nested containers with tensors as leaves: copying them, saving them in a checkpoint and loading them."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

NUMBERS: tuple[Any, ...] = (bool, int, float, complex, str)
PLAIN = frozenset({*NUMBERS, type(None)})  # exact types of values that cannot change in place


def mapped(value: Any, change: Callable[[Any], Any], leaf: type = Tensor, objects: bool = False) -> Any:
    """Copy the containers of a value, with ``change(tensor)`` in place of each tensor.

    Containers are dicts, lists, tuples and deques. All else stays the same object.

    Args:
        value: Anything that an optimizer may keep.
        change: A function that returns the replacement of a tensor.
        leaf: The type of the leaves that ``change`` takes.
        objects: Whether an object with attributes is a container too. Modules, optimizers and functions never are.

    Examples:
        >>> kept = {"Q": [torch.ones(2), []], "step": 3}
        >>> mapped(kept, lambda t: len(t))
        {'Q': [2, []], 'step': 3}
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, leaf):
        return change(value)
    parts = _parts(value, objects)
    if parts is None:
        return value
    return _rebuilt(value, {key: mapped(part, change, leaf, objects) for key, part in parts.items()})


def leaves(value: Any) -> list[Tensor]:
    """Return all tensors of a value, those in objects included.

    Examples:
        >>> leaves([torch.ones(1), {"a": (torch.zeros(1), 2)}])
        [tensor([1.]), tensor([0.])]
    """
    if isinstance(value, Tensor):
        return [value]
    parts = None if type(value) in PLAIN else _parts(value, objects=True)
    return [] if parts is None else [t for part in parts.values() for t in leaves(part)]


def saved(value: Any, change: Callable[[Tensor], Tensor], objects: bool = False) -> Any:
    """Copy a value into what ``torch.load(weights_only=True)`` accepts.

    An object that counts as a container becomes the dict of its attributes. A value that cannot be saved becomes
    ``None``.

    Args:
        value: The value to save.
        change: A function that returns the tensor to save for each tensor.
        objects: As in :func:`mapped`.

    Examples:
        >>> saved({"window": deque([1.0, 2.0]), "rule": max}, Tensor.clone)
        {'window': [1.0, 2.0], 'rule': None}
    """
    if isinstance(value, Tensor):
        return change(value)
    for kind in NUMBERS:
        if isinstance(value, kind):
            return kind(value)  # numpy's float64 is a float too, but one that is not accepted
    if isinstance(value, (torch.dtype, torch.device, torch.Size)):
        return value
    parts = _parts(value, objects)
    if parts is None:
        return None
    copies = {key: saved(part, change, objects) for key, part in parts.items()}
    return copies if _is_named(value) else _rebuilt(() if isinstance(value, tuple) else [], copies)


def loaded(state: Any, present: Any, place: Callable[[Tensor, Tensor | None], Any], objects: bool = False) -> Any:
    """Rebuild a value from the result of :func:`saved`, in containers of the present value's kinds.

    Args:
        state: The saved value.
        present: The value in its place now, or ``None``.
        place: A function that returns the replacement of a saved tensor. It gets that tensor and the present one,
            which may be ``None``.
        objects: As in :func:`mapped`.

    Examples:
        >>> loaded([3.0, torch.ones(1)], deque(maxlen=2), lambda saved, present: saved)
        deque([3.0, tensor([1.])], maxlen=2)
    """
    if isinstance(state, Tensor):
        return place(state, present if isinstance(present, Tensor) else None)
    parts, now = _parts(state, False), _parts(present, objects)
    if parts is None:
        unsaved = state is None and saved(present, Tensor.detach, objects) is None
        return present if unsaved else state
    if now is None or _is_named(state) != _is_named(present):
        present, now = state, {}
    return _rebuilt(present, {key: loaded(v, now.get(key), place, objects) for key, v in parts.items()})


def _parts(value: Any, objects: bool) -> Mapping[Any, Any] | None:
    """Return the contents of a container, by key or place, or ``None`` for what is no container."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple, deque)) and not isinstance(value, torch.Size):
        return dict(enumerate(value))
    if not objects or isinstance(value, (Tensor, nn.Module, Optimizer, type)) or callable(value):
        return None
    return getattr(value, "__dict__", None)


def _is_named(value: Any) -> bool:
    return not isinstance(value, (list, tuple, deque))


def _rebuilt(value: Any, parts: Mapping[Any, Any]) -> Any:
    """Make a container of the same kind, with other parts."""
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else tuple(parts.values())
    new = copy.copy(value)
    if isinstance(value, (list, deque)):
        new.clear()
        new.extend(parts.values())
    else:
        held = new if isinstance(value, dict) else vars(new)
        held.clear()
        held.update(parts)
    return new
