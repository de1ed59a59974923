"""MMEngine's optimizers and their wrappers, which a hook makes its own in place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from minmax_plugin.deferred import DrivenOptimizer, derived


class Observer(Protocol):
    """Is told of the calls that a model's ``train_step`` makes to its wrappers. It is the hook."""

    def on_phase(self, wrapper: Any, updates: int | None = None) -> None:
        """A player's phase begins, with some number of updates if it is known."""

    def on_loss(self, wrapper: Any, loss: Tensor) -> None:
        """A loss of a player is about to be used, before it is scaled."""

    def on_backward(self, wrapper: Any) -> None:
        """A player's backward pass begins."""


class MinMaxOptimWrapper:
    """Mixin of the wrappers of both players. It tells an :class:`Observer` what ``train_step`` does."""

    observer: Observer
    _accumulative_counts: int
    _inner_count: int

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        self.observer.on_phase(self, -(-max_counts // self._accumulative_counts))
        super().initialize_count_status(model, init_counts, max_counts)  # type: ignore[misc]

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        self.observer.on_phase(self)
        with super().optim_context(model):  # type: ignore[misc]
            yield

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self.observer.on_loss(self, loss)
        super().update_params(loss, *args, **kwargs)  # type: ignore[misc]

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.observer.on_backward(self)
        super().backward(loss, **kwargs)  # type: ignore[misc]

    def continue_at(self, count: int) -> None:
        """Continue to accumulate gradients after ``count`` backward passes. MMEngine itself would start at 0."""
        self._inner_count = count


class MinMaxOptimizer(DrivenOptimizer):
    """Mixin of the deferred optimizers. A pending step is taken with the settings of its own iteration.

    MMEngine's schedules move the settings after an iteration, before a pending step is applied.
    """

    _pending: list[dict[str, Any]] | None = None  # the settings of each param group

    def defer(self) -> None:
        """Keep the settings of a step that is not taken now."""
        groups: list[dict[str, Any]] = self.param_groups  # type: ignore[attr-defined]
        self._pending = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        scale = getattr(self, "grad_scale", None)  # which a gradient scaler lets a fused optimizer undo in its step
        for parameter in (p for group in groups for p in group["params"] if scale is not None and p.grad is not None):
            parameter.grad.div_(scale)

    def apply(self, closure: Callable[[], float] | None = None) -> Any:
        pending, self._pending = self._pending, None
        moved = [
            (group, {name: group[name] for name in settings if group[name] is not settings[name]}, settings)
            for group, settings in zip(self.param_groups, pending or (), strict=False)  # type: ignore[attr-defined]
        ]
        for group, present, settings in moved:
            group.update({name: settings[name] for name in present})
        try:
            return super().apply(closure)
        finally:
            for group, present, _ in moved:
                group.update(present)

    def pending_state(self) -> list[dict[str, Any]] | None:
        """Return the settings of the pending step, for a checkpoint."""
        return self._pending

    def load_pending_state(self, state: list[dict[str, Any]] | None) -> None:
        self._pending = state


def take_over(wrapper: OptimWrapper, hook: Any) -> None:
    """Make a wrapper and its optimizer a hook's, in place. Their state stays, and so do all references to them.

    Args:
        wrapper: The wrapper of one player.
        hook: The hook, which is an :class:`Observer` and a :class:`~minmax_plugin.deferred.Driver`.
    """
    optimizer: Any = wrapper.optimizer
    optimizer.__class__ = derived(MinMaxOptimizer, optimizer.__class__)
    optimizer.driver = hook
    observed: Any = wrapper
    observed.__class__ = derived(MinMaxOptimWrapper, observed.__class__)
    observed.observer = hook


def is_optimizer(wrapper: Any) -> bool:
    """Whether a wrapper is one of a single torch optimizer."""
    return isinstance(getattr(wrapper, "optimizer", None), Optimizer)
