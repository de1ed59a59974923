"""Optimizers whose ``step()`` a host may defer: ``apply()`` takes the step."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.optim import Optimizer


class DeferredOptimizer:
    """Mixin of an optimizer that is stepped by a host's own loop, and whose step is really taken by ``apply()``.

    The loop calls ``step()`` where the algorithm is not ready for the step. A subclass defines ``step()``, marks it by
    :func:`deferring`, and calls :meth:`apply` where the step is taken at once. The game takes its steps within
    :func:`steps_taken`. Step hooks run in :meth:`apply` alone, so that a deferred step counts as none.

    Examples:
        >>> import torch
        >>> class Waits(DeferredOptimizer, torch.optim.SGD):
        ...     @deferring
        ...     def step(self, closure=None):
        ...         return None
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = Waits([weight], lr=0.5)
        >>> weight.grad = torch.ones(1)
        >>> optimizer.step(); weight.item()
        1.0
        >>> optimizer.apply(); weight.item()
        0.5
    """

    taken = False  # whether step() takes its step at present, for :func:`steps_taken`

    def _apply(self, closure: Callable[[], float] | None = None) -> Any:
        step: Any = super().step  # type: ignore[misc]
        if getattr(step, "hooked", False):  # its hooks run around apply() already
            return step.__wrapped__(self, closure)
        return step(closure)

    apply = Optimizer.profile_hook_step(_apply)


def deferring(step: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``step()`` that may take no step, so that torch runs no step hooks around it."""

    @functools.wraps(step)
    def deferred(self: Any, closure: Callable[[], float] | None = None) -> Any:
        return self.apply(closure) if self.taken else step(self, closure)

    deferred.hooked = True  # type: ignore[attr-defined]
    return deferred


@contextlib.contextmanager
def steps_taken(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Take each ``step()`` of some optimizers within a block, a gradient scaler's too."""
    deferred = [optimizer for optimizer in optimizers if isinstance(optimizer, DeferredOptimizer)]
    try:
        for optimizer in deferred:
            optimizer.taken = True
        yield
    finally:
        for optimizer in deferred:
            optimizer.taken = False
