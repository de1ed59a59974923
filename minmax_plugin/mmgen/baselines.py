"""The methods that the algorithm is compared with, inside MMGeneration: optimizers and hooks for configs.

Alternating descent-ascent is the toolkit itself, with ``disc_steps`` ascent steps. Unrolling and LEAD are models
(``minmax_plugin.mmgen.rounds``). Simultaneous descent-ascent does not fit the toolkit's ``train_step``. It is for
plain loops (``minmax_plugin.baselines``).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmcv.parallel import is_module_wrapper
from mmcv.runner import HOOKS, OPTIMIZERS, Hook
from torch.optim import Optimizer

from minmax_plugin.baselines import ExtraAdam, LookaheadMinmax, OptimisticAdam, TiAda, couple
from minmax_plugin.checks import check_above_0
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer, register_minmax_optimizers

WITHOUT_MINMAX = ("LookaheadMinmaxHook", "RandomAscent", "TiAdaHook")  # hooks that take its place
NOT_TOGETHER = "{} and MinMaxHook cannot go together: remove one from custom_hooks."

for optimizer in (OptimisticAdam, TiAda):
    OPTIMIZERS.register_module(module=optimizer)


@OPTIMIZERS.register_module()
class AlternatingExtraAdam(ExtraAdam):
    """:class:`ExtraAdam` for the toolkit's loop: odd steps extrapolate, even steps step from the point before.

    It is extragradient with a new batch for each of its two gradients, as in the code of its paper. One update costs
    two runner iterations, so ``total_iters`` and the learning-rate schedule count double. The players take turns, as
    the toolkit has it. So the generator's gradients are taken after the discriminator's move of the same iteration,
    not at the same point as in the paper. Both players must use it, with ``disc_steps=1``.

    After an odd iteration the weights are the extrapolated ones. So give averages, checkpoints and samples even
    intervals. A checkpoint in between resumes correctly all the same.

    Examples:
        >>> p = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = OPTIMIZERS.build(dict(type="AlternatingExtraAdam", params=[p], lr=0.1))
        >>> for gradient in (1.0, -1.0):
        ...     p.grad = torch.full((1,), gradient)
        ...     optimizer.step()
        ...     print(f"{p.item():.2f}")
        -0.10
        0.01
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        if self.extrapolated:
            return super().step(closure)
        self.extrapolate()
        return None


@HOOKS.register_module()
class LookaheadMinmaxHook(Hook):
    """Joint backtracking of both players, every ``period`` generator turns. See :class:`LookaheadMinmax`.

    It runs before all other hooks, at any priority. Where it backtracks, averages, checkpoints and samples see the
    slow weights. In between they see the fast ones. A hook whose interval is a multiple of ``period * disc_steps``
    sees slow weights alone. Checkpoints hold the slow weights with the optimizers.

    Args:
        period: The number of generator turns from one backtracking to the next, 1 or more.
        alpha: The share of the way that is kept, above 0 and up to 1.

    Raises:
        ValueError: Before the first iteration, if a setting is out of range. Also if the model has not one optimizer
            for each player, or under :class:`MinMaxHook`.

    Examples:
        >>> HOOKS.build(dict(type="LookaheadMinmaxHook", period=5)).alpha
        0.5
    """

    def __init__(self, period: int = 5, alpha: float = 0.5) -> None:
        self.period = period
        self.alpha = alpha

    def before_run(self, runner: Any) -> None:
        players = _optimizer(runner, "generator"), _optimizer(runner, "discriminator")
        if any(isinstance(player, MinMaxOptimizer) for player in players):
            raise ValueError(NOT_TOGETHER.format(type(self).__name__))
        model = runner.model.module if is_module_wrapper(runner.model) else runner.model
        self._disc_steps = model.disc_steps
        self._lookahead = LookaheadMinmax(*players, self.period, self.alpha)
        # Safe while the runner iterates over this list: later entries do not move.
        runner.hooks.remove(self)
        runner.hooks.insert(0, self)

    def after_train_iter(self, runner: Any) -> None:
        if self.every_n_iters(runner, self._disc_steps):  # the generator has had its turn
            self._lookahead.step()


