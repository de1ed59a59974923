"""Whether many seeds at once in one process train faster than one by one: ``python -m benchmarks.many_seeds``.

A cycle of plain descent-ascent on the networks of four Gaussians, those of all seeds stacked (``torch.func.vmap``), on
one CPU thread. It writes ``benchmarks/results/many_seeds.csv``: milliseconds of a cycle for each seed.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import softplus

from benchmarks.tables import ROOT, commit, keep
from minmax_plugin.mmgen.config import load_config

RESULT = ROOT / "benchmarks" / "results" / "many_seeds.csv"
SEEDS, BATCH, K, CYCLES = (1, 5, 20), 512, 6, 60


class Stacked:
    """One network for each seed, called as one."""

    def __init__(self, settings: dict[str, Any], seeds: int) -> None:
        from mmgen.models.builder import MODULES  # after the shims of minmax_plugin.mmgen, which it needs

        networks = [MODULES.build(settings) for _ in range(seeds)]
        self._params, self._buffers = stack_module_state(networks)
        self._network = networks[0]
        self._optimizer = torch.optim.Adam(self._params.values(), 1e-4, betas=(0.5, 0.999))

    def __call__(self, x: Tensor) -> Tensor:
        return vmap(lambda p, b, x: functional_call(self._network, (p, b), (x,)))(self._params, self._buffers, x)

    def step(self, loss: Tensor) -> None:
        params = list(self._params.values())
        for param, grad in zip(params, torch.autograd.grad(loss, params), strict=True):
            param.grad = grad
        self._optimizer.step()


def milliseconds(seeds: int) -> float:
    """The median time of a cycle, for each seed."""
    model = load_config(ROOT / "configs/four_gaussians_gda.py").model
    generator, discriminator = (Stacked(model[player], seeds) for player in ("generator", "discriminator"))
    noise = model.generator.noise_size

    def fake() -> Tensor:
        return generator(torch.randn(seeds, BATCH, noise))

    def cycle() -> None:
        generator.step(-softplus(discriminator(fake())).mean((1, 2)).sum())
        for _ in range(K):
            with torch.no_grad():
                samples = fake()
            losses = softplus(-discriminator(torch.randn(seeds, BATCH, 2))) + softplus(discriminator(samples))
            discriminator.step(losses.mean((1, 2)).sum())

    taken = []
    for _ in range(CYCLES // seeds + 4):
        began = time.process_time()
        cycle()
        taken.append(time.process_time() - began)
    return 1e3 * float(np.median(taken[2:])) / seeds


def main() -> None:
    torch.set_num_threads(1)
    rows = [{"seeds": n, "ms": milliseconds(n), "device": platform.machine(), "commit": commit()} for n in SEEDS]
    keep(RESULT, rows, ["seeds", "device"])
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
