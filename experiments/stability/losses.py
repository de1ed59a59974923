"""The losses of both players: non-saturating or relativistic, with zero-centred gradient penalties."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import softplus

from experiments.stability.stack import Network, Player


def f_of(real: Tensor, fake: Tensor, relativistic: bool) -> Tensor:
    """f of each run, from the discriminator's scores (runs × 1 × samples): what it raises and the generator lowers.

    Relativistic pairs are those of R3GAN (arXiv:2501.05441): f = −E softplus(−(D(x) − D(G(z)))).
    """
    if relativistic:
        return -softplus(fake - real).mean((1, 2))
    return -softplus(-real).mean((1, 2)) - softplus(fake).mean((1, 2))


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses of a method.

    Args:
        relativistic: Whether scores are compared in pairs of a real and a generated sample.
        r1: Weight γ of R1, γ/2 · E‖∇D(x)‖² on real samples (arXiv:1801.04406).
        r2: Weight of the same on generated samples.
    """

    relativistic: bool = False
    r1: float = 0.0
    r2: float = 0.0

    def discriminator(self, network: Network, weights: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's loss of each run, and f, which has no penalty."""
        if not (self.r1 or self.r2):
            scores = network(weights, torch.cat([real, fake], dim=2))
            f = self.f(scores)
            return -f, f
        scored = [_scored(network, weights, x, bool(w)) for x, w in ((real, self.r1), (fake, self.r2))]
        f = f_of(scored[0][0], scored[1][0], self.relativistic)
        loss = -f
        for weight, (_, penalty) in zip((self.r1, self.r2), scored, strict=True):
            if weight:
                loss = loss + weight / 2 * penalty
        return loss, f

    def f(self, scores: Tensor) -> Tensor:
        """f of each run, from the scores of as many real samples as generated ones after them."""
        real, fake = scores.chunk(2, dim=2)
        return f_of(real, fake, self.relativistic)

    def generator(self, discriminator: Player, fake: Tensor, real: Tensor | None) -> Tensor:
        """The generator's loss of each run; ``real`` is for relativistic pairs."""
        scores = discriminator(fake)
        if real is not None:
            scores = scores - discriminator(real)
        return softplus(-scores).mean((1, 2))


def _scored(network: Network, weights: Tensor, x: Tensor, penalised: bool) -> tuple[Tensor, Tensor]:
    """Scores, and E‖∇D‖² of each run where it is asked for."""
    if not penalised:
        return network(weights, x), torch.zeros(())
    if not x.requires_grad:
        x = x.detach().requires_grad_()
    scores = network(weights, x)
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return scores, slope.square().sum(1).mean(1)
