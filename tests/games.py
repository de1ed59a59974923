"""Small games for tests: the oracle's, played by the package, and one of two weights."""

import math

import numpy as np
import oracle
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minmax_plugin import Always, Annealed, ConstantRate, FreshBatch, MinMaxGame, PairedBatch, Restore, Strict
from minmax_plugin.controls import Matched, Never, RandomRate
from minmax_plugin.released import DecreasingTemperature, Periodic

POLICIES = {
    "strict": (Strict(min_decrease=0.01), lambda i, old, new, draw: new <= old - 0.01),
    "reversed": (Strict(reverse=True), lambda i, old, new, draw: new >= old),
    "constant": (ConstantRate(rate=0.4), lambda i, old, new, draw: new <= old or draw < 0.4),
    "annealed": (Annealed(tau1=9.0), lambda i, old, new, draw: new <= old or draw < math.exp(-i / 9)),
    "periodic": (Periodic(every=4), lambda i, old, new, draw: new <= old or i in range(0, 100, 4)),
    "decreasing": (
        DecreasingTemperature(scale=20.0),
        lambda i, old, new, draw: new <= old or draw < 1 / (4 + math.exp((i / 20) ** 2)),
    ),
    "always": (Always(), lambda i, old, new, draw: True),
    "never": (Never(), lambda i, old, new, draw: False),
    "random": (RandomRate(rate=0.5), lambda i, old, new, draw: draw < 0.5),
    "random, several rates": (
        RandomRate(rate=[0.9, 0.1], window=10),
        lambda i, old, new, draw: draw < (0.9 if i < 10 else 0.1),
    ),
    "matched": (
        Matched([True] * 10 + [False] * 10 + [True, False] * 10, window=10),
        lambda i, old, new, draw: draw < [1, 0, 0.5, 0.5][i // 10],
    ),
}
OPTIMIZERS = {
    "adam": (oracle.Adam, lambda p, lr, ascend: torch.optim.Adam([p], lr=lr, betas=(0.5, 0.9), maximize=ascend)),
    "fused": (
        oracle.Adam,
        lambda p, lr, ascend: torch.optim.Adam([p], lr=lr, betas=(0.5, 0.9), maximize=ascend, fused=True),
    ),
    "momentum": (oracle.Momentum, lambda p, lr, ascend: torch.optim.SGD([p], lr=lr, momentum=0.8, maximize=ascend)),
}
ESTIMATORS = {
    "fresh": (dict(), lambda noise: oracle.Fresh(noise)),
    "average of 3": (dict(batches=3), lambda noise: oracle.Fresh(noise, batches=3)),
    "reread": (dict(reread=True), lambda noise: oracle.Reread(noise)),
    "paired": (dict(), lambda noise: oracle.Paired(noise)),
    "paired, 2 batches": (dict(batches=2), lambda noise: oracle.Paired(noise, batches=2)),
    "paired, held": (dict(hold=3), lambda noise: oracle.Held(noise, hold=3)),
}


def batch_estimator(reread, *arguments, **more):
    """An estimator on batches of its own, f_old being read again on none, another or the same one."""
    if reread == "paired":
        return PairedBatch(*arguments, **more)
    return FreshBatch(*arguments, **more, reread=reread == "fresh")


CYCLES = 40
SEED = 5


def noise(cycle, k=5):
    random = np.random.default_rng([1, cycle])
    return 0.3 * random.normal(size=3), 0.3 * random.normal(size=(k, 3))


def noise_of(number):
    """What torch draws for the evaluation of this number."""
    return 0.2 * torch.randn((), generator=torch.Generator().manual_seed(SEED * 1_000_003 + number)).item()


class Played:
    """The oracle's game in torch, played by the package."""

    def __init__(self, policy="constant", optimizer="adam", k=2, estimator="fresh", recover_nonfinite=False, **restore):
        game = oracle.Game()
        self.k, self.a, self.b, self.c = k, *(torch.from_numpy(m) for m in (game.a, game.b, game.c))
        self.x, self.y = (torch.nn.Parameter(torch.from_numpy(p.copy())) for p in (game.x0, game.y0))
        build = OPTIMIZERS[optimizer][1]
        self.min_optimizer, self.max_optimizer = build(self.x, 0.05, False), build(self.y, 0.1, True)
        kind = PairedBatch if estimator.startswith("paired") else FreshBatch
        read = kind(lambda: self.f() + 0.2 * torch.randn(()), [], seed=SEED, **ESTIMATORS[estimator][0])
        update_reference_on_reject = restore.pop("update_reference_on_reject", False)
        self.game = MinMaxGame(
            self.min_optimizer,
            self.max_optimizer,
            POLICIES[policy][0],
            Restore.named(**(restore or dict(players="both"))),
            read,
            seed=7,
            update_reference_on_reject=update_reference_on_reject,
            recover_nonfinite=recover_nonfinite,
        )

    def f(self, extra_x=(0.0,) * 3, extra_y=(0.0,) * 3):
        x, y = self.x, self.y
        value = 0.5 * x @ self.a @ x + x @ self.b @ y - 0.5 * y @ self.c @ y + x[0].sin()
        return value + x @ torch.as_tensor(extra_x).double() + y @ torch.as_tensor(extra_y).double()

    def moves(self, cycle):
        """The single moves of a cycle: after each of them a run may be saved."""
        of_gradient, of_ascent = noise(cycle)
        yield lambda: self.game.propose()
        for step in range(self.k):
            yield lambda extra=of_ascent[step]: self.ascend(extra)
        yield lambda: self.game.decide()
        yield lambda: self.descend(of_gradient)

    def ascend(self, extra):
        self.max_optimizer.zero_grad()
        self.f(extra_y=extra).backward()
        self.max_optimizer.step()

    def descend(self, extra):
        self.min_optimizer.zero_grad()
        self.f(extra_x=extra).backward()

    def state_dict(self):
        return {
            "x": self.x.detach(),
            "y": self.y.detach(),
            "min": self.min_optimizer.state_dict(),
            "max": self.max_optimizer.state_dict(),
            "game": self.game.state_dict(),
        }

    def load_state_dict(self, state):
        self.x.data.copy_(state["x"])
        self.y.data.copy_(state["y"])
        self.min_optimizer.load_state_dict(state["min"])
        self.max_optimizer.load_state_dict(state["max"])
        self.game.load_state_dict(state["game"])


def small_game(**settings):
    x, y = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    x.grad = torch.ones(2)
    y.grad = torch.ones(2)
    optimizers = torch.optim.Adam([x], lr=0.1), torch.optim.Adam([y], lr=0.1)
    return x, y, *optimizers, MinMaxGame(*optimizers, **settings)


class Reads(TorchDispatchMode):
    """Notes each read of a tensor's value, for which a device has to be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Point(torch.nn.Module):
    """A player's point, as a module."""

    def __init__(self, values):
        super().__init__()
        self.p = torch.nn.Parameter(torch.as_tensor(values, dtype=torch.float64).clone())
