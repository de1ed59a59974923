"""The deferred optimizers: every optimizer of the toolkit's registry, with the prefix ``MinMax``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmcv.runner import OPTIMIZERS
from torch.optim import Optimizer

from minmax_plugin import deferred
from minmax_plugin.deferred import DrivenOptimizer

PREFIX = "MinMax"


class MinMaxOptimizer(DrivenOptimizer):
    """Mixin of all deferred optimizers. At each ``step()`` it asks its :class:`MinMaxHook` whether it is taken now.

    The generator's is not. Its gradient is pending, and the hook applies it as the next proposal. The
    discriminator's is taken at once. ``zero_grad()`` tells the hook whose turn it is. State, parameter groups and
    checkpoints are those of the optimizer named after the prefix. The generator's checkpoint also has the game's
    state under ``"minmax"``, which a plain optimizer ignores.

    Raises:
        RuntimeError: On ``step()`` without a :class:`MinMaxHook`.
    """

    is_min_player = False
    loaded_game: dict[str, Any] | None = None

    @property
    def mend(self) -> str:  # type: ignore[override]
        plain = type(self).__name__.removeprefix(PREFIX)
        return f"add dict(type='MinMaxHook') to custom_hooks, or use {plain}"

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        driver: Any = self.driver
        if self.is_min_player and driver is not None:
            state["minmax"] = driver.game_state()
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
    kind = OPTIMIZERS.get(PREFIX + type(optimizer).__name__)
    if kind is None:
        raise ValueError(f"the model's own optimizer is a {type(optimizer).__name__}, which is in no registry.")
    deferred.adopt(optimizer, kind)


def register_minmax_optimizers() -> list[str]:
    """Register ``MinMax<Name>`` for each optimizer ``<Name>`` in the toolkit's registry that has none yet.

    It runs when ``minmax_plugin.mmgen`` is imported, and after a config's ``custom_imports``. Call it again after you
    have registered another optimizer elsewhere.

    Returns:
        The new names.

    Examples:
        >>> import minmax_plugin.mmgen
        >>> OPTIMIZERS.get("MinMaxAdam").__bases__[1].__name__
        'Adam'
    """
    added = []
    for name, base in list(OPTIMIZERS.module_dict.items()):
        prefixed = PREFIX + name
        if name.startswith(PREFIX) or prefixed in OPTIMIZERS.module_dict or not issubclass(base, Optimizer):
            continue
        OPTIMIZERS.register_module(module=type(prefixed, (MinMaxOptimizer, base), {"__doc__": base.__doc__}))
        added.append(prefixed)
    return added
