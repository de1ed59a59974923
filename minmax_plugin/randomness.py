"""Random states and seeds, and a block that evaluates networks without an effect on the training."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def inference(modules: Sequence[nn.Module], seed: int | None = None, batch_statistics: bool = False) -> Iterator[None]:
    """Run a block in inference mode, leaving the training as if it had not run.

    Within the block there are no gradients, and no module is ``training``. So there is no dropout, and batch-norm
    statistics and spectral-norm vectors are read but not moved. A module may switch more in its own ``eval()``. That
    stays as in the training: StyleGAN's mixing of styles, for example, belongs to its f. Training flags are restored
    module by module, and so are all random states (torch, CUDA, python, numpy).

    Args:
        modules: The modules that the block evaluates.
        seed: The seed of the block's own random numbers. ``None`` starts from the training's state.
        batch_statistics: Whether batch norm takes the statistics of the block's batches, as in the training, and not
            its running ones. f is read so. The running ones lag, and mix real and generated images.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> with inference([net]):
        ...     net.training
        False
        >>> net.training
        True
    """
    training = [m for module in modules for m in module.modules() if m.training]
    norms = [m for m in training if batch_statistics and isinstance(m, _BatchNorm) and m.track_running_stats]
    outside = random_state()
    try:
        for module in training:
            module.training = False
        for norm in norms:  # so it neither reads nor moves the running ones
            norm.training, norm.track_running_stats = True, False
        if seed is not None:
            seed_all(seed)
        with torch.no_grad():
            yield
    finally:
        set_random_state(outside)
        for module in training:
            module.training = True
        for norm in norms:
            norm.track_running_stats = True


def seed_all(seed: int) -> None:
    if not -(2**63) <= seed < 2**64:  # torch takes no more, and a large seed times its multiplier is more
        seed %= 2**64
    torch.default_generator.manual_seed(seed)  # torch.manual_seed() does the same, at a cost that shows
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


def random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    if "numpy" in sys.modules:  # the toolkits draw from it; this package does not need it
        state["numpy"] = sys.modules["numpy"].random.get_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
    if "numpy" in state:
        sys.modules["numpy"].random.set_state(state["numpy"])
