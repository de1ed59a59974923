"""TiAda: AdaGrad steps for both players, with the min player's rate held below what the max player's gradients allow.

It is written here because no maintained library has it. Its released code keeps the sums outside of ``state_dict()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from minmax_plugin.checks import check_not_negative, check_positive

EXPONENTS = (0.6, 0.4)  # α of the min player and β of the max player, those of the released experiments


class TiAda(Optimizer):
    """One player of TiAda, whose time scales adapt to each other (Li, Yang and He 2023, arXiv:2210.17478, Algorithm 1).

    v ← v + ‖g‖² sums the squared gradients of all of a player's parameters. Then, with β < α,

    - the min player steps x ← x − η g / max(v_x, v_y)^α,
    - the max player steps y ← y + η g / v_y^β.

    :func:`couple` tells the min player of v_y. The max player steps first, so that v_y is of the same round.

    Departures: the projection of y is left out, because a discriminator's weights have no bounds. For GANs the paper
    has a form with Adam's moments, which is not here. A rate that suits Adam is too small for this one.

    Args:
        params: The parameters, or parameter groups.
        lr: The learning rate η, 0 or more.
        exponent: α or β, above 0 and below 1. ``None`` lets :func:`couple` set 0.6 for the min player, 0.4 for the max
            player.
        v0: Where v starts, above 0.
        maximize: Whether to ascend in place of descending.

    Raises:
        ValueError: If a setting is out of range.
        RuntimeError: On ``step()`` without an exponent.

    Examples:
        >>> x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        >>> players = TiAda([y], lr=0.1, maximize=True), TiAda([x], lr=0.1)
        >>> couple(min_optimizer=players[1], max_optimizer=players[0])
        >>> x.grad, y.grad = torch.autograd.grad((x * y).sum(), (x, y))
        >>> for player in players:
        ...     _ = player.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        exponent: float | None = None,
        v0: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_not_negative(lr=lr)
        check_positive(v0=v0)
        if exponent is not None and not 0 < exponent < 1:
            raise ValueError(f"exponent must be above 0 and below 1, but got {exponent!r}.")
        super().__init__(params, dict(lr=lr, exponent=exponent, maximize=maximize))
        self.param_groups[0]["v"] = v0  # in a group, so that it is saved; it is one number for all groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        with torch.enable_grad():
            loss = None if closure is None else closure()
        sums = self.param_groups[0]
        if any(group["exponent"] is None for group in self.param_groups):
            raise RuntimeError(
                "TiAda has neither an exponent nor an opponent: call couple(), or add dict(type='TiAdaHook') to "
                "custom_hooks."
            )
        squares = [p.grad.square().sum() for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not squares:
            return loss
        sums["v"] = torch.stack(squares).sum() + sums["v"]
        v = torch.maximum(sums["v"], torch.as_tensor(sums.get("opponent_v", 0.0)).to(sums["v"]))
        for group in self.param_groups:
            rate = group["lr"] / v ** group["exponent"]
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad * (rate if group["maximize"] else -rate))
        return loss


def couple(min_optimizer: TiAda, max_optimizer: TiAda) -> None:
    """Let the min player know the max player's sum of squared gradients, from its next step on.

    Args:
        min_optimizer: The min player's optimizer.
        max_optimizer: The max player's.

    Raises:
        ValueError: If the min player's exponent is not above the max player's.
    """
    exponents = []
    for optimizer, default in zip((min_optimizer, max_optimizer), EXPONENTS, strict=True):
        for group in optimizer.param_groups:
            group["exponent"] = group["exponent"] or default
        exponents.append([group["exponent"] for group in optimizer.param_groups])
    low, high = min(exponents[0]), max(exponents[1])
    if low <= high:
        raise ValueError(f"the min player's exponent must be above the max player's, but got {low!r} and {high!r}.")

    def show(*_: Any) -> None:
        min_optimizer.param_groups[0]["opponent_v"] = max_optimizer.param_groups[0]["v"]

    max_optimizer.register_step_post_hook(show)
