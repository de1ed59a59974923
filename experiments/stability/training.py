"""The training of a stack: cycles of propose, respond and decide, as in the product's game, for all runs at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from experiments.stability.losses import Losses
from experiments.stability.rules import Rule
from experiments.stability.stack import Network, Player
from experiments.stability.tasks import LATENT, Batches

GENERATOR, DISCRIMINATOR = Network((LATENT, 64, 64, 2)), Network((2, 64, 64, 1))
Gradient = tuple[Tensor, Tensor]  # the loss of each run, and its gradient


class Trouble:
    """What goes wrong in a training, and where. By default nothing does."""

    def before(self, training: Training) -> None:
        """Damage the incumbent, before it is captured."""

    def inside(self, training: Training) -> None:
        """Damage a proposal, right after the generator's step."""

    def batch(self, training: Training, real: Tensor) -> Tensor:
        return real

    def gradient(self, player: str, gradient: Tensor) -> Tensor:
        return gradient

    def rate(self, cycle: int) -> float:
        """What multiplies both learning rates."""
        return 1.0


class Remedy:
    """What a training does about trouble beside an accept rule. By default nothing.

    Attributes:
        lost: The cycles of each run that it undid.
    """

    lost: Tensor | float = 0.0

    def gradient(self, gradient: Tensor) -> Tensor:
        return gradient

    def skips(self, player: str, loss: Tensor, gradient: Tensor) -> Tensor | None:
        """Which runs are to skip this step; None for none."""
        return None

    def after_response(self, training: Training) -> None:
        """Act after the ascent."""


@dataclasses.dataclass
class Training:
    """All runs of a stack.

    Args:
        batches: What they draw.
        lr_g: The generator's learning rate of each run.
        lr_d: The discriminator's.
        losses: Of both players.
        rule: The accept rule; None for plain descent-ascent.
        trouble: What goes wrong.
        remedy: What else is done about it.
    """

    batches: Batches
    lr_g: Tensor
    lr_d: Tensor
    losses: Losses = dataclasses.field(default_factory=Losses)
    rule: Rule | None = None
    trouble: Trouble = dataclasses.field(default_factory=Trouble)
    remedy: Remedy = dataclasses.field(default_factory=Remedy)

    def __post_init__(self) -> None:
        runs, drawn = self.batches.runs, (self.batches.runs, self.batches.init, self.batches.dtype)
        self.g = Player(GENERATOR, GENERATOR.init(*drawn), self.lr_g)
        self.d = Player(DISCRIMINATOR, DISCRIMINATOR.init(*drawn), self.lr_d)
        self.cycles = 0
        self.proposals, self.accepted = 0, torch.zeros(runs)
        self.pending: Gradient | None = None
        self.answered: Gradient | None = None  # the discriminator's last loss and gradient
        self._f_last = self._reference = torch.full((runs,), torch.nan, dtype=self.batches.dtype)

    def cycle(self, scale: float = 1.0) -> None:
        """Play one cycle. ``scale`` multiplies the generator's learning rate."""
        self.trouble.before(self)
        draw = self.batches.uniform()
        saved = (self.g.snapshot(), self.d.snapshot()) if self.rule else None
        old = self._read_incumbent(self.rule) if self.rule and self.pending else None
        if self.pending is not None:
            self._step("generator", self.g, self.pending, scale)
        self.trouble.inside(self)
        self.ascend()
        self.remedy.after_response(self)
        if self.rule is not None:
            self._decide(self.rule, old, draw, saved)
        self.pending = self.generator_gradient()
        self.cycles += 1

    # --- steps -------------------------------------------------------------------------------------------

    def ascend(self) -> None:
        """One step of the discriminator."""
        self.answered = self.discriminator_gradient()
        self._step("discriminator", self.d, self.answered)

    def real(self) -> Tensor:
        return self.trouble.batch(self, self.batches.real())

    def discriminator_gradient(self) -> Gradient:
        real = self.real()
        with torch.no_grad():
            fake = self.g(self.batches.noise())
        weights = self.d.weights.detach().requires_grad_()
        loss, f = self.losses.discriminator(self.d.network, weights, real, fake)
        (gradient,) = torch.autograd.grad(loss.sum(), weights)
        self._f_last = f.detach()
        return loss.detach(), gradient

    def generator_gradient(self) -> Gradient:
        weights = self.g.weights.detach().requires_grad_()
        fake = self.g.network(weights, self.batches.noise())
        loss = self.losses.generator(self.d, fake, self.real() if self.losses.relativistic else None)
        (gradient,) = torch.autograd.grad(loss.sum(), weights)
        return loss.detach(), gradient

    def _step(self, name: str, player: Player, taken: Gradient, scale: float = 1.0) -> None:
        loss, gradient = taken[0], self.remedy.gradient(self.trouble.gradient(name, taken[1]))
        skipped = self.remedy.skips(name, loss, gradient)
        saved = None if skipped is None else player.snapshot()
        player.step(gradient, scale * self.trouble.rate(self.cycles))
        if saved is not None and skipped is not None:
            player.restore(saved, skipped)

    # --- decisions ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def f(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """f of each run on a batch of real samples and noise."""
        real, noise = batch
        return self.losses.f(self.d(torch.cat([real, self.g(noise)], dim=2)))

    def _norm(self) -> Tensor:
        return self.g.norm() + self.d.norm()

    def _read_incumbent(self, rule: Rule) -> Tensor:
        """What the rule compares with."""
        if rule.signal in ("paired", "f-and-norm"):
            self._tested = self.batches.test(rule.samples)
            return self._read_proposal(rule.signal)
        return self._norm() if rule.signal == "norm" else self._reference

    def _read_proposal(self, signal: str) -> Tensor:
        if signal == "paired":
            return self.f(self._tested)
        if signal == "f-and-norm":
            return torch.stack([self.f(self._tested), self._norm()])
        if signal == "last":
            return self._f_last
        if signal == "gradient" and self.answered and self.pending:
            return sum(torch.linalg.vector_norm(g, dim=1) for _, g in (self.answered, self.pending))
        return self._norm()

    def _decide(self, rule: Rule, old: Tensor | None, draw: Tensor, saved: Any) -> None:
        norm = self._norm()
        if old is None:
            self._reference = self._f_last
            return
        new = self._read_proposal(rule.signal)
        if rule.signal in ("gradient", "none"):
            old = torch.zeros_like(new)
        finite = new.view(-1, len(norm)).isfinite().all(0) & norm.isfinite()
        accepted = rule.policy(self.cycles, old, new, draw) & finite
        self.g.restore(saved[0], ~accepted, rule.moments)
        if rule.both:
            self.d.restore(saved[1], ~accepted, rule.moments)
        if rule.signal == "last":
            self._reference = torch.where(finite if rule.track else accepted, new, old)
        self.proposals += 1
        self.accepted += accepted

    # --- measurements ------------------------------------------------------------------------------------

    @torch.no_grad()
    def samples(self) -> Tensor:
        return self.g(self.batches.measured())

    @property
    def share_accepted(self) -> Tensor:
        """The share of proposals that each run accepted; 1 without a rule."""
        return self.accepted / self.proposals if self.proposals else torch.ones(self.batches.runs)
