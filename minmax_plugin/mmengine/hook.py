"""The training hook: runs the algorithm inside MMEngine's own loop."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from torch import Tensor, nn

from minmax_plugin.hosted import Turn
from minmax_plugin.mmengine.optimizers import is_optimizer, take_over
from minmax_plugin.mmengine.resume import ResumedData, fixed_inputs, load_fixed_inputs
from minmax_plugin.mmengine.value import ORDER, LossReader
from minmax_plugin.mmengine.weight_reading import BLIND, is_due
from minmax_plugin.plain import plain
from minmax_plugin.player import Player
from minmax_plugin.pool import sample_batches, sample_groups
from minmax_plugin.randomness import random_state, set_random_state
from minmax_plugin.recorder import log_values
from minmax_plugin.settings import MinMaxSettings
from minmax_plugin.train_step import ForwardWatch, TrainStepGame
from minmax_plugin.weight_reading import weight_readers


@HOOKS.register_module()
class MinMaxHook(TrainStepGame, Hook):
    """Train a GAN of MMEngine or MMagic by proposals that are accepted or rolled back (arXiv:2006.12376).

    The model's ``train_step`` takes k discriminator steps and then a generator step, in one iteration or several. Under
    this hook the generator's step is deferred: its gradient is pending. Before the next iteration the hook applies it,
    as the proposal. The discriminator's steps follow. When the model enters the generator's ``optim_context``, the
    hook reads f and decides. The model then computes the next generator gradient at the incumbent.

    After an iteration, other hooks only see incumbents. So do averages of weights within ``train_step``. They lag one
    generator step behind the plain loop.

    Several generator steps in a cycle are taken at once and are one proposal. The model says how many there are, by
    the ``initialize_count_status`` of the generator's wrapper.

    The hook moves itself to the front of the runner's hooks, at any priority.

    Args:
        generator: The name of the generator, in the model and in ``optim_wrapper``.
        discriminator: The name of the discriminator.
        settings: Those of :class:`~minmax_plugin.MinMaxSettings`, by name.

    Raises:
        ValueError: For an unknown or contradictory setting, at build time. For a model that MinMax cannot drive,
            before the first generator step.

    Examples:
        >>> MinMaxHook(acceptance=dict(type="constant", rate=0.25), restore="generator").settings.policy.rate
        0.25
    """

    priority = "VERY_HIGH"
    reads_weights = False  # it is none of the hooks that it shows the incumbent to

    def __init__(self, generator: str = "generator", discriminator: str = "discriminator", **settings: Any) -> None:
        super().__init__(MinMaxSettings.from_dict(settings), "the model's discriminator_steps")
        self.names = generator, discriminator
        self._updates = 1  # of the generator in a cycle
        self._left = 0  # updates of the generator in this phase
        self._loaded: dict[str, Any] | None = None
        self._validating = False
        self._weight_readers: list[Hook] = []

    # --- the runner's side -------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        # Safe while the runner walks this list: what lies ahead of us in it does not move.
        runner.hooks.remove(self)
        runner.hooks.insert(0, self)
        self._runner = runner
        if isinstance(runner.optim_wrapper, OptimWrapper):  # not where it only validates or tests
            self._find_players(runner.optim_wrapper)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint.get("minmax")

    def before_train(self, runner: Any) -> None:
        self._take_over(runner.optim_wrapper)
        if runner.iter == 0:  # weights alone were loaded, or nothing
            self._loaded = None
        elif self._loaded is None:
            runner.logger.warning(
                "the checkpoint holds no state of MinMax: f, the incumbent, the counts and the random state start again"
            )
        if self.seed is None:  # of the run that is resumed, whose readings of f go on
            self.seed = (self._loaded or {}).get("seed", runner.seed)
        pairs = zip(self._wrappers, self._modules, strict=True)
        min_player, max_player = (Player(wrapper.optimizer, module) for wrapper, module in pairs)
        self.start(min_player, max_player, runner.rank)
        if self._loaded is not None:
            self._resume(self._loaded)
        if runner.rank == 0:
            self.record_in(runner.work_dir)
        if self.game.stopped:  # a run that had ended so is at its end again
            self._end(runner.iter)
        self._weight_readers = weight_readers(runner.hooks, BLIND)
        runner.message_hub.update_info("iter", runner.iter)  # as MMEngine's own hook does next; a model may read it
        self.try_reading()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.show_proposal()
        pending = self._turn is Turn.PENDING
        self.begin_iteration()
        if pending:
            self._wrappers[0].zero_grad()  # as the model wanted it, right after the step

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.counts["images"] += self._batch_size * runner.world_size
        if self.decision is not None:
            values = {**log_values(self.decision), "cycle": self.decision.index + 1}
            for name, value in values.items():
                runner.message_hub.update_scalar(f"train/{name}", value)
        if self.game.stopped:
            self.say(f"the training stops, after {self.game.rejections} rejections in a row")
            self._end(runner.iter + 1)
        if self.game.open and any(is_due(hook, runner) for hook in self._weight_readers):
            self.show_incumbent()

    def after_train_epoch(self, runner: Any) -> None:
        self.show_incumbent()

    def before_val(self, runner: Any) -> None:
        self.show_incumbent()
        self._validating = True

    def after_val(self, runner: Any) -> None:
        self._validating = False

    def after_run(self, runner: Any) -> None:
        if self.game is not None:
            runner.logger.info(self.summary(self.ascent_steps or self._ascents))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if self.game is not None and "optimizer" in checkpoint:
            checkpoint["minmax"] = {
                **self.game_state(),
                "random": plain(random_state()),
                "validated": self._validating,
                "fixed_inputs": fixed_inputs(runner.hooks),
                "ascents": self._ascents,
                "inner_counts": [wrapper.inner_count for wrapper in self._wrappers],
                "pending_settings": self._wrappers[0].optimizer.pending_state(),
            }

    # --- the model's side --------------------------------------------------------------------------------

    def on_phase(self, wrapper: Any, updates: int | None = None) -> None:
        """A player's phase begins: at the generator's, the proposal is decided."""
        if wrapper is not self._wrappers[0]:
            return
        if self._turn is Turn.PENDING and updates is None:
            raise ValueError(
                f"model.train_step takes several steps of optim_wrapper.{self.names[0]} in a row: MinMax must know "
                "how many. Call the wrapper's initialize_count_status(model, 0, steps) before them, as MMagic's "
                "BaseGAN does."
            )
        if updates is not None:
            self._updates = self._left = updates
        if self._turn in (Turn.DISCRIMINATOR, Turn.ANSWERED):
            self.begin_descent()
            self._watch.restart()  # reading f has run it too

    def on_loss(self, wrapper: Any, loss: Tensor) -> None:
        """Take note of the discriminator's loss, where f is read from it."""
        if wrapper is self._wrappers[1] and self.settings.estimated.type == "last":
            self._reader.note(loss)

    def on_backward(self, wrapper: Any) -> None:
        """A player has run: the generator only after its phase has begun."""
        if wrapper is self._wrappers[1]:
            self.begin_ascent()
            return
        early = self._turn in (Turn.DISCRIMINATOR, Turn.ANSWERED)
        if early or self._watch.idle:
            what = "optim_context was not entered" if early else "fakes were made before its optim_context was entered"
            raise ValueError(
                f"MinMax cannot drive this model: the generator's {what}, where the proposal is decided. {ORDER}. "
                "Translation models, such as pix2pix and CycleGAN, do not."
            )
        self._watch.close()

    def takes_step(self, optimizer: Any) -> bool:
        """Whether an optimizer's ``step()`` is taken now; the generator's is deferred to the next proposal."""
        if optimizer is self._wrappers[1].optimizer:
            self._ascents += 1
            return self.takes_ascent_step()
        taken = self.takes_descent_step(optimizer, several=self._updates > 1)
        if self._turn is Turn.PENDING:
            optimizer.defer()
        return taken

    def on_zero_grad(self, optimizer: Any) -> bool:
        """Keep a pending gradient. After the last of several generator steps, the incumbent is shown."""
        if optimizer is self._wrappers[1].optimizer:
            return True
        self._left -= 1
        if self._left == 0 and self._updates > 1:
            self.show_incumbent()  # to an average of weights within train_step
        return self._turn is not Turn.PENDING

    # --- parts -------------------------------------------------------------------------------------------

    def _find_players(self, wrappers: Any) -> None:
        model = self._runner.model
        self._model: Any = model.module if is_model_wrapper(model) else model
        found = list(wrappers.keys()) if isinstance(wrappers, OptimWrapperDict) else None
        for role, name in zip(("generator", "discriminator"), self.names, strict=True):
            if found is None or name not in found or not isinstance(getattr(self._model, name, None), nn.Module):
                has = f"{found}" if found is not None else "one wrapper for the whole model"
                raise ValueError(
                    f"MinMaxHook's {role}={name!r} must be a part of {type(self._model).__name__} and have an entry in "
                    f"optim_wrapper, which has {has}: name it by {role}=..., if the model is a GAN. Translation "
                    "models with several generators, such as pix2pix and CycleGAN, cannot be driven."
                )
            if not is_optimizer(wrappers[name]):
                raise ValueError(f"optim_wrapper.{name} must hold a torch optimizer, but is {wrappers[name]!r}.")
        self._wrappers = [wrappers[name] for name in self.names]
        self._modules: list[nn.Module] = [getattr(self._model, name) for name in self.names]

    def _take_over(self, wrappers: Any) -> None:
        for wrapper in self._wrappers:
            take_over(wrapper, self)
        self._reader = LossReader(self._model, wrappers, *self.names)
        loader = self._runner.train_dataloader
        self._batch_size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", 1)
        self._watch = ForwardWatch(self._modules[:1])

    def load_pool(self) -> list[list[Any]]:
        loader = self._runner.train_dataloader
        return sample_groups(self.settings, self._batch_size, functools.partial(sample_batches, loader))

    def _resume(self, state: dict[str, Any]) -> None:
        self.load_game_state(state)
        self._ascents = state["ascents"]
        for wrapper, count in zip(self._wrappers, state["inner_counts"], strict=True):
            wrapper.continue_at(count)
        self._wrappers[0].optimizer.load_pending_state(state["pending_settings"])
        load_fixed_inputs(self._runner.hooks, state["fixed_inputs"])
        loop = self._runner.train_loop
        if hasattr(loop, "dataloader_iterator"):
            then = functools.partial(self._resume_randomness, state)
            loop.dataloader_iterator = ResumedData(loop.dataloader_iterator, self._runner.iter, then)
        else:  # it counts epochs, and resumes at the end of one
            set_random_state(state["random"])

    def _resume_randomness(self, state: dict[str, Any]) -> None:
        """Restore the random state, and validate where the run did so after it had been saved: that draws from it."""
        set_random_state(state["random"])
        runner, loop = self._runner, self._runner.train_loop
        if runner.val_loop is None or state["validated"]:
            return
        if runner.iter >= loop.val_begin and runner.iter % loop.val_interval == 0:
            runner.val_loop.run()

    def _end(self, iteration: int) -> None:
        """Have the loop end at an iteration, as if the config had said so: with a checkpoint."""
        self._runner.train_loop._max_iters = iteration

    def say(self, message: str) -> None:
        self._runner.logger.info(f"MinMax: {message}, at iteration {self._runner.iter + 1}.")
