"""The training hook: runs the algorithm inside the toolkit's own loop."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmcv.runner import HOOKS, Hook
from mmcv.runner.dist_utils import get_dist_info

from minmax_plugin.acceptance import build_acceptance
from minmax_plugin.game import Decision, MinMaxGame
from minmax_plugin.mmgen.estimates import ValueSetting
from minmax_plugin.mmgen.gans import gan_of
from minmax_plugin.mmgen.metrics import truncate_lines
from minmax_plugin.mmgen.observers import is_due, observers
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer
from minmax_plugin.mmgen.run_state import LastOfAll, RunState
from minmax_plugin.presets import preset as settings_of
from minmax_plugin.snapshot import Restore, found_inf
from minmax_plugin.value import inference


@HOOKS.register_module()
class MinMaxHook(Hook):
    """Train a toolkit GAN by proposals that are kept or taken back (arXiv:2006.12376).

    The toolkit runs k discriminator steps and then one generator step. Under this hook the generator's
    ``step()`` only marks its gradient as pending; before the next iteration the hook applies it, as the
    proposal; when the toolkit turns to the generator again (its ``zero_grad()``), the discriminator's phase is
    over: the hook reads f, decides, and keeps or restores; the toolkit then computes the next generator
    gradient at the decided pair. k comes from the config (``disc_steps``, and accumulation). After an iteration,
    other hooks only see decided pairs. So averaged weights, checkpoints and the generator at the end of training
    lag one generator step behind the plain loop.

    Where a cycle has several generator steps, they are taken at once and are one proposal. Where the toolkit
    changes networks or optimizers on the way (progressive growing), the last step before that is kept without a
    test, since f is another function afterwards, and f_old is read anew.

    The hook moves itself to the front of the runner's hooks, whatever priority it was given: the pending
    step must be taken before the learning-rate hooks of the next iteration run.

    A setting that is ``None`` is the preset's.

    Args:
        preset: ``practical``, ``paper``, ``released-gaussians`` or ``released-mnist``; see
            :mod:`minmax_plugin.presets`.
        acceptance: the policy's name, or a dict with ``type`` and its arguments; see
            :mod:`minmax_plugin.acceptance`.
        value: what f is read from, a name or a dict with ``type`` and options. ``paired``: both values on one batch,
            with one noise, in inference mode, so that most of the noise cancels; the presets take an eighth of the
            batch (``fraction``), which is cheap and mostly right. ``fresh``: f_new on a batch of its own, f_old as
            the kept pair was kept with (the paper's). ``last``: the last ascent step's own forward pass (free; before
            that step, and of two batches, as ``fresh`` is). Options of ``fresh`` and ``paired``: ``batches`` to
            average (1), ``fraction`` of the batch to use, at least 8 samples (1.0), and for ``fresh``,
            ``reread=True`` to read f_old again, on a batch of its own.
        restore: what a rejection puts back: ``both`` players, or the ``generator`` alone.
        restore_moments: whether the restored players' optimizer states go back too.
        restore_buffers: whether the restored players' buffers (batch norm, spectral norm) go back too.
        track: whether a rejected f_new becomes f_old all the same.
        ascent_steps: k, as a check: an error if the config says otherwise.
        ascent_tolerance: ε'; once ‖∇y f‖ is at most this, the cycle's remaining discriminator steps are
            skipped, so that ``disc_steps`` is a cap. Costs a synchronisation a step.
        r_max: rejections in a row above which ``escape`` applies; ``None`` for never.
        escape: ``stop`` ends the training there, ``accept`` keeps the proposal, ``raise`` raises.
        guard: capture both players whole, so that any non-finite state can be undone.
        max_nonfinite: non-finite proposals in a row before giving up.
        pool: batches of real images held in memory for ``fresh`` and ``paired``.
        record: write each decision to ``decisions.jsonl`` in the work dir.
        seed: of the acceptance draw and of the fresh evaluations; if not given, the seed of the run, and where one is
            resumed, that of its beginning.

    Raises:
        ValueError: for an unknown or contradictory setting, at build time; for a model that MinMax cannot
            drive, before the first iteration.

    Examples:
        >>> MinMaxHook(acceptance=dict(type="constant", rate=0.25), restore="generator").acceptance.rate
        0.25
    """

    reads_weights = False  # for the observers that it shows the decided pair to, it is none

    def __init__(
        self,
        preset: str = "practical",
        acceptance: str | dict[str, Any] | None = None,
        value: str | dict[str, Any] | None = None,
        restore: str | None = None,
        restore_moments: bool | None = None,
        restore_buffers: bool | None = None,
        track: bool | None = None,
        ascent_steps: int | None = None,
        ascent_tolerance: float | None = None,
        r_max: int | None = None,
        escape: str = "stop",
        guard: bool = False,
        max_nonfinite: int = 10,
        pool: int = 8,
        record: bool = False,
        seed: int | None = None,
    ) -> None:
        chosen = settings_of(
            preset,
            acceptance=acceptance,
            value=value,
            restore=restore,
            restore_moments=restore_moments,
            restore_buffers=restore_buffers,
            track=track,
        )
        if ascent_steps is not None and ascent_steps < 1:
            raise ValueError(f"ascent_steps must be 1 or more, but got {ascent_steps!r}.")
        if ascent_tolerance is not None and not ascent_tolerance > 0:
            raise ValueError(f"ascent_tolerance must be above 0, but got {ascent_tolerance!r}.")
        if pool < 1:
            raise ValueError(f"pool must be 1 batch or more, but got {pool!r}.")
        self.acceptance = build_acceptance(chosen["acceptance"])
        self.value = ValueSetting.parse(chosen["value"])
        if self.value.kind == "last" and self.acceptance.needs_error:
            raise ValueError(
                "value='last' has no standard error, by which this acceptance decides: use value='fresh' or 'paired'."
            )
        self.restore = Restore.named(chosen["restore"], chosen["restore_moments"], chosen["restore_buffers"])
        self.game_settings = dict(
            track=chosen["track"], r_max=r_max, escape=escape, guard=guard, max_nonfinite=max_nonfinite
        )
        _check_game(self.game_settings)
        self.ascent_steps, self.ascent_tolerance = ascent_steps, ascent_tolerance
        self.pool_batches, self.record, self.seed = pool, record, seed
        self.decision: Decision | None = None
        self.counts = {"disc_steps": 0, "images": 0}
        self._pending = False  # the generator has a gradient that has not been applied
        self._proposing = False  # it is being applied now
        self._responded = False  # the discriminator has had its phase since the last decision
        self._answered = False  # the ascent has reached its tolerance in this cycle
        self._accumulating = False  # the discriminator has a gradient that it has not stepped with
        self._observers: list[Hook] | None = None
        self._bound: Any = None  # the optimizers that are driven
        self._pool: list[Any] = []  # real batches for fresh evaluations
        self.game: Any = None  # a MinMaxGame, as soon as there are optimizers

    # --- the runner's side -------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        self._runner = runner
        self.gan = gan_of(runner.model)
        k = self.gan.ascent_steps
        if self.ascent_steps not in (None, k):
            raise ValueError(
                f"MinMaxHook has ascent_steps={self.ascent_steps}, but the config's disc_steps and accumulation make "
                f"k={k}; remove ascent_steps or change train_cfg."
            )
        self._state = RunState(runner)
        if runner.optimizer is not None:
            self._bind(runner.optimizer)
        if self.game is not None and self.game.stopped:  # a run that had ended so is at its end again
            runner._max_iters = runner.iter
        if self.gan.builds_optimizers:
            self.gan.generator.register_forward_pre_hook(lambda *_: self._bind_new())
        if self.record and runner.rank == 0:
            decisions = self.game.decisions if self.game else 0
            truncate_lines(self._record_file(), lambda line: line["index"] < decisions)
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
        if self.gan.stage_begins(runner.iter):
            self._end_stage()
        if self._pending:
            self._pending = False
            self._propose()
        elif self.game.guard and not self._responded and not self.game.open:
            self.game.capture()  # no proposal in this cycle, but its start can be restored

    def after_train_iter(self, runner: Any) -> None:
        self.counts["images"] += runner.outputs["num_samples"] * runner.world_size
        if self.decision is not None:
            self._log(runner, self.decision)
        if self.game.stopped:
            runner.logger.info(f"MinMax stops: {self.game.rejections} rejections in a row.")
            runner._max_iters = runner.iter + 1
        if self.game.open and any(is_due(hook, runner) for hook in self._observers_of(runner)):
            self.game.swap()

    def after_run(self, runner: Any) -> None:
        game, n = self.game, self.counts
        if game is None:
            return
        if game.open:
            game.swap()  # what is left in memory is the decided pair, as in the last checkpoint
        runner.logger.info(
            f"MinMax: {game.decisions} cycles (k = {self.gan.ascent_steps}), {game.accepted} of {game.proposals} "
            f"proposals accepted; {n['disc_steps']} discriminator steps on {n['images']} images."
        )

    # --- the optimizers' side ----------------------------------------------------------------------------

    def on_step(self, optimizer: MinMaxOptimizer, step: Callable[[], Any]) -> Any:
        """What a facade's ``step()`` does: see :class:`MinMaxOptimizer`."""
        if optimizer is self.gan.max_optimizer:
            self._accumulating = False
            if self.ascent_tolerance is not None and not self._answered:
                self._answered = bool(self.game.max_player.gradient_norm() <= self.ascent_tolerance)
            if self._answered:
                return None
            self.counts["disc_steps"] += 1
            return step()
        if self._proposing:
            return step()
        if self.gan.generator_steps > 1:  # all of a cycle's are one proposal, taken as they come
            return step() if self.game.open else self._propose()
        self._pending = not found_inf(optimizer)  # type: ignore[arg-type]
        return None

    def on_zero_grad(self, optimizer: MinMaxOptimizer) -> None:
        """Before a facade's ``zero_grad()``: the generator's says that the discriminator's phase is over."""
        if optimizer is self.gan.max_optimizer:
            self._responded = self._accumulating = True
        elif self._responded:
            self._responded = self._answered = False
            self.decision = self.game.decide()
            if not self.decision.accepted:
                self.gan.after_rejection()
            if self.record and self._runner.rank == 0:
                line = {k: None if v != v else v for k, v in dataclasses.asdict(self.decision).items()}  # NaN: null
                with open(self._record_file(), "a") as file:
                    file.write(json.dumps(line) + "\n")

    def game_state(self) -> dict[str, Any]:
        """What an exact resume needs, as the generator's checkpoint carries it."""
        phase = {"pending": self._pending, "answered": self._answered, "responded": self._responded}
        run: dict[str, Any] = {"gan": self.gan.state_dict(), "run": self._state.state_dict()}
        if self.decision is not None:
            run["decision"] = dataclasses.asdict(self.decision)
        if self._accumulating:
            run["accumulated"] = [None if p.grad is None else p.grad.clone() for p in self.game.max_player.parameters]
        return {**phase, **run, "seed": self.seed, "counts": dict(self.counts), "game": self.game.state_dict()}

    def load_game_state(self, state: dict[str, Any]) -> None:
        self.game.load_state_dict(state["game"])
        self._pending, self._answered, self._responded = (state[n] for n in ("pending", "answered", "responded"))
        self.counts.update(state["counts"])
        self.decision = Decision(**state["decision"]) if "decision" in state else None
        for parameter, gradient in zip(self.game.max_player.parameters, state.get("accumulated", []), strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        if "run" in state:
            self.gan.load_state_dict(state["gan"])
            self._state.load_state_dict(state["run"])
        else:
            warnings.warn(
                "the checkpoint is of an earlier version of minmax_plugin: it resumes, but data and random numbers are "
                "drawn anew.",
                stacklevel=2,
            )
        self.show_proposal()  # a checkpoint in mid-cycle holds the decided pair in its place

    def show_proposal(self) -> None:
        """Undo the exchange that showed the other hooks the decided pair."""
        if self.game is not None and self.game.swapped:
            self.game.swap()

    # --- parts -------------------------------------------------------------------------------------------

    def _bind(self, optimizers: Any) -> None:
        """Take the players over: at the start, and wherever the model has built its optimizers anew."""
        players = self.gan.bind(optimizers)
        for optimizer in (self.gan.min_optimizer, self.gan.max_optimizer):
            optimizer.driver = self
        self.gan.min_optimizer.leads = True
        self._bound = optimizers
        if self.game is not None:
            self.game.replace(*players)
            return
        runner = self._runner
        loaded = self.gan.min_optimizer.loaded_game
        if self.seed is None:  # of the run that is resumed, whose readings of f go on
            self.seed = (loaded or {}).get("seed", (runner.meta or {}).get("seed")) or 0
        own_seed = self.seed + 1009 * get_dist_info()[0]
        estimator = self.value.estimator(self.gan, lambda: self._fresh_batch(own_seed), own_seed)
        self.game = MinMaxGame(*players, self.acceptance, self.restore, estimator, self.seed, **self.game_settings)
        if loaded is not None:
            self.load_game_state(loaded)
            self.gan.min_optimizer.loaded_game = None
            self.gan.model.iteration = runner.iter  # where the toolkit counts by itself, it would start from 0

    def _bind_new(self) -> None:
        # Runs when the generator first does, and that is in the discriminator's phase, past its zero_grad().
        built = getattr(self.gan.model, "optimizer", None)
        if built is not None and built is not self._bound:
            self._bind(built)
            self._responded = True
            if self.game.guard:
                self.game.capture()

    def _propose(self) -> None:
        self._proposing = True
        self.game.propose()
        self._proposing = False

    def _end_stage(self) -> None:
        """Take a pending step and keep it untested: its answer would be given by other networks."""
        if self._pending:
            self._pending, self._proposing = False, True
            self.gan.min_optimizer.step()
            self._proposing = False
        self.game.close()
        self._answered = False
        self._pool.clear()  # the data may change with the stage

    def _fresh_batch(self, seed: int) -> Any:
        """A batch of real images from the pool, which is loaded at the first need."""
        if not self._pool:
            with inference([], seed):
                self._pool.extend(self.gan.load_pool(self._runner.data_loader._dataloader, self.pool_batches))
        return self._pool[int(torch.randint(len(self._pool), ()))]

    def _record_file(self) -> Path:
        return Path(self._runner.work_dir) / "decisions.jsonl"

    def _observers_of(self, runner: Any) -> list[Hook]:
        if self._observers is None:
            self._observers = observers(runner)
        return self._observers

    def _log(self, runner: Any, decision: Decision) -> None:
        # Repeated each iteration, so that the toolkit's average over its log interval weighs all alike.
        shown = {
            "acceptance": float(decision.accepted),
            "f_new": decision.f_new,
            "f_old": decision.f_old,
            "f_change": decision.f_new - decision.f_old,
            "standard_error": decision.standard_error,
            "rejections": float(decision.rejections),
        }
        runner.log_buffer.update({k: v for k, v in shown.items() if math.isfinite(v)}, 1)
        runner.log_buffer.output.update(cycle=decision.index + 1, reason=decision.reason)


def _check_game(settings: dict[str, Any]) -> None:
    """Let the game check its settings now, before there is anything to train."""
    x, y = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]) for _ in range(2))
    MinMaxGame(x, y, **settings)
