"""What a cycle under MinMax would cost if only passes of the networks and copies of weights cost anything."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from torch.utils.flop_counter import FlopCounterMode

from minmax_plugin.mmgen.train import train

CYCLES = 8  # as many as a batch of f is held for by default


@HOOKS.register_module()
class CountsFlops(Hook):
    """Counts the floating-point operations of some iterations of a training: those of products and convolutions.

    Args:
        first: The first iteration that counts.
        iterations: Their number.
        found: A list that gets the count.
    """

    reads_weights = False

    def __init__(self, first: int, iterations: int, found: list[int]) -> None:
        self._first, self._last, self._found = first, first + iterations - 1, found
        self._counter: Any = FlopCounterMode(display=False)

    def before_train_iter(self, runner: Any) -> None:
        if runner.iter == self._first:
            self._counter.__enter__()

    def after_train_iter(self, runner: Any) -> None:
        if runner.iter == self._last:
            self._counter.__exit__(None, None, None)
            self._found.append(self._counter.get_total_flops())
            runner._max_iters = runner.iter + 1


def flops(cfg: Config, k: int) -> float:
    """Count the operations of a cycle, averaged over those that share a batch of f.

    Args:
        cfg: The config of the training.
        k: The iterations in a cycle.
    """
    found: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        train(cfg, seed=0, hooks=[dict(type="CountsFlops", first=2 * k, iterations=CYCLES * k, found=found)])
    return found[0] / CYCLES


def bandwidth(mib: int = 256) -> float:
    """Measure how many bytes a copy reads and writes in a second, on one thread."""
    source = torch.ones(mib << 18)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        began = time.process_time()
        target.copy_(source)
        seconds.append(time.process_time() - began)
    return 2 * source.nbytes / min(seconds)


def limit(plain: Config, other: Config, k: int, plain_s: float, captured: float, restores: float) -> float:
    """Compute the ratio of a cycle's time to a plain one's by counting.

    The passes of the networks count by their operations. Each cycle also captures both players and looks at
    all weights once, at the bandwidth of a copy. A third of what is captured are weights, beside Adam's moments.

    Args:
        plain: The config of the plain training.
        other: The config under MinMax.
        k: The iterations in a cycle.
        plain_s: The seconds of a plain cycle, as measured.
        captured: The bytes that a rejection restores.
        restores: The restores in a cycle.
    """
    passes = flops(other, k) / flops(plain, k)
    return passes + (2 + 2 * restores + 1 / 3) * captured / bandwidth() / plain_s
