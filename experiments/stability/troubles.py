"""What goes wrong in a training: each run is hit on its own, in one of 500 cycles, or at set times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from experiments.stability.stack import Player
from experiments.stability.tasks import SIGMA
from experiments.stability.training import Training, Trouble

RATE = 1 / 500  # of the cycles of a run
FIRST = 100  # cycle: a detector needs some history
PERIOD, LENGTH = 500, 50  # of bursts, in cycles


@dataclasses.dataclass
class Hits(Trouble):
    """Base: draws which runs are hit in a cycle, and where. Every remedy meets the same hits.

    Attributes:
        hits: The number of each run's hits.
    """

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(99)
        self.hits = torch.zeros(0)

    def before(self, training: Training) -> None:
        draws = torch.rand(4, training.batches.runs, generator=self._generator)
        hit = draws[0] < RATE if training.cycles >= FIRST else torch.zeros_like(draws[0], dtype=torch.bool)
        self.rows = hit.nonzero().flatten().tolist()
        self._coins = draws[1:].tolist()
        self.hits = hit.float() + (self.hits if len(self.hits) else 0)

    def generator_is_hit(self, row: int) -> bool:
        return bool(self._coins[0][row] < 0.5)

    def choice(self, row: int, number: int) -> int:
        """One of 0, …, number − 1."""
        return int(self._coins[1][row] * number)

    def sign(self, row: int) -> float:
        return 1.0 if self._coins[2][row] < 0.5 else -1.0


Harm = Callable[["Weights", Player, int], None]


@dataclasses.dataclass
class Weights(Hits):
    """Damage to the weights of one player.

    Args:
        harm: Does it, in place, to a player's row.
        early: Whether it is done before the incumbent is captured, and not inside the proposal.
    """

    harm: Harm
    early: bool = False

    def before(self, training: Training) -> None:
        super().before(training)
        if self.early:
            self._do(training)

    def inside(self, training: Training) -> None:
        if not self.early:
            self._do(training)

    def _do(self, training: Training) -> None:
        for row in self.rows:
            self.harm(self, training.g if self.generator_is_hit(row) else training.d, row)


def large_weight(trouble: Weights, player: Player, row: int) -> None:
    layers = len(player.network.layers)  # each as likely, however many weights it has
    place = player.network.place(trouble.choice(row, layers))
    index = place.start + trouble.choice(row, layers * (place.stop - place.start)) % (place.stop - place.start)
    player.weights[row, index] = 100.0 * trouble.sign(row)


def wrong_sign(trouble: Weights, player: Player, row: int) -> None:
    layer = trouble.choice(row, len(player.network.layers))
    player.weights[row, player.network.place(layer)] *= -1


def tenfold(trouble: Weights, player: Player, row: int) -> None:
    layer = trouble.choice(row, len(player.network.layers))
    player.weights[row, player.network.place(layer, bias=True)] *= 10


@dataclasses.dataclass
class Batch(Hits):
    """A bad batch of real samples, for the discriminator's step.

    Args:
        harm: Returns the bad batch (2 × n) from the good one, and the modes from which it may come.
    """

    harm: Callable[[Batch, Tensor, Tensor, int], Tensor]

    def batch(self, training: Training, real: Tensor) -> Tensor:
        for row in self.rows:
            real[row] = self.harm(self, real[row], training.batches.task.centres.to(real), row)
        return real


def one_mode(trouble: Batch, real: Tensor, centres: Tensor, row: int) -> Tensor:
    noise = torch.randn(real.shape, generator=trouble._generator, dtype=real.dtype)
    return centres[trouble.choice(row, len(centres)), :, None] + SIGMA * noise


@dataclasses.dataclass
class Overflow(Hits):
    """One entry of a player's gradient is infinite, as after an overflow in half precision."""

    def gradient(self, player: str, gradient: Tensor) -> Tensor:
        for row in self.rows:
            if (player == "generator") == self.generator_is_hit(row):
                gradient[row, self.choice(row, gradient.shape[1])] = torch.inf
        return gradient


@dataclasses.dataclass
class Burst(Trouble):
    """Both learning rates are too high for 50 of each 500 cycles."""

    factor: float

    def rate(self, cycle: int) -> float:
        return self.factor if cycle >= PERIOD and cycle % PERIOD < LENGTH else 1.0


TROUBLES: dict[str, tuple[str, Callable[[], Trouble]]] = {
    "none": ("undisturbed", Trouble),
    "weight": ("a weight of ±100", lambda: Weights(large_weight)),
    "sign": ("wrong sign of a matrix", lambda: Weights(wrong_sign)),
    "tenfold": ("a layer times ten", lambda: Weights(tenfold)),
    "nan-batch": ("NaN batch", lambda: Batch(lambda t, real, centres, row: torch.full_like(real, torch.nan))),
    "overflow": ("overflow in a gradient", Overflow),
    "large-batch": ("batch times 100", lambda: Batch(lambda t, real, centres, row: real * 100)),
    "one-mode": ("batch of one mode", lambda: Batch(one_mode)),
    "early-weight": ("a weight of ±100, before the snapshot", lambda: Weights(large_weight, early=True)),
    "burst-10": ("rates × 10 for 50 of 500", lambda: Burst(10.0)),
    "burst-30": ("rates × 30 for 50 of 500", lambda: Burst(30.0)),
}
"""The title of each kind of trouble, and how it is made."""
