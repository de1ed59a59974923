"""What a training does about bad steps: nothing, clipping, skipping, a restart, or an accept rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.stability import rules
from experiments.stability.rules import WINDOW, Rule, Window
from experiments.stability.training import Remedy, Training

SIGMAS = 6.0  # of a step that is skipped
WARMUP = WINDOW // 2  # as in OLMo-core's SkipStepOptimizer
CHECKPOINT = 250  # cycles from one to the next


def _norm(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient, dim=1)


class Clip(Remedy):
    """Each player's gradient is clipped at norm 1, as ``torch.nn.utils.clip_grad_norm_`` does."""

    def gradient(self, gradient: Tensor) -> Tensor:
        return gradient * (1 / (_norm(gradient) + 1e-6)).clamp(max=1.0).unsqueeze(1)


class Skip(Remedy):
    """A player's step is skipped if its loss or its gradient's norm is an outlier among the recent ones, or not finite.

    All finite values enter the window, so that the skipping ends after a lasting shift.

    Args:
        signal: ``loss`` or ``gradient``.
    """

    def __init__(self, signal: str) -> None:
        self._signal, self._windows = signal, dict[str, Window]()

    def skips(self, player: str, loss: Tensor, gradient: Tensor) -> Tensor:
        value = (loss if self._signal == "loss" else _norm(gradient)).double()
        window = self._windows.setdefault(player, Window(len(value), SIGMAS, warmup=WARMUP))
        skipped = window.stands_out(value) | ~_norm(gradient).isfinite()
        window.add(value)
        self.lost = self.lost + skipped / 2  # of a cycle's two steps
        return skipped


class Restart(Remedy):
    """Restore the last checkpoint where the discriminator's loss or a weight is not finite.

    Args:
        outliers: Whether to restore it where the loss is an outlier among the recent ones too.
    """

    def __init__(self, outliers: bool) -> None:
        self._outliers = outliers
        self._window: Window | None = None
        self._saved: Any = None
        self._since: Any = 0  # the cycle of the last checkpoint or restart

    def after_response(self, training: Training) -> None:
        assert training.answered is not None
        loss = training.answered[0].double()
        window = self._window = self._window or Window(len(loss), SIGMAS, warmup=WARMUP)
        bad = ~(loss + training.g.norm() + training.d.norm()).isfinite()
        if self._outliers:
            bad |= window.stands_out(loss)
            window.add(loss)
        if self._saved is not None:
            training.g.restore(self._saved[0], bad)
            training.d.restore(self._saved[1], bad)
            self.lost = self.lost + torch.where(bad, training.cycles - self._since, 0)
            self._since = torch.where(bad, training.cycles, self._since)
        if training.cycles % CHECKPOINT == 0:
            self._saved, self._since = (training.g.snapshot(), training.d.snapshot()), training.cycles


@dataclasses.dataclass(frozen=True)
class Choice:
    """A remedy of the table.

    Args:
        title: For the picture.
        remedy: Makes it, if it is not an accept rule.
        rule: Makes the accept rule.
        after: The remedy whose acceptance rate it takes, as that one's random control.
    """

    title: str
    remedy: Callable[[], Remedy] = Remedy
    rule: Callable[[], Rule] | None = None
    after: str | None = None


REMEDIES = {
    "none": Choice("none"),
    "default": Choice("default rule (f and norm)", rule=rules.default),
    "random": Choice("random, as often as the default rule", rule=rules.default, after="default"),
    "outlier": Choice("outliers of f alone", rule=rules.outlier),
    "norm": Choice("outliers of the norm alone", rule=lambda: rules.outlier("norm")),
    "practical": Choice("practical rule", rule=rules.practical),
    "clip": Choice("gradient clipping at norm 1", Clip),
    "skip-loss": Choice("skip a step by its loss, 6σ", lambda: Skip("loss")),
    "skip-gradient": Choice("skip a step by its gradient norm, 6σ", lambda: Skip("gradient")),
    "restart-nonfinite": Choice("restart, if not finite", lambda: Restart(outliers=False)),
    "restart-loss": Choice("restart, by the loss, 6σ", lambda: Restart(outliers=True)),
    "released": Choice("released rule", rule=rules.released),
    "strict": Choice("strict rule", rule=rules.strict),
    "gradient": Choice("outliers of the gradients' norm", rule=lambda: rules.outlier("gradient")),
    "last": Choice("outliers of the last batch's loss", rule=lambda: rules.outlier("last")),
}
