"""Optimizers that a host's own loop steps, and whose ``step()`` may be deferred: ``apply()`` takes the step."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

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


class Driver(Protocol):
    """Decides when the steps of the optimizers are taken. It is the hook of a host."""

    def takes_step(self, optimizer: Any) -> bool:
        """Whether the optimizer's ``step()`` is taken now."""

    def on_zero_grad(self, optimizer: Any) -> bool:
        """Take note of an optimizer's ``zero_grad()``. Return whether its gradients may go."""


class DrivenOptimizer(DeferredOptimizer):
    """Mixin of all deferred optimizers of hosts. It asks its :class:`Driver` at ``step()`` and ``zero_grad()``.

    The generator's step is not taken. Its gradient is pending, and the host applies it as the next proposal. The
    discriminator's step is taken at once. State and parameter groups are those of the optimizer's other base class.

    Raises:
        RuntimeError: On ``step()`` without a driver.
    """

    driver: Driver | None = None
    mend = "give it a driver"  # where it has none

    @deferring
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        if self.driver is None:
            raise RuntimeError(f"{type(self).__name__} was stepped without a MinMaxHook: {self.mend}.")
        return self.apply(closure) if self.driver.takes_step(self) else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self.driver is None or self.driver.on_zero_grad(self):
            super().zero_grad(set_to_none)  # type: ignore[misc]


@functools.cache
def derived(mixin: Any, kind: Any) -> Any:
    """Return the class that a class becomes by a mixin. There is one, however many objects it has.

    Args:
        mixin: The mixin, such as a :class:`DrivenOptimizer`.
        kind: The class. One that has the mixin already is returned as it is.

    Examples:
        >>> import torch
        >>> derived(DrivenOptimizer, torch.optim.Adam).__name__
        'MinMaxAdam'
    """
    return kind if issubclass(kind, mixin) else type(f"MinMax{kind.__name__}", (mixin, kind), {"__doc__": kind.__doc__})


def adopt(optimizer: Optimizer, deferred: type[Any]) -> None:
    """Turn an optimizer that exists already into a deferred one, in place.

    Its state stays, and so do all references to it (of a model, of a learning-rate schedule).

    Args:
        optimizer: The optimizer.
        deferred: A class that derives from :class:`DeferredOptimizer` and from the optimizer's class.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
        >>> adopt(optimizer, type("DrivenAdam", (DrivenOptimizer, torch.optim.Adam), {}))
        >>> type(optimizer).__name__
        'DrivenAdam'
    """
    scheduled = vars(optimizer).pop("step", None)  # a schedule has put its counter around the old step
    optimizer.__class__ = deferred
    if scheduled is not None:

        def step(*args: Any, **kwargs: Any) -> Any:
            optimizer._opt_called = True  # type: ignore[attr-defined]
            return deferred.step(optimizer, *args, **kwargs)

        step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
        optimizer.step = step  # type: ignore[method-assign]
