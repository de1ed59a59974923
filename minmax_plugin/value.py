"""Estimators of f, and the guard under which they run: nothing of the training may notice them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minmax_plugin.checks import check_callable, check_seed, is_count, modules_of


@contextlib.contextmanager
def inference(modules: Sequence[nn.Module], seed: int | None = None) -> Iterator[None]:
    """Run a block in inference mode, leaving the training as if it had not run.

    Within the block there are no gradients and no module is ``training``: no dropout, batch-norm statistics and
    spectral-norm vectors are read but not moved. What a module switches in an ``eval()`` of its own stays as the
    training has it: StyleGAN's mixing of styles, for one, which belongs to its f. Training flags come back module by
    module, and so do all random states (torch, CUDA, python, numpy).

    Args:
        modules: the modules that the block evaluates.
        seed: of the block's own random numbers; ``None`` starts from the training's state.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> with inference([net]):
        ...     net.training
        False
        >>> net.training
        True
    """
    training = [m for module in modules for m in module.modules() if m.training]
    outside = random_state()
    try:
        for module in training:
            module.training = False
        if seed is not None:
            seed_all(seed)
        with torch.no_grad():
            yield
    finally:
        set_random_state(outside)
        for module in training:
            module.training = True


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate of f at the proposal and, where it was read again, at the kept pair.

    Numbers may be tensors of one element, on any device: the game reads them all at once.

    Args:
        f_new: f at the proposal, after the response.
        standard_error: of ``f_new``; NaN where it cannot be had.
        f_old: f at the kept pair, read again; ``None`` to compare with the value it was kept with.
        difference_error: standard error of ``f_new - f_old``, with ``f_old``; NaN where it cannot be had.

    Examples:
        >>> Estimate(f_new=0.5, standard_error=0.01).f_old is None
        True
    """

    f_new: float | Tensor
    standard_error: float | Tensor = math.nan
    f_old: float | Tensor | None = None
    difference_error: float | Tensor = math.nan


class Estimator:
    """Base of the estimators of f that a game can be given.

    :meth:`before` runs at the kept pair, just before a proposal is applied; :meth:`after` runs at the
    proposal, after the response.

    Examples:
        >>> class Constant(Estimator):
        ...     def after(self):
        ...         return Estimate(1.0)
        >>> Constant().after().f_new
        1.0
    """

    def before(self) -> None:
        """Read what the comparison needs of the kept pair; nothing, unless the estimator reads it again."""

    def after(self) -> Estimate:
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what was read of the kept pair: f is another function now."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class LastAscent(Estimator):
    """f as the last ascent step's own forward pass saw it: free, and one ascent step behind.

    Args:
        read: gives that value.

    Raises:
        ValueError: if ``read`` is no function.

    Examples:
        >>> LastAscent(lambda: 0.5).after().f_new
        0.5
    """

    def __init__(self, read: Callable[[], Tensor | float]) -> None:
        check_callable("read", read)
        self._read = read

    def after(self) -> Estimate:
        return Estimate(self._read())


class FreshBatch(Estimator):
    """f on batches that the ascent has not used, in inference mode, with random numbers of its own.

    Evaluation number n draws from a seed made of ``seed`` and n, so that a count is all there is to resume.
    By default f_old is the value that the kept pair was kept with, from its own batch. ``reread`` estimates
    it again at each decision, so that one lucky low value does not block for ever: ``"fresh"`` on a batch of
    its own, ``"paired"`` on the very batch and noise of f_new, whose noise then largely cancels.

    Args:
        function: computes f at the present (x, y) on a batch that it draws from torch's random state. It
            gives one number, or a 1-D tensor of independent terms whose mean is f (per sample, or per group
            of samples), from which the standard error is had.
        modules: the modules it evaluates, or one.
        seed: of the random numbers that ``function`` draws.
        batches: number of evaluations that are averaged.
        reread: whether f_old is read again: ``None``, ``"fresh"`` or ``"paired"``.

    Raises:
        ValueError: for an argument of the wrong kind, ``batches`` below 1, or an unknown ``reread``.

    Examples:
        >>> f = FreshBatch(lambda: torch.randn(100), [], batches=4)
        >>> estimate = f.after()
        >>> bool(abs(estimate.f_new) < 0.2), bool(0.04 < estimate.standard_error < 0.06)
        (True, True)
    """

    def __init__(
        self,
        function: Callable[[], Tensor | float],
        modules: nn.Module | Sequence[nn.Module],
        seed: int = 0,
        batches: int = 1,
        reread: str | None = None,
    ) -> None:
        check_callable("function", function)
        check_seed(seed)
        if not is_count(batches):
            raise ValueError(f"batches must be 1 or more, but got {batches!r}.")
        if reread not in (None, "fresh", "paired"):
            raise ValueError(f"reread must be None, 'fresh' or 'paired', but got {reread!r}.")
        self._function = function
        self._modules = modules_of("modules", modules)
        self._seed, self._batches, self._reread = int(seed), int(batches), reread
        self.evaluations = 0
        self._old: Tensor | None = None

    def before(self) -> None:
        if self._reread is not None:
            self._old = self._evaluate()

    def after(self) -> Estimate:
        old, self._old = self._old, None
        if old is None:
            new = self._evaluate()
            return Estimate(new.mean(), _error(new))
        if self._reread == "paired":
            self.evaluations -= self._batches  # the same batches and noise once more
        new = self._evaluate()
        old = old.to(new.device)  # a checkpoint may have brought it from elsewhere
        paired = self._reread == "paired" and len(new) == len(old)  # it may be of other batches, too
        error = _error(new - old) if paired else (_error(new) ** 2 + _error(old) ** 2) ** 0.5
        return Estimate(new.mean(), _error(new), old.mean(), error)

    def forget(self) -> None:
        self._old = None

    def _evaluate(self) -> Tensor:
        terms = []
        with inference(self._modules):
            for _ in range(self._batches):
                seed_all(self._seed * 1_000_003 + self.evaluations)
                self.evaluations += 1
                terms.append(torch.as_tensor(self._function(), dtype=torch.float64).reshape(-1))
        return torch.cat(terms)

    def state_dict(self) -> dict[str, Any]:
        return {"evaluations": self.evaluations, "old": self._old}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.evaluations = state["evaluations"]
        self._old = state["old"]


def _error(terms: Tensor) -> Tensor | float:
    """Standard error of the mean of independent terms; NaN for a single one."""
    return terms.std() / math.sqrt(len(terms)) if len(terms) > 1 else math.nan


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
