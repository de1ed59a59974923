"""The training hook: runs the algorithm inside the toolkit's own loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from mmcv.runner import HOOKS, Hook
from mmcv.runner.dist_utils import get_dist_info

from minmax_plugin.decision import Decision
from minmax_plugin.estimators import Estimator
from minmax_plugin.hosted import HostedGame, Turn
from minmax_plugin.mmgen.adapters import adapter_of
from minmax_plugin.mmgen.estimates import make_estimator
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer
from minmax_plugin.mmgen.run_state import LastOfAll, RunState
from minmax_plugin.mmgen.weight_reading import is_due, weight_reading_hooks
from minmax_plugin.recorder import log_values
from minmax_plugin.settings import DEFAULT_PRESET, MinMaxSettings


@HOOKS.register_module()
class MinMaxHook(HostedGame, Hook):
    """Train a toolkit GAN by proposals that are accepted or rolled back (arXiv:2006.12376).

    The toolkit runs k discriminator steps and then one generator step. Under this hook the generator's ``step()`` is
    deferred: its gradient is pending. Before the next iteration the hook applies it, as the proposal. The
    discriminator's steps follow. When the toolkit turns to the generator again (its ``zero_grad()``), the hook reads f
    and decides. The toolkit then computes the next generator gradient at the incumbent.

    k comes from the config (``disc_steps``, and accumulation). After an iteration, other hooks only see incumbents.
    So averaged weights and checkpoints lag one generator step behind the plain loop.

    Several generator steps in a cycle are taken at once and are one proposal. Progressive growing changes
    networks and optimizers. The last step before that is accepted without a test. f is another function afterwards, so
    f_old is read again.

    The hook moves itself to the front of the runner's hooks, at any priority. The pending step must be
    taken before the learning-rate hooks of the next iteration run.

    Args:
        settings: those of :class:`~minmax_plugin.MinMaxSettings`, by name.

    Raises:
        ValueError: for an unknown or contradictory setting, at build time; for a model that MinMax cannot
            drive, before the first iteration.

    Examples:
        >>> MinMaxHook(acceptance=dict(type="constant", rate=0.25), restore="generator").settings.policy.rate
        0.25
    """

    reads_weights = False  # it is none of the hooks that it shows the incumbent to

    def __init__(self, **settings: Any) -> None:
        super().__init__(MinMaxSettings.from_dict(settings))
        self._names_preset = "preset" in settings
        self._weight_readers: list[Hook] | None = None
        self._bound: Any = None  # the optimizers that are driven

    # --- the runner's side -------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        self._runner = runner
        self.adapter = adapter_of(runner.model)
        k = self.adapter.ascent_steps
        if self.settings.ascent_steps not in (None, k):
            raise ValueError(
                f"MinMaxHook has ascent_steps={self.settings.ascent_steps}, but the config's disc_steps and "
                f"accumulation make k={k}; remove ascent_steps or change train_cfg."
            )
        self._state = RunState(runner)
        if runner.optimizer is not None:
            self._bind(runner.optimizer)
        if self.game is not None and self.game.stopped:  # a run that had ended so is at its end again
            runner._max_iters = runner.iter
        if self.adapter.builds_optimizers:
            self.adapter.generator.register_forward_pre_hook(lambda *_: self._bind_new())
        if runner.rank == 0:
            self.record_in(runner.work_dir)
        # Safe while the runner walks this list: what lies ahead of us in it does not move.
        runner.hooks.remove(self)
        runner.hooks.insert(0, self)
        runner.register_hook(LastOfAll(self._state, self.show_proposal), priority="LOWEST")

    def before_fetch_train_data(self, runner: Any) -> None:
        self._state.before_batch()

    def before_train_iter(self, runner: Any) -> None:
        self._state.before_batch(getattr(runner, "data_batch", None))
        if self.game is None:
            return
        if self.adapter.stage_begins(runner.iter):
            self._end_stage()
        self.begin_iteration()

    def after_train_iter(self, runner: Any) -> None:
        self.counts["images"] += runner.outputs["num_samples"] * runner.world_size
        if self.decision is not None:
            self._log(runner, self.decision)
        if self.game.stopped:
            runner.logger.info(f"MinMax stops: {self.game.rejections} rejections in a row.")
            runner._max_iters = runner.iter + 1
        if self.game.open and any(is_due(hook, runner) for hook in self._weight_readers_of(runner)):
            self.show_incumbent()

    def after_run(self, runner: Any) -> None:
        if self.game is None:
            return
        self.show_incumbent()  # what is left in memory is the incumbent, as in the last checkpoint
        runner.logger.info(self.summary(self.adapter.ascent_steps))

    # --- the optimizers' side ----------------------------------------------------------------------------

    def takes_step(self, optimizer: MinMaxOptimizer) -> bool:
        """Whether an optimizer's ``step()`` is taken now; the generator's is deferred to the next proposal."""
        if optimizer is self.adapter.max_optimizer:
            return self.takes_ascent_step()
        return self.takes_descent_step(optimizer, several=self.adapter.generator_steps > 1)  # type: ignore[arg-type]

    def on_zero_grad(self, optimizer: MinMaxOptimizer) -> bool:
        """Before an optimizer's ``zero_grad()``: the generator's says that the discriminator's phase is over."""
        if optimizer is self.adapter.max_optimizer:
            self.begin_ascent()
        else:
            self.begin_descent()
        return True

    def after_rejection(self) -> None:
        self.adapter.after_rejection()

    def say(self, message: str) -> None:
        self._runner.logger.info(f"MinMax: {message}, at iteration {self._runner.iter + 1}.")

    def game_state(self) -> dict[str, Any]:
        """What an exact resume needs, as the generator's checkpoint carries it."""
        gan = self.adapter.progress(self.adapter.model)
        return {**super().game_state(), "gan": gan, "run": self._state.state_dict()}

    def load_game_state(self, state: dict[str, Any]) -> None:
        super().load_game_state(state)
        self.adapter.load_progress(self.adapter.model, state["gan"])
        self._state.load_state_dict(state["run"])
        if "changes" not in state["game"] and not self._names_preset:
            warnings.warn(
                "the checkpoint is of version 0.1.0, whose default preset was 'practical'. This run continues by "
                f"{DEFAULT_PRESET!r}: set MinMaxHook's preset to continue as it began.",
                stacklevel=2,
            )
        self.show_proposal()  # a checkpoint in mid-cycle holds the incumbent in its place

    # --- parts -------------------------------------------------------------------------------------------

    def _bind(self, optimizers: Any) -> None:
        """Take the players over: at the start, and wherever the model has built new optimizers."""
        players = self.adapter.bind(optimizers)
        for optimizer in (self.adapter.min_optimizer, self.adapter.max_optimizer):
            optimizer.driver = self
        self.adapter.min_optimizer.is_min_player = True
        self._bound = optimizers
        if self.game is not None:
            self.game.replace(*players)
            return
        runner = self._runner
        loaded = self.adapter.min_optimizer.loaded_game
        if self.seed is None:  # of the run that is resumed, whose readings of f go on
            self.seed = (loaded or {}).get("seed", (runner.meta or {}).get("seed")) or 0
        self.start(*players, rank=get_dist_info()[0])
        if loaded is not None:
            self.load_game_state(loaded)
            self.adapter.min_optimizer.loaded_game = None
            self.adapter.model.iteration = runner.iter  # where the toolkit counts by itself, it would start from 0

    def make_estimator(self, batch: Callable[[], Any], seed: int) -> Estimator:
        """The estimator of f that the settings ask for; ``batch`` draws real images from the pool."""
        return make_estimator(self.settings.estimated, self.adapter, batch, seed, self.settings.policy.needs_error)

    def _bind_new(self) -> None:
        # Runs when the generator first does, and that is in the discriminator's phase, past its zero_grad().
        built = getattr(self.adapter.model, "optimizer", None)
        if built is not None and built is not self._bound:
            self._bind(built)
            self._turn = Turn.DISCRIMINATOR
            if self.game.recover_nonfinite:
                self.game.capture()

    def _end_stage(self) -> None:
        """Take a pending step and accept it untested: its answer would be given by other networks."""
        if self._turn is Turn.PENDING:
            self._turn = Turn.GENERATOR
            self.adapter.min_optimizer.apply()
        elif self._turn is Turn.ANSWERED:
            self._turn = Turn.DISCRIMINATOR
        self.game.close()
        if self._pool is not None:
            self._pool.clear()  # the data may change with the stage

    def load_pool(self) -> list[Any]:
        return list(self.adapter.load_pool(self._runner.data_loader._dataloader, self.settings.pool))

    def _weight_readers_of(self, runner: Any) -> list[Hook]:
        if self._weight_readers is None:
            self._weight_readers = weight_reading_hooks(runner)
        return self._weight_readers

    def _log(self, runner: Any, decision: Decision) -> None:
        # Repeated each iteration, so that the toolkit's average over its log interval weighs all alike.
        runner.log_buffer.update(log_values(decision), 1)
        runner.log_buffer.output.update(cycle=decision.index + 1, reason=decision.reason)
