"""The parts of an exact resume that MMEngine's checkpoints lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from minmax_plugin.plain import PLAIN, plain


class ResumedData:
    """The data of a resumed run. MMEngine takes all batches again that the run has had, and then goes on.

    Args:
        batches: The batches from the first one on.
        taken: The number of batches that the run has had.
        then: A function that is called after them. It restores the random state.
    """

    def __init__(self, batches: Any, taken: int, then: Callable[[], None]) -> None:
        self._batches, self._left, self._then = batches, taken, then

    def __iter__(self) -> ResumedData:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._left -= 1
        if self._left == 0:
            self._then()
        return batch

    def skip_iter(self, taken: int) -> None:
        """Take the batches that the run has had. The fork onedl-mmengine would skip them, into another order."""
        for _ in range(taken):
            next(self)


def fixed_inputs(hooks: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the noise that MMagic's hooks for sample pictures have drawn once and keep, one dict for each hook.

    Inputs other than noise are left out.
    """
    kept = [dict(hook.inputs_buffer) for hook in _with_inputs(hooks)]
    return [{name: plain(v) for name, v in inputs.items() if _is_plain(v)} for inputs in kept]


def load_fixed_inputs(hooks: Iterable[Any], state: Iterable[dict[str, Any]]) -> None:
    """Load the result of :func:`fixed_inputs`."""
    for hook, inputs in zip(_with_inputs(hooks), state, strict=False):
        hook.inputs_buffer.update(inputs)


def _with_inputs(hooks: Iterable[Any]) -> list[Any]:
    return [hook for hook in hooks if isinstance(getattr(hook, "inputs_buffer", None), dict)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, (Tensor, *PLAIN))
