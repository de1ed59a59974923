"""The training hook: runs the algorithm inside the toolkit's own loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmcv.runner import HOOKS, CheckpointHook, Hook, IterTimerHook, LoggerHook
from mmgen.core.hooks import ExponentialMovingAverageHook

from minmax_plugin.acceptance import build_acceptance
from minmax_plugin.game import Decision, MinMaxGame
from minmax_plugin.mmgen.gan import GAN
from minmax_plugin.mmgen.metrics import SampleMetrics
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer
from minmax_plugin.snapshot import Restore
from minmax_plugin.value import FreshBatch, inference

VALUES = ("auto", "last", "fresh")


@HOOKS.register_module()
class MinMaxHook(Hook):
    """Train a toolkit GAN by proposals that are kept or taken back (arXiv:2006.12376).

    The toolkit runs k discriminator steps and then one generator step. Under this hook the generator's
    ``step()`` only marks its gradient as pending; before the next iteration the hook applies it, as the
    proposal; after the k-th discriminator step it reads f, decides, and keeps or restores; the toolkit then
    computes the next generator gradient at the decided pair. k comes from the config (``disc_steps``, and
    accumulation). Other hooks only see decided pairs. So averaged weights, checkpoints and the generator at
    the end of training lag one generator step behind the plain loop.

    The hook moves itself to the front of the runner's hooks, whatever priority it was given: the pending
    step must be taken before the learning-rate hooks of the next iteration run.

    Args:
        acceptance: the policy's name, or a dict with ``type`` and its arguments: ``strict`` (slack),
            ``constant`` (rate or tau, slack), and the controls ``always``, ``never``, ``random`` (rate).
        value: what f is read from: ``last``, the last ascent step (free; before that step); ``fresh``, a
            batch of its own in inference mode after it; ``auto``, ``fresh`` for k = 1 and else ``last``.
        restore: what a rejection puts back: ``both`` players, or the ``generator`` alone.
        restore_moments: whether the restored players' optimizer states go back too.
        restore_buffers: whether the restored players' buffers (batch norm, spectral norm) go back too.
        ascent_steps: k, as a check: an error if the config says otherwise.
        pool: batches of real images held in memory for ``fresh``.
        seed: of the acceptance draw and of the fresh evaluations; the run's seed if not given.

    Raises:
        ValueError: for an unknown or contradictory setting, at build time; for a model that MinMax cannot
            drive, before the first iteration.

    Example:
        >>> MinMaxHook(acceptance=dict(type="constant", rate=0.25), restore="generator").acceptance.rate
        0.25
    """

    def __init__(
        self,
        acceptance: str | dict[str, Any] = "constant",
        value: str = "auto",
        restore: str = "both",
        restore_moments: bool = True,
        restore_buffers: bool = True,
        ascent_steps: int | None = None,
        pool: int = 8,
        seed: int | None = None,
    ) -> None:
        if value not in VALUES:
            raise ValueError(f"value must be one of {list(VALUES)}, but got {value!r}.")
        if ascent_steps is not None and ascent_steps < 1:
            raise ValueError(f"ascent_steps must be 1 or more, but got {ascent_steps!r}.")
        if pool < 1:
            raise ValueError(f"pool must be 1 batch or more, but got {pool!r}.")
        self.acceptance = build_acceptance(acceptance)
        self.value = value
        self.restore = Restore.named(restore, restore_moments, restore_buffers)
        self.ascent_steps = ascent_steps
        self.pool_batches = pool
        self.seed = seed
        self.decision: Decision | None = None
        self.counts = {"disc_steps": 0, "images": 0}
        self._pending = False  # the generator has a gradient that has not been applied
        self._proposing = False  # it is being applied now
        self._swapped = False  # the decided pair is shown in place of the open proposal
        self._ascents = 0
        self._observers: list[Hook] | None = None

    # --- the runner's side -------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        self._runner = runner
        self.gan = GAN(runner.model, runner.optimizer)
        k = self.gan.ascent_steps
        if self.ascent_steps not in (None, k):
            raise ValueError(
                f"MinMaxHook has ascent_steps={self.ascent_steps}, but the config's disc_steps and accumulation make "
                f"k={k}; remove ascent_steps or change train_cfg."
            )
        seed = self.seed if self.seed is not None else ((runner.meta or {}).get("seed") or 0)
        self._read_value = self._estimator(k, seed)
        min_player, max_player = self.gan.players
        self.game = MinMaxGame(min_player, max_player, self.acceptance, self.restore, seed)
        self.gan.min_optimizer.leads = True
        for optimizer in (self.gan.min_optimizer, self.gan.max_optimizer):
            optimizer.driver = self
        if self.gan.min_optimizer.loaded_game is not None:
            self.load_game_state(self.gan.min_optimizer.loaded_game)
        # Safe while the runner walks this list: what lies ahead of us in it does not move.
        runner.hooks.remove(self)
        runner.hooks.insert(0, self)
        runner.register_hook(_ProposalReturns(self), priority="LOWEST")

    def before_train_iter(self, runner: Any) -> None:
        if self._pending:
            self._pending, self._ascents, self._proposing = False, 0, True
            self.game.propose()
            self._proposing = False

    def after_train_iter(self, runner: Any) -> None:
        self.counts["images"] += runner.outputs["num_samples"] * runner.world_size
        if self.decision is not None:
            self._log(runner, self.decision)
        if self.game.open and any(_is_due(hook, runner) for hook in self._observers_of(runner)):
            self.game.swap()
            self._swapped = True

    def show_proposal(self) -> None:
        """Undo the exchange that showed the other hooks the decided pair."""
        if self._swapped:
            self._swapped = False
            self.game.swap()

    def after_run(self, runner: Any) -> None:
        game, n = self.game, self.counts
        runner.logger.info(
            f"MinMax: {game.decisions} cycles (k = {self.gan.ascent_steps}), {game.accepted} accepted; "
            f"{n['disc_steps']} discriminator steps on {n['images']} images."
        )

    # --- the optimizers' side ----------------------------------------------------------------------------

    def on_step(self, optimizer: MinMaxOptimizer, step: Callable[[], Any]) -> Any:
        """What a facade's ``step()`` does: see :class:`MinMaxOptimizer`."""
        if optimizer is self.gan.max_optimizer:
            result = step()
            self._ascents += 1
            self.counts["disc_steps"] += 1
            if self._ascents == self.gan.ascent_steps:
                self.decision = self.game.decide(self._read_value())
            return result
        if self._proposing:
            return step()
        self._pending = True
        return None

    def game_state(self) -> dict[str, Any]:
        """The game's counters, f_old and random states, as the generator's checkpoint carries them."""
        evaluations = self._read_value.evaluations if isinstance(self._read_value, FreshBatch) else 0
        return {"game": self.game.state_dict(), "counts": dict(self.counts), "evaluations": evaluations}

    def load_game_state(self, state: dict[str, Any]) -> None:
        self.game.load_state_dict(state["game"])
        self.counts.update(state["counts"])
        if isinstance(self._read_value, FreshBatch):
            self._read_value.evaluations = state["evaluations"]

    # --- parts -------------------------------------------------------------------------------------------

    def _estimator(self, k: int, seed: int) -> Callable[[], Any]:
        kind = self.value if self.value != "auto" else ("fresh" if k == 1 else "last")
        if kind == "last":
            if k == 1:
                warnings.warn(
                    "MinMaxHook(value='last') with k = 1 reads f before the discriminator has answered the proposal, "
                    "which is not the algorithm; use value='fresh', or disc_steps of 2 or more.",
                    stacklevel=2,
                )
            return self.gan.last_value
        pool: list[Any] = []

        def fresh() -> torch.Tensor:
            if not pool:
                with inference([], seed):
                    pool.extend(self.gan.load_pool(self._runner.data_loader._dataloader, self.pool_batches))
            return self.gan.fresh_value(pool[int(torch.randint(len(pool), ()))])

        return FreshBatch(fresh, [self.gan.generator, self.gan.discriminator], seed)

    def _observers_of(self, runner: Any) -> list[Hook]:
        if self._observers is None:
            self._observers = _observers(runner)
        return self._observers

    def _log(self, runner: Any, decision: Decision) -> None:
        # Repeated each iteration, so that the toolkit's average over its log interval weighs all alike.
        shown = {"acceptance": float(decision.accepted), "f_new": decision.f_new, "f_old": decision.f_old}
        runner.log_buffer.update({k: v for k, v in shown.items() if math.isfinite(v)}, 1)
        runner.log_buffer.output.update(cycle=decision.index + 1, reason=decision.reason)


class _ProposalReturns(Hook):
    """Runs after all other hooks: gives the open proposal its place back for the rest of its cycle."""

    def __init__(self, minmax: MinMaxHook) -> None:
        self._minmax = minmax

    def after_train_iter(self, runner: Any) -> None:
        self._minmax.show_proposal()


def _observers(runner: Any) -> list[Hook]:
    """The hooks that may look at the weights after an iteration."""
    blind = (MinMaxHook, _ProposalReturns, LoggerHook, IterTimerHook)
    return [h for h in runner.hooks if not isinstance(h, blind) and "after_train_iter" in h.get_triggered_stages()]


def _is_due(hook: Hook, runner: Any) -> bool:
    """Whether ``hook`` will do anything after this iteration; a hook that is not known always may."""
    if isinstance(hook, (CheckpointHook, ExponentialMovingAverageHook, SampleMetrics)):
        return hook.every_n_iters(runner, hook.interval) or hook.is_last_iter(runner)
    return True
