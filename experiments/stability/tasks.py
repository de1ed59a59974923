"""The two mixtures of Gaussians, what the runs draw, and how their samples are measured."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

SIGMA = 0.05  # of each mode
BATCH = 128
LATENT = 16
MEASURED = 1000  # samples of a measurement
FAIR_SHARE = 0.2  # of the share that a mode has in the data: with less it does not count


@dataclasses.dataclass(frozen=True)
class Task:
    """A mixture of equal Gaussians in the plane.

    Args:
        title: For pictures.
        centres: The modes.
        wanted: The number of modes of a run that has trained.
    """

    title: str
    centres: Tensor
    wanted: int

    def measure(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Count the modes of each run, and its high-quality share: the samples (runs × 2 × n) within 3σ of a mode.

        A mode counts with a fifth of its share in the data: 2.5 % of the samples on eight Gaussians.
        """
        distance, nearest = torch.cdist(samples.transpose(1, 2), self.centres.to(samples)).min(dim=2)
        near = distance < 3 * SIGMA  # False for NaN
        counts = torch.stack([((nearest == i) & near).sum(1) for i in range(len(self.centres))], dim=1)
        least = FAIR_SHARE / len(self.centres) * samples.shape[2]
        return (counts > least).sum(1), near.to(samples.dtype).mean(1)

    @property
    def spread(self) -> float:
        """The root mean square distance of the data from its centre."""
        return math.sqrt(float(self.centres.square().sum(1).mean()) + 2 * SIGMA**2)


_angles = torch.arange(8) * (2 * math.pi / 8)
_ticks = torch.linspace(-1, 1, 5)
TASKS = {
    "ring8": Task("eight Gaussians", torch.stack([_angles.cos(), _angles.sin()], dim=1), 8),
    "grid25": Task("5 × 5 grid", torch.cartesian_prod(_ticks, _ticks), 16),
}


class Batches:
    """All that the runs of a stack draw, in streams that do not depend on the method.

    Runs of one seed start from the same weights and see the same batches under every method, so that methods can be
    compared in pairs.

    Args:
        task: What real batches are drawn from.
        runs: Their number.
        seed: Of all streams.
        dtype: Of the batches.
    """

    def __init__(self, task: Task, runs: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self.task, self.runs, self.dtype = task, runs, dtype
        streams = [torch.Generator().manual_seed(1000 * seed + i) for i in range(5)]
        self.init, self._training, self._test, self._draws, self._measured = streams

    def real(self, generator: torch.Generator | None = None, size: int = BATCH) -> Tensor:
        generator = generator or self._training
        modes = torch.randint(len(self.task.centres), (self.runs, size), generator=generator)
        noise = torch.randn(self.runs, 2, size, generator=generator, dtype=self.dtype)
        return self.task.centres.to(self.dtype)[modes].transpose(1, 2) + SIGMA * noise

    def noise(self, generator: torch.Generator | None = None, size: int = BATCH) -> Tensor:
        """Inputs of the generator."""
        return torch.randn(self.runs, LATENT, size, generator=generator or self._training, dtype=self.dtype)

    def test(self, size: int) -> tuple[Tensor, Tensor]:
        """A batch that f is read on: real samples and noise."""
        return self.real(self._test, size), self.noise(self._test, size)

    def measured(self) -> Tensor:
        """Noise of a measurement."""
        return self.noise(self._measured, MEASURED)

    def uniform(self) -> Tensor:
        """The draw of a decision, for each run."""
        return torch.rand(self.runs, generator=self._draws)
