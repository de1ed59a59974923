"""A small GAN on a device, trained by plain descent-ascent or under MinMax."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Optimizer

from minmax_plugin import Decision, MinMaxGame, PairedBatch, Player

BATCH, NOISE, MODES = 256, 16, 8
BETAS = (0.5, 0.99)
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "Adam": lambda p, lr: torch.optim.Adam(p, lr, BETAS),
    "Adam, foreach": lambda p, lr: torch.optim.Adam(p, lr, BETAS, foreach=True),
    "Adam, fused": lambda p, lr: torch.optim.Adam(p, lr, BETAS, fused=True),
    "Adam, capturable": lambda p, lr: torch.optim.Adam(p, lr, BETAS, capturable=True),
    "SGD with momentum": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
}


class Pair:
    """A GAN on a ring of Gaussians. Each part of a cycle draws from a seed of its own, so that a cycle can be repeated.

    Args:
        device: The device of all tensors.
        optimizer: A name of :data:`OPTIMIZERS`.
        rates: The learning rates of generator and discriminator.
        width: The units of a hidden layer.
        minmax: Arguments of the game. ``None`` trains by plain descent-ascent.
        paired: Whether the game reads f on an eighth of a batch, held for 8 decisions, as is the toolkit's default.
            Otherwise it is given the ascent's loss.
        dtype: The type that autocast computes in; ``None`` for no autocast.
        scaler: The gradient scaler of both players; ``None`` for none.
        r1: The weight of a gradient penalty on real data.
    """

    def __init__(
        self,
        device: torch.device,
        optimizer: str = "Adam",
        rates: tuple[float, float] = (1e-3, 1e-3),
        width: int = 64,
        minmax: dict[str, Any] | None = None,
        paired: bool = True,
        dtype: torch.dtype | None = None,
        scaler: GradScaler | None = None,
        r1: float = 0.0,
    ) -> None:
        torch.manual_seed(0)
        self.device, self.dtype, self.scaler, self.r1 = device, dtype, scaler, r1
        hidden = [nn.Linear(width, width), nn.LeakyReLU(0.2)]
        self.generator = nn.Sequential(
            nn.Linear(NOISE, width), nn.BatchNorm1d(width), nn.ReLU(), *copy.deepcopy(hidden), nn.Linear(width, 2)
        ).to(device)
        self.discriminator = nn.Sequential(
            spectral_norm(nn.Linear(2, width)), nn.LeakyReLU(0.2), *copy.deepcopy(hidden), nn.Linear(width, 1)
        ).to(device)
        self.nets = [self.generator, self.discriminator]
        self.low, self.high = (
            OPTIMIZERS[optimizer](net.parameters(), rate) for net, rate in zip(self.nets, rates, strict=True)
        )
        self.game = None
        self._paired = paired
        if minmax is not None:
            estimator = PairedBatch(lambda: self._values(BATCH // 8), self.nets, hold=8) if paired else None
            players = Player(self.low, self.generator), Player(self.high, self.discriminator)
            self.game = MinMaxGame(*players, **{"estimator": estimator, **minmax})
        self.decision: Decision | None = None
        self.cycles = 0
        self.loss = torch.zeros((), device=device)

    def parts(self) -> dict[str, Callable[[], None]]:
        """The parts of a cycle, in their order. They are to be run one after the other."""
        return {"propose": self.propose, "respond": self.respond, "decide": self.decide, "descend": self.descend}

    def cycle(self) -> None:
        for part in self.parts().values():
            part()

    def propose(self) -> None:
        torch.manual_seed(4 * self.cycles)
        if self.game is not None:
            self.game.propose(self.scaler)
        elif self.cycles:
            self._step(self.low)

    def respond(self) -> None:
        torch.manual_seed(4 * self.cycles + 1)
        self.high.zero_grad()
        with self._autocast(), torch.no_grad():
            fake = self.generator(self.noise(BATCH))
        real = self.real(BATCH).requires_grad_(self.r1 > 0)
        with self._autocast():
            answers = self.discriminator(real)
            loss = softplus(-answers).mean() + softplus(self.discriminator(fake)).mean()
        self.loss = loss.detach()
        if self.r1:
            (slope,) = torch.autograd.grad(answers.sum(), real, create_graph=True)
            loss = loss + self.r1 / 2 * slope.square().sum(1).mean()
        self._backward(loss)
        self._step(self.high)

    def decide(self) -> None:
        torch.manual_seed(4 * self.cycles + 2)
        if self.game is not None:
            self.decision = self.game.decide(None if self._paired else -self.loss)

    def descend(self) -> None:
        torch.manual_seed(4 * self.cycles + 3)
        self.low.zero_grad()
        with self._autocast():
            loss = softplus(-self.discriminator(self.generator(self.noise(BATCH)))).mean()
        self._backward(loss)
        self.cycles += 1

    def noise(self, samples: int) -> Tensor:
        return torch.randn(samples, NOISE, device=self.device)

    def real(self, samples: int) -> Tensor:
        angle = torch.randint(MODES, (samples,), device=self.device) * (2 * math.pi / MODES)
        return torch.stack([angle.cos(), angle.sin()], 1) + 0.02 * torch.randn(samples, 2, device=self.device)

    def modes(self) -> int:
        """Count the modes that have a fair share of the samples near them."""
        with torch.no_grad():
            samples = self.generator.eval()(self.noise(4096))
            self.generator.train()
        angle = torch.arange(MODES, device=self.device) * (2 * math.pi / MODES)
        distance, mode = torch.cdist(samples, torch.stack([angle.cos(), angle.sin()], 1)).min(1)
        return int((torch.bincount(mode[distance < 0.2], minlength=MODES) > 4096 / MODES / 4).sum())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of both players by name, not copied: weights, buffers, and the optimizers' state."""
        found = {f"{i} {name}": tensor for i, net in enumerate(self.nets) for name, tensor in net.state_dict().items()}
        for i, optimizer in enumerate((self.low, self.high)):
            for j, state in enumerate(optimizer.state.values()):
                found |= {f"{i} {j} {name}": v for name, v in state.items() if isinstance(v, Tensor)}
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts], "cycles": self.cycles}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.cycles = state["cycles"]

    @property
    def _parts(self) -> list[Any]:
        return [*self.nets, self.low, self.high, self.game]

    def _values(self, samples: int) -> Tensor:
        with self._autocast():
            fake = self.generator(self.noise(samples))
            values = -softplus(-self.discriminator(self.real(samples))) - softplus(self.discriminator(fake))
        return values.squeeze(1)

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            yield

    def _backward(self, loss: Tensor) -> None:
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def _step(self, optimizer: Optimizer) -> None:
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
