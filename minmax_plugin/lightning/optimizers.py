"""The optimizers of a Lightning module, which the callback makes its own in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from minmax_plugin.deferred import DrivenOptimizer, adopt, deferring, derived


class MinMaxOptimizer(DrivenOptimizer):
    """Mixin of the optimizers. A closure, in which Lightning runs its own hooks, is run before the callback is asked.

    The generator's step is taken where the loop calls it, as the proposal.
    """

    @deferring
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        super().step()
        return result


def take_over(optimizer: Optimizer, driver: Any) -> None:
    """Make an optimizer a callback's, in place. Its state stays, and so do all references to it.

    Args:
        optimizer: The optimizer of one player.
        driver: The callback, which is a :class:`~minmax_plugin.deferred.Driver`.
    """
    kind: Any = type(optimizer)
    adopt(optimizer, derived(MinMaxOptimizer, kind))
    vars(optimizer)["driver"] = driver
