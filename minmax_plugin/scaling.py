"""Steps of the min player through a gradient scaler, which must hold its scale while a gradient is pending."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.amp import GradScaler
from torch.optim import Optimizer


class ScaledSteps:
    """Takes the min player's steps through a scaler, and checks that the scale is the gradient's.

    The gradient is taken after a decision and applied at the next proposal. After a ``scaler.update()`` in between,
    another scale would unscale it. So the updates up to the decision are counted, and compared at the proposal.
    Nothing is synchronised: the scale tensor counts the writes to it.
    """

    def __init__(self) -> None:
        self._scaler: GradScaler | None = None
        self._updates: int | None = None  # up to the last decision; None for unknown

    def use(self, scaler: Any, pending: bool) -> None:
        """Take a scaler for the steps of this cycle. ``pending`` says whether there is a gradient.

        Raises:
            ValueError: If it is no gradient scaler.
            RuntimeError: If the pending gradient was scaled with another scale.
        """
        if not isinstance(scaler, GradScaler):
            raise ValueError(
                f"scaler must be a torch.amp.GradScaler, or None, but got {scaler!r}: pass the scaler itself."
            )
        if scaler is not self._scaler:
            self._scaler, self._updates = scaler, None
        if pending and self._updates not in (None, _updates(scaler)):
            raise RuntimeError(
                "scaler.update() was called between decide() and propose(), so the scaler no longer has the scale of "
                "the pending gradient: call it right after the scaler.step() of the max player, before decide(). "
                "propose() itself calls it after its own step."
            )

    def note(self) -> None:
        """Note the scale at a decision: the next gradient is scaled with it."""
        self._updates = _updates(self._scaler)

    def forget(self) -> None:
        """Forget the scale: the scaler may be another one, loaded from a checkpoint."""
        self._updates = None

    def step(self, optimizers: Iterable[Optimizer]) -> None:
        """Step the optimizers that have a gradient, and update the scale, which no other gradient waits for."""
        scaler = self._scaler
        assert scaler is not None
        ready = [o for o in optimizers if any(p.grad is not None for g in o.param_groups for p in g["params"])]
        if scaler.is_enabled() and scaler._scale is None:  # as it is when it was loaded from a checkpoint
            scaler.scale(torch.zeros((), device=ready[0].param_groups[0]["params"][0].device))
        for optimizer in ready:
            scaler.step(optimizer)
        scaler.update()


def _updates(scaler: GradScaler | None) -> int:
    """Count the changes of the scale since it was made. It is made when something is first scaled."""
    scale = getattr(scaler, "_scale", None)  # a disabled scaler has none
    return 0 if scale is None else scale._version
