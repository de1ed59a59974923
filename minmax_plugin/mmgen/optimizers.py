"""The deferred optimizers: every optimizer of the toolkit's registry, with the prefix ``MinMax``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mmcv.runner import OPTIMIZERS
from torch.optim import Optimizer

from minmax_plugin.deferred import DeferredOptimizer, deferring

PREFIX = "MinMax"


class Driver(Protocol):
    """Decides when the steps of the optimizers are taken: the hook."""

    def takes_step(self, optimizer: MinMaxOptimizer) -> bool: ...

    def on_zero_grad(self, optimizer: MinMaxOptimizer) -> None: ...

    def game_state(self) -> dict[str, Any]: ...


class MinMaxOptimizer(DeferredOptimizer):
    """Mixin of all deferred optimizers. At each ``step()`` it asks its :class:`MinMaxHook` whether it is taken now.

    The generator's is not. Its gradient is pending, and the hook applies it as the next proposal. The
    discriminator's is taken at once. ``zero_grad()`` tells the hook whose turn it is. State, parameter groups and
    checkpoints are those of the optimizer named after the prefix. The generator's checkpoint also has the game's
    state under ``"minmax"``, which a plain optimizer ignores.

    Raises:
        RuntimeError: On ``step()`` without a :class:`MinMaxHook`.
    """

    driver: Driver | None = None
    is_min_player = False
    loaded_game: dict[str, Any] | None = None

    @deferring
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        if self.driver is None:
            raise RuntimeError(
                f"{type(self).__name__} was stepped without a MinMaxHook: add dict(type='MinMaxHook') to custom_hooks, "
                f"or use {type(self).__name__.removeprefix(PREFIX)}."
            )
        return self.apply(closure) if self.driver.takes_step(self) else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self.driver is not None:
            self.driver.on_zero_grad(self)
        super().zero_grad(set_to_none)  # type: ignore[misc]

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        if self.is_min_player and self.driver is not None:
            state["minmax"] = self.driver.game_state()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        state = dict(state_dict)
        self.loaded_game = state.pop("minmax", None)
        super().load_state_dict(state)  # type: ignore[misc]


def adopt(optimizer: Optimizer) -> None:
    """Turn an optimizer that a model built by itself into a deferred one, in place.

    Its state stays, and so do all references to it (of the model, of a learning-rate schedule).

    Raises:
        ValueError: If its class has no deferred one.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
        >>> adopt(optimizer)
        >>> type(optimizer).__name__
        'MinMaxAdam'
    """
    if isinstance(optimizer, MinMaxOptimizer):
        return
    deferred = OPTIMIZERS.get(PREFIX + type(optimizer).__name__)
    if deferred is None:
        raise ValueError(f"the model's own optimizer is a {type(optimizer).__name__}, which is in no registry.")
    scheduled = vars(optimizer).pop("step", None)  # a schedule has put its counter around the old step
    optimizer.__class__ = deferred
    if scheduled is not None:

        def step(*args: Any, **kwargs: Any) -> Any:
            optimizer._opt_called = True  # type: ignore[attr-defined]
            return deferred.step(optimizer, *args, **kwargs)

        step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
        optimizer.step = step  # type: ignore[method-assign]


def register_minmax_optimizers() -> list[str]:
    """Register ``MinMax<Name>`` for each optimizer ``<Name>`` in the toolkit's registry that has none yet.

    It runs when ``minmax_plugin.mmgen`` is imported, and after a config's ``custom_imports``. Call it again after you
    have registered another optimizer elsewhere.

    Returns:
        The new names.

    Examples:
        >>> import minmax_plugin.mmgen
        >>> OPTIMIZERS.get("MinMaxAdam").__mro__[3].__name__
        'Adam'
    """
    added = []
    for name, base in list(OPTIMIZERS.module_dict.items()):
        deferred = PREFIX + name
        if name.startswith(PREFIX) or deferred in OPTIMIZERS.module_dict or not issubclass(base, Optimizer):
            continue
        OPTIMIZERS.register_module(module=type(deferred, (MinMaxOptimizer, base), {"__doc__": base.__doc__}))
        added.append(deferred)
    return added
