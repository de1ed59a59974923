"""Extragradient, Lookahead and unrolling for a stack: the cycles of :mod:`minmax_plugin.baselines`."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.stability.stack import BETAS, EPS
from experiments.stability.training import Training

PERIOD, ALPHA = 5, 0.5  # of Lookahead, the product's
UNROLLED = 6  # imagined steps


class Extragradient(Training):
    """Both players extrapolate from one point, then step from it with their gradients at the other."""

    def cycle(self, scale: float = 1.0) -> None:
        start = self.g.weights.clone(), self.d.weights.clone()
        for _ in ("extrapolate", "step"):
            (_, ascent), (_, descent) = self.discriminator_gradient(), self.generator_gradient()
            self.d.weights = start[1] - self.d.lr * self.d.direction(ascent)
            self.g.weights = start[0] - self.g.lr * self.g.direction(descent)
        self.cycles += 1


class Lookahead(Training):
    """Alternating descent-ascent; every few rounds both players go half of the way back to where they were."""

    def cycle(self, scale: float = 1.0) -> None:
        if not self.cycles:
            self._slow = self.g.weights.clone(), self.d.weights.clone()
        self.ascend()
        self.g.step(self.generator_gradient()[1])
        self.cycles += 1
        if self.cycles % PERIOD == 0:
            for slow, player in zip(self._slow, (self.g, self.d), strict=True):
                slow.lerp_(player.weights, ALPHA)
                player.weights.copy_(slow)


class Unrolled(Training):
    """The generator's gradient goes through imagined steps of the discriminator (arXiv:1611.02163), on all of f."""

    def cycle(self, scale: float = 1.0) -> None:
        self.ascend()
        self.g.step(self._gradient())
        self.cycles += 1

    def _gradient(self) -> Tensor:
        weights = self.g.weights.detach().requires_grad_()
        theta, m, v, steps = self.d.weights.detach().requires_grad_(), self.d.m, self.d.v, self.d.steps
        for _ in range(UNROLLED):
            (slope,) = torch.autograd.grad(self._loss(weights, theta).sum(), theta, create_graph=True)
            steps = steps + 1
            m, v = BETAS[0] * m + (1 - BETAS[0]) * slope, BETAS[1] * v + (1 - BETAS[1]) * slope**2
            # √ has no derivative at 0, where the v of a dead unit stays.
            root = torch.where(v > 0, torch.where(v > 0, v, 1.0).sqrt(), 0.0) / (1 - BETAS[1] ** steps).sqrt()
            theta = theta - self.d.lr * m / (1 - BETAS[0] ** steps) / (root + EPS)
        (gradient,) = torch.autograd.grad(-self._loss(weights, theta).sum(), weights)
        return gradient

    def _loss(self, weights: Tensor, theta: Tensor) -> Tensor:
        fake = self.g.network(weights, self.batches.noise())
        return self.losses.discriminator(self.d.network, theta, self.real(), fake)[0]
