"""What a cycle costs in a plain PyTorch loop: beside other methods, and as networks and k grow.

``python -m benchmarks.plain_loop`` times each method in turns with plain descent-ascent, on networks, batches and
learning rates that are the same, and writes ``benchmarks/results/plain_loop.csv``, from which docs/performance.md is
made. A cycle is one update of the generator, with all that its method does for it. Competitive gradient descent takes
part if its package is there (``pip install CGDs``). Some ten minutes; it runs on a GPU if there is one.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.tables import ROOT, commit, keep
from benchmarks.turns import now
from experiments.stats import paired_ratio
from minmax_plugin import ConstantRate, FreshBatch, MinMaxGame, PairedBatch
from minmax_plugin.baselines import BASELINES, build_baseline

RESULT = ROOT / "benchmarks" / "results" / "plain_loop.csv"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NOISE, DATA, BATCH = 64, 64, 64
WEIGHTS = (10**4, 10**5, 10**6, 10**7, 10**8)  # of both networks together
K = (1, 5)  # ascent steps
ROUNDS, TURN = 15, 0.2  # turns of each side, and their seconds
PEERS: dict[str, dict[str, Any]] = {"omd": {}, "extragradient": {}, "lookahead": {}, "unrolled": {"k": 6}}


class Players:
    """Two fully connected networks of about so many weights together, and their losses."""

    def __init__(self, weights: int) -> None:
        # Two hidden layers: NOISE·w + w² + w·DATA in the one, DATA·w + w² + w in the other.
        width = max(4, round((-192 + (192**2 + 8 * weights) ** 0.5) / 4))
        self.generator = network(NOISE, width, DATA).to(DEVICE)
        self.discriminator = network(DATA, width, 1).to(DEVICE)
        self.size = sum(p.numel() for net in (self.generator, self.discriminator) for p in net.parameters())

    def f(self) -> Tensor:
        """The saturating value on a batch, term by term."""
        real = torch.randn(BATCH, DATA, device=DEVICE)
        fake = self.generator(torch.randn(BATCH, NOISE, device=DEVICE))
        return -softplus(-self.discriminator(real)) - softplus(self.discriminator(fake))

    def min_loss(self) -> Tensor:
        fake = self.generator(torch.randn(BATCH, NOISE, device=DEVICE))
        return -softplus(self.discriminator(fake)).mean()

    def max_loss(self) -> Tensor:
        real = torch.randn(BATCH, DATA, device=DEVICE)
        with torch.no_grad():
            fake = self.generator(torch.randn(BATCH, NOISE, device=DEVICE))
        return softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(fake)).mean()

    def baseline(self, name: str, **settings: Any) -> Callable[[], None]:
        kind: Any = BASELINES[name].optimizer
        low, high = (kind(net.parameters(), lr=1e-4) for net in (self.generator, self.discriminator))
        max_loss = self.max_loss
        if name == "unrolled":
            settings["module"] = self.discriminator

            def max_loss() -> Tensor:
                return -self.f().mean()

        return build_baseline(name, low, high, self.min_loss, max_loss, **settings)

    def minmax(self, k: int, value: str) -> Callable[[], None]:
        low, high = (torch.optim.Adam(net.parameters(), lr=1e-4) for net in (self.generator, self.discriminator))
        modules = [self.generator, self.discriminator]
        estimator = None
        if value != "last":
            estimator = (PairedBatch if value == "paired" else FreshBatch)(lambda: self.f().squeeze(1), modules)
        game = MinMaxGame(low, high, ConstantRate(0.2), estimator=estimator)

        def cycle() -> None:
            game.propose()
            for _ in range(k):
                loss = self.max_loss()
                for p, g in zip(self.discriminator.parameters(), gradients(loss, self.discriminator), strict=True):
                    p.grad = g
                high.step()
            game.decide(-loss.detach() if value == "last" else None)
            loss = self.min_loss()
            for p, g in zip(self.generator.parameters(), gradients(loss, self.generator), strict=True):
                p.grad = g

        return cycle

    def competitive(self) -> Callable[[], None]:
        from CGDs import ACGD

        low, high = list(self.generator.parameters()), list(self.discriminator.parameters())
        method = ACGD(max_params=high, min_params=low, lr_max=1e-4, lr_min=1e-4)
        return lambda: method.step(loss=self.f().mean())


def network(inputs: int, width: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def gradients(loss: Tensor, net: nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, list(net.parameters()))


def timed(cycle: Callable[[], None], times: int) -> float:
    began = now()
    for _ in range(times):
        cycle()
    return now() - began


def compare(plain: Callable[[], None], other: Callable[[], None]) -> dict[str, float]:
    """Time both in turns: milliseconds of a plain cycle, and the ratio with its 95 % interval."""
    for cycle in (plain, other):
        timed(cycle, 2)
    times = max(1, round(TURN / timed(plain, 1)))
    seconds = np.array([(timed(plain, times), timed(other, times)) for _ in range(ROUNDS)])
    return {"plain_ms": 1e3 * float(np.median(seconds[:, 0])) / times, **paired_ratio(seconds[:, 0], seconds[:, 1])}


def main() -> None:
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.machine()

    def measure(weights: int, k: int, method: str, other: Callable[[Players], Callable[[], None]]) -> None:
        mine, its = Players(weights), Players(weights)
        found = compare(mine.baseline("gda-alternating", k=k), other(its))
        row = {"method": method, "weights": mine.size, "k": k, "threads": 1, "device": device, **found}
        keep(RESULT, [row | {"commit": commit()}], ["method", "weights", "k", "threads", "device"])
        print(row, flush=True)

    for name, settings in PEERS.items():
        measure(10**6, 1, name, partial(Players.baseline, name=name, **settings))
    if importlib.util.find_spec("CGDs"):
        measure(10**6, 1, "competitive (ACGD)", Players.competitive)
    else:
        print("competitive gradient descent is left out: pip install CGDs")
    for weights in WEIGHTS:
        for k in K:
            for value in ("last", "fresh", "paired") if k > 1 else ("fresh", "paired"):
                measure(weights, k, f"MinMax, {value}", partial(Players.minmax, k=k, value=value))


if __name__ == "__main__":
    main()
