"""State that optimizers keep outside ``state`` and change in a step: a count in a group, Prodigy's estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from minmax_plugin.trees import PLAIN, loaded, mapped, saved

NO_STATE = frozenset({"state", "param_groups", "defaults"})  # attributes that are captured elsewhere, or constant


class StepState:
    """The entries of param groups, and the public attributes, that a step of the optimizer has changed.

    A param group mixes settings with state. They differ in who changes them. A rate that is set between two steps is
    the caller's, and stays as it is. An entry that changes during ``step()`` is the optimizer's. It is exchanged, from
    its value at the capture. Nothing is synchronised. Numbers are compared by value, and tensors by identity and their
    count of changes in place.

    Args:
        optimizers: The optimizers that have the entries.

    Examples:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> kept = StepState([optimizer])
        >>> kept.capture()
        >>> optimizer.step()
        >>> optimizer.param_groups[0]["lr"] = 0.05
        >>> kept.exchange()
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._optimizers = optimizers
        self._captured: list[dict[str, Any]] = []  # of each place, its entries, with _Kept for tensors
        self._changed: list[set[str]] = []  # of each place, the entries that a step has changed since
        self._seen: list[_Place] = []
        self._handles = [
            handle
            for optimizer in optimizers
            if "_optimizer_step_pre_hooks" in vars(optimizer)  # an inner one may have none: its owner's step tells
            for handle in (
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            )
        ]

    def close(self) -> None:
        """Stop watching the optimizers."""
        for handle in self._handles:
            handle.remove()

    def capture(self) -> None:
        self._captured = [
            {**seen.entries, **{key: mapped(seen.entries[key], _kept) for key in seen.mutable}} for seen in self._look()
        ]
        self._changed = [set() for _ in self._captured]

    def exchange(self) -> None:
        """Exchange the captured and the present values of all entries that a step has changed."""
        if not any(self._changed):
            return
        for place, captured, changed in zip(self._places(), self._captured, self._changed, strict=True):
            for key in sorted(changed):
                aside = {key: mapped(place[key], _kept)} if key in place else {}
                if key in captured:
                    place[key] = mapped(captured.pop(key), _Kept.restore, leaf=_Kept)
                else:
                    place.pop(key, None)  # the first step has made it
                captured.update(aside)

    def state_dict(self) -> list[dict[str, Any]]:
        return [
            {
                "entries": {key: saved(_copies(v), Tensor.clone) for key, v in captured.items() if _may_be(place, key)},
                "changed": sorted(changed),
            }
            for place, captured, changed in zip(self._places(), self._captured, self._changed, strict=True)
        ]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Load the result of :meth:`state_dict`. The optimizers must be loaded before."""
        self._captured = [
            {key: loaded(v, place.get(key), _placed) for key, v in one["entries"].items()}
            for place, one in zip(self._places(), state, strict=True)
        ]
        self._changed = [set(one["changed"]) for one in state]

    def _places(self) -> list[dict[str, Any]]:
        """List the param groups and the attributes of the optimizers. Two optimizers may share a group."""
        places = [place for o in self._optimizers for place in (*o.param_groups, o.__dict__)]
        return places if len(self._optimizers) == 1 else list({id(place): place for place in places}.values())

    def _look(self) -> list[_Place]:
        """Trace all entries as they are now. An earlier trace is used again where the objects are the same."""
        places, seen = self._places(), self._seen
        if len(seen) != len(places):
            self._seen = seen = [_Place(place) for place in places]
        for i, place in enumerate(places):
            if seen[i].place is not place or not seen[i].is_still():
                seen[i] = _Place(place)
        return seen

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for seen in self._look():
            if seen.mutable:
                seen.trace()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for seen, changed in zip(self._seen, self._changed, strict=False):
            if seen.mutable or not seen.is_still():
                changed |= seen.changes()


class _Place:
    """The entries of a param group, or the attributes of an optimizer, as they were at one moment."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.place = place
        self.entries = dict(place)
        self._ids = list(map(id, place.values()))
        self.mutable = [key for key, v in place.items() if _may_be(place, key) and not _is_constant(v)]
        self._traced: dict[str, Any] = {}

    def is_still(self) -> bool:
        """Whether the place has the same objects as entries. Some of them may have changed in place."""
        return list(map(id, self.place.values())) == self._ids

    def trace(self) -> None:
        self._traced = {key: _trace(self.entries[key]) for key in self.mutable}

    def changes(self) -> set[str]:
        """Find the entries that were replaced since :meth:`trace`, or have changed in place."""
        place = self.place
        if self.is_still():
            return {key for key, value in self._traced.items() if value != _trace(place[key])}
        before = {**self.entries, **self._traced}
        keys = [key for key in {**before, **place} if _may_be(place, key)]
        return {key for key in keys if before.get(key, _ABSENT) != _trace(place.get(key, _ABSENT))}


def _may_be(place: dict[str, Any], key: str) -> bool:
    """Whether an entry can be state. ``place`` is a param group, or the attributes of an optimizer."""
    return key != "params" if "params" in place else not key.startswith("_") and key not in NO_STATE


def _is_constant(value: Any) -> bool:
    """Whether a value cannot change in place."""
    return type(value) in PLAIN or (type(value) is tuple and PLAIN.issuperset(map(type, value)))


class _Kept(NamedTuple):
    """A tensor, and a copy of what it held."""

    tensor: Tensor
    copy: Tensor

    @torch.no_grad()
    def restore(self) -> Tensor:
        return self.tensor.copy_(self.copy)


def _kept(tensor: Tensor) -> _Kept:
    return _Kept(tensor, tensor.detach().clone())


def _placed(state: Tensor, present: Tensor | None) -> _Kept:
    return _Kept(state.clone() if present is None or present.shape != state.shape else present, state)


def _copies(captured: Any) -> Any:
    return mapped(captured, lambda kept: kept.copy, leaf=_Kept)


class _Seen:
    """A value that may change in place, as it was. It is equal to itself until it changes."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.version = value._version if isinstance(value, Tensor) else 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Seen) and other.value is self.value and other.version == self.version

    __hash__ = None  # type: ignore[assignment]


_ABSENT = _Seen(None)


def _trace(value: Any) -> Any:
    """Return the trace that is compared to see whether a value has changed."""
    if _is_constant(value) or value is _ABSENT:
        return value
    if isinstance(value, (list, tuple)):
        return [_trace(v) for v in value]
    if isinstance(value, dict):
        return {key: _trace(v) for key, v in value.items()}
    return _Seen(value)
