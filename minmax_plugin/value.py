"""Estimators of f, and the guard under which they run: nothing of the training may notice them."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def inference(modules: Sequence[nn.Module], seed: int | None = None) -> Iterator[None]:
    """Run a block in inference mode, leaving the training as if it had not run.

    Within the block there are no gradients and the modules are in ``eval()``: no dropout, batch-norm
    statistics and spectral-norm vectors are read but not moved. Training flags come back module by module,
    and so do all random states (torch, CUDA, python, numpy).

    Args:
        modules: the modules that the block evaluates.
        seed: of the block's own random numbers; ``None`` starts from the training's state.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> with inference([net]):
        ...     net.training
        False
        >>> net.training
        True
    """
    training = [m for module in modules for m in module.modules() if m.training]
    outside = _random_state()
    try:
        for module in training:
            module.training = False
        if seed is not None:
            _seed_all(seed)
        with torch.no_grad():
            yield
    finally:
        _set_random_state(outside)
        for module in training:
            module.training = True


class FreshBatch:
    """f on a batch that the ascent has not used, in inference mode, with random numbers of its own.

    Evaluation number n starts from a seed made of ``seed`` and n, so that a count is all there is to save.

    Args:
        function: computes f at the present (x, y); draws its own batch and noise.
        modules: the modules it evaluates.
        seed: of the random numbers that ``function`` draws.

    Example:
        >>> net = nn.Dropout(0.9)
        >>> f = FreshBatch(lambda: net(torch.ones(100)).sum(), [net])
        >>> f()
        100.0
    """

    def __init__(self, function: Callable[[], Tensor | float], modules: Sequence[nn.Module], seed: int = 0) -> None:
        self._function = function
        self._modules = list(modules)
        self._seed = seed
        self.evaluations = 0

    def __call__(self) -> float:
        with inference(self._modules, seed=self._seed * 1_000_003 + self.evaluations):
            value = float(self._function())
        self.evaluations += 1
        return value


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    if "numpy" in sys.modules:  # the toolkits draw from it; this package does not need it
        state["numpy"] = sys.modules["numpy"].random.get_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
    if "numpy" in state:
        sys.modules["numpy"].random.set_state(state["numpy"])