@HOOKS.register_module()
class TiAdaHook(Hook):
    """Tells the generator's :class:`TiAda` of the discriminator's gradients. Both players must use that optimizer.

    The players take turns, as the toolkit has it. So the generator's gradient is taken after the discriminator's step,
    not at the same point as in the paper.

    Raises:
        ValueError: Before the first iteration, if a player has another optimizer, or under :class:`MinMaxHook`. Also
            if the generator's exponent is not above the discriminator's.

    Examples:
        >>> HOOKS.build(dict(type="TiAdaHook")).reads_weights
        False
    """

    reads_weights = False

    def before_run(self, runner: Any) -> None:
        players: list[Any] = []
        for name in ("generator", "discriminator"):
            players.append(_optimizer(runner, name))
            if isinstance(players[-1], MinMaxOptimizer):
                raise ValueError(NOT_TOGETHER.format(type(self).__name__))
            if not isinstance(players[-1], TiAda):
                kind = type(players[-1]).__name__
                raise ValueError(f"optimizer.{name}.type must be 'TiAda' for TiAdaHook, but is {kind!r}.")
        couple(*players)


@HOOKS.register_module()
class RandomAscent(Hook):
    """Plain descent-ascent with a fractional number of ascent steps: the next whole number up or down, at random.

    It is a control. Where a rejection restores the generator alone, the discriminator's steps survive it. So there
    are more than k of them for each accepted generator step. This hook gives plain descent-ascent as many.

    Args:
        mean: The average number of ascent steps in a cycle, 1 or more. It takes the place of ``disc_steps``.
        seed: The seed of the draws.

    Raises:
        ValueError: If ``mean`` is below 1. Before the first iteration, under :class:`MinMaxHook`.

    Examples:
        >>> turns = RandomAscent(mean=2.5)._turns()
        >>> ends = [next(turns) for _ in range(1000)]
        >>> 2.4 < (ends[-1] + 1) / 1000 < 2.6
        True
    """

    reads_weights = False

    def __init__(self, mean: float, seed: int = 0) -> None:
        if not mean >= 1:
            raise ValueError(f"mean must be 1 or more ascent steps, but got {mean!r}.")
        self.mean, self.seed = mean, seed

    def before_run(self, runner: Any) -> None:
        if isinstance(_optimizer(runner, "generator"), MinMaxOptimizer):
            raise ValueError(NOT_TOGETHER.format(type(self).__name__))
        self._model = runner.model.module if is_module_wrapper(runner.model) else runner.model
        self._ends = self._turns()  # drawn again from the start, so that a resumed run has the same
        self._turn = next(end for end in self._ends if end >= runner.iter)

    def before_train_iter(self, runner: Any) -> None:
        if runner.iter > self._turn:
            self._turn = next(self._ends)
        # The toolkit steps the generator where the iterations so far are a multiple of disc_steps.
        self._model.disc_steps = 1 if runner.iter == self._turn else sys.maxsize

    def _turns(self) -> Iterator[int]:
        """Yield the iterations in which the generator has its turn, from 0."""
        draws, end = random.Random(self.seed), -1
        while True:
            end += int(self.mean) + (draws.random() < self.mean % 1)
            yield end


@HOOKS.register_module()
class ClipWeights(Hook):
    """Clip the discriminator's weights to [−limit, limit] after each of its steps.

    It clips before the generator's gradient is taken, so not at the end of an iteration. It is for a Wasserstein loss
    without a penalty, ``gan_loss=dict(type="GANLoss", gan_type="wgan")``. With :class:`OptimisticAdam` for both
    players this is the baseline "OMD" of arXiv:2006.12376. Its released code has ``limit=0.1``. Weights are all that
    the discriminator's optimizer trains, biases included.

    Args:
        limit: The bound of each weight, above 0.

    Raises:
        ValueError: If ``limit`` is not above 0. Before the first iteration, if the model has no optimizer for the
            discriminator.

    Examples:
        >>> HOOKS.build(dict(type="ClipWeights", limit=0.01)).limit
        0.01
    """

    def __init__(self, limit: float = 0.1) -> None:
        check_above_0("limit", limit)
        self.limit = limit

    def before_run(self, runner: Any) -> None:
        _optimizer(runner, "discriminator").register_step_post_hook(self._clip)

    @torch.no_grad()
    def _clip(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.clamp_(-self.limit, self.limit)


def _optimizer(runner: Any, name: str) -> Optimizer:
    optimizer = runner.optimizer.get(name) if isinstance(runner.optimizer, Mapping) else None
    if optimizer is None:
        raise ValueError(f"optimizer.{name} is missing: this hook needs a model with one optimizer for each player.")
    return optimizer


register_minmax_optimizers()  # of the toolkit, and those of this file
