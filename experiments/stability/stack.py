"""Stacks of equal networks, one for each run, and Adam for them: a run never sees another one."""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

SLOPE = 0.2  # of LeakyReLU
BETAS = (0.5, 0.999)
EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class Network:
    """A multilayer perceptron. Its weights are a row of a stack.

    Args:
        sizes: Its widths, from input to output.
    """

    sizes: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(self.sizes))

    @property
    def parts(self) -> list[int]:
        """The numbers of weights: a matrix and a bias for each layer, in turn, as ``torch.nn.Linear`` has them."""
        return [n for a, b in self.layers for n in (a * b, b)]

    def place(self, layer: int, bias: bool = False) -> slice:
        """Where a layer's matrix is in a row of weights, with its bias if asked for."""
        start = sum(self.parts[: 2 * layer])
        return slice(start, start + sum(self.parts[2 * layer : 2 * layer + 1 + bias]))

    def init(self, runs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw the weights of a stack, as ``torch.nn.Linear`` does: uniform within 1/√inputs."""
        bounds = torch.tensor([1 / math.sqrt(a) for a, _ in self.layers for _ in (0, 1)], dtype=torch.float64)
        bounds = bounds.repeat_interleave(torch.tensor(self.parts))
        uniform = torch.rand(runs, sum(self.parts), generator=generator, dtype=torch.float64) * 2 - 1
        return (uniform * bounds).to(dtype)

    def __call__(self, weights: Tensor, x: Tensor) -> Tensor:
        """Apply each run's network to its own batch.

        Args:
            weights: A row for each run.
            x: Inputs, runs × width × samples. With the samples last, products by narrow layers are fast.
        """
        parts = weights.split(self.parts, dim=1)
        for i, (a, b) in enumerate(self.layers):
            if i:
                x = leaky_relu(x, SLOPE)
            x = torch.baddbmm(parts[2 * i + 1].unsqueeze(2), parts[2 * i].view(-1, b, a), x)
        return x


@dataclasses.dataclass
class Player:
    """One side of all games: a stack of networks with Adam's state.

    Args:
        network: What the weights mean.
        weights: A row for each run.
        lr: The learning rate of each run.
    """

    network: Network
    weights: Tensor
    lr: Tensor

    def __post_init__(self) -> None:
        self.lr = self.lr.to(self.weights).view(-1, 1)
        self.m, self.v = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.steps = torch.zeros_like(self.lr)

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(self.weights, x)

    def direction(self, gradient: Tensor) -> Tensor:
        """Take a gradient into the moments, and return Adam's direction."""
        self.steps += 1
        self.m.lerp_(gradient, 1 - BETAS[0])
        self.v.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        root = self.v.sqrt().div_((1 - BETAS[1] ** self.steps).sqrt()).add_(EPS)
        return (self.m / (1 - BETAS[0] ** self.steps)).div_(root)

    def step(self, gradient: Tensor, scale: float | Tensor = 1.0) -> None:
        """Take one step of Adam, with ``scale`` times the learning rate."""
        self.weights -= self.lr * scale * self.direction(gradient)

    def norm(self) -> Tensor:
        """The Euclidean norm of each run's weights; not finite if any weight is not."""
        return torch.linalg.vector_norm(self.weights, dim=1)

    def snapshot(self) -> tuple[Tensor, ...]:
        return self.weights.clone(), self.m.clone(), self.v.clone(), self.steps.clone()

    def restore(self, saved: tuple[Tensor, ...], rows: Tensor, moments: bool = True) -> None:
        """Restore some runs: the weights, and Adam's state unless ``moments`` is False."""
        if rows.any():
            now = (self.weights, self.m, self.v, self.steps)
            for present, earlier in zip(now, saved if moments else saved[:1], strict=False):
                present[rows] = earlier[rows]
