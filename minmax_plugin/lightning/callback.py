"""The callback: runs the algorithm inside Lightning's own loop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree
from torch.utils.data import DataLoader

from minmax_plugin.errors import ConfigError
from minmax_plugin.hosted import Turn
from minmax_plugin.lightning.optimizers import take_over
from minmax_plugin.lightning.resume import make_resumable
from minmax_plugin.lightning.value import TrainingStepReader, unwrapped
from minmax_plugin.phase import Phase
from minmax_plugin.plain import plain
from minmax_plugin.player import Player
from minmax_plugin.pool import sample_batches, sample_groups
from minmax_plugin.randomness import random_state, set_random_state
from minmax_plugin.recorder import log_values
from minmax_plugin.replaced import replaced
from minmax_plugin.settings import MinMaxSettings
from minmax_plugin.train_step import ForwardWatch, TrainStepGame

BLIND = {  # by name, because the package pytorch_lightning has classes of the same names
    *(
        "Checkpoint",
        "DeviceStatsMonitor",
        "EarlyStopping",
        "LearningRateMonitor",
    ),  # save_checkpoint shows the incumbent
    *("MinMaxCallback", "ModelSummary", "ProgressBar", "ThroughputMonitor", "Timer"),
}

LOADERS = "minmax_loaders"  # in a checkpoint, the state of the training's loaders

ORDER = (
    "training_step must call self.toggle_optimizer(opt_g), then run the generator, and then call "
    "self.manual_backward(loss) and opt_g.step()"
)


class MinMaxCallback(TrainStepGame, Callback):
    """Train a GAN of Lightning by proposals that are accepted or rolled back (arXiv:2006.12376).

    The module steps two optimizers by manual optimization, in either order. A step of the generator's is the proposal,
    where the loop takes it. The discriminator's steps follow. When the module next calls
    ``toggle_optimizer(generator's)``, the callback reads f and decides. The module then computes the next generator
    gradient at the incumbent.

    After a batch, other callbacks and hooks only see incumbents, and so do checkpoints. They lag one generator step
    behind the plain loop. Several generator steps in a cycle are one proposal.

    Args:
        generator: The name of the generator in the module, or the names of its parts.
        discriminator: The name of the discriminator, or the names of its parts.
        settings: Those of :class:`~minmax_plugin.MinMaxSettings`, by name.

    Raises:
        ValueError: For an unknown or contradictory setting, at build time. For a module that MinMax cannot drive,
            before the first generator step.

    Examples:
        >>> MinMaxCallback(acceptance=dict(type="constant", rate=0.25), restore="generator").settings.policy.rate
        0.25
    """

    def __init__(
        self,
        generator: str | Sequence[str] = "generator",
        discriminator: str | Sequence[str] = "discriminator",
        **settings: Any,
    ) -> None:
        super().__init__(MinMaxSettings.from_dict(settings), "the discriminator's steps in training_step")
        self.names = {"generator": generator, "discriminator": discriminator}
        self._descends = False  # whether what runs backward now is the generator's
        self._announced = False  # whether the generator's optimizer was toggled in this cycle
        self._gradient = False  # whether the generator has made a gradient since its last step
        self._loaded: dict[str, Any] | None = None
        self._positions: list[dict[str, Any]] = []  # of the run that is resumed, in the data
        self._resumable = False  # whether all of the training's loaders resume as ResumableLoader does
        self._random: dict[str, Any] | None = None  # of the run that is resumed
        self._patches = contextlib.ExitStack()

    # --- the trainer's side ------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._loaded, self._random, self._positions = None, None, []  # another run's, which a checkpoint may follow

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.automatic_optimization:
            raise ConfigError(
                f"automatic_optimization=True: {type(pl_module).__name__} must step two optimizers itself. Set "
                "self.automatic_optimization = False in its __init__."
            )
        # Safe while the trainer walks this list: what lies ahead of us in it does not move.
        trainer.callbacks.remove(self)
        trainer.callbacks.insert(0, self)
        self._trainer = trainer
        self._turn, self._accumulating, self.game, self.decision = Turn.GENERATOR, False, None, None
        self._players = [self._find_player(role, trainer, pl_module) for role in self.names]
        for player in self._players:
            for optimizer in player.optimizers:
                take_over(optimizer, self)
        self._modules = [module for player in self._players for module in player.modules]
        self._reader = TrainingStepReader(trainer, pl_module, *(player.optimizers for player in self._players))
        self._watch = ForwardWatch(self._players[0].modules)
        self._looks = any(map(_may_look, [pl_module, *trainer.callbacks]))
        self._patch(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = checkpoint["loops"]["fit_loop"]["state_dict"]
        if self._resumable and "combined_loader" in loop:  # which Lightning would refuse to load without the callback
            checkpoint[LOADERS] = loop.pop("combined_loader")

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint["callbacks"].get(self.state_key)
        self._random = (self._loaded or {}).get("random")
        self._positions = list(checkpoint.get(LOADERS, []))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaded, self._loaded = self._loaded, None
        if trainer.global_step and loaded is None:
            rank_zero_warn(
                "the checkpoint holds no state of MinMax: f, the incumbent, the counts and the random state start again"
            )
        if self.seed is None:  # of the run that is resumed, whose readings of f go on
            self.seed = (loaded or {}).get("seed", int(os.environ.get("PL_GLOBAL_SEED", 0)))
        loader = self._loaders()[0][0]
        self._batch_size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", 1)
        generator, discriminator = self._players
        self.start(generator, discriminator, trainer.global_rank)
        if loaded is not None:
            self.load_game_state(loaded)
            self._ascents, self._gradient = loaded["ascents"], loaded["gradient"]
            self._watch.close()  # the module was watched when the run began
            if not self._resumable:
                self.resume_randomness()
        folder = trainer.log_dir or trainer.default_root_dir
        if self.settings.record and trainer.is_global_zero:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.record_in(folder)
        self.try_reading()
        self._watch.restart()  # reading f has run it
        self._stop_if_ended()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.show_proposal()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.counts["images"] += self._batch_size * trainer.world_size
        if self.decision is not None:
            pl_module.log_dict({**log_values(self.decision), "cycle": float(self.decision.index + 1)})
        self._stop_if_ended()
        if self._looks:
            self.show_incumbent()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.show_incumbent()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.show_incumbent()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.show_proposal()
        if self.ascent_steps in (None, self._ascents):
            self.begin_descent()  # the last cycle is decided too, where the discriminator has responded
        self.show_incumbent()
        rank_zero_info(self.summary(self.ascent_steps or self._ascents))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._patches.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._patches.close()

    def state_dict(self) -> dict[str, Any]:
        if self.game is None:
            return {}
        more = {"random": plain(random_state()), "ascents": self._ascents, "gradient": self._gradient}
        return {**self.game_state(), **more}

    # --- the data's side ---------------------------------------------------------------------------------

    def epoch_is_over(self) -> bool:
        """Whether the epoch's last batch has been taken."""
        return self._trainer.is_last_batch

    def resume_randomness(self) -> None:
        """Restore the random state of the run that is resumed, once."""
        if self._random is not None:
            set_random_state(self._random)
            self._random = None

    def load_pool(self) -> list[list[Any]]:
        return sample_groups(self.settings, self._batch_size, self._sample)

    # --- the module's side -------------------------------------------------------------------------------

    def on_toggle(self, optimizer: Any) -> None:
        """A player's turn begins: at the generator's, the proposal is decided.

        Raises:
            ValueError: If the generator's next gradient was begun before, at a pair that may be rolled back.
        """
        self._descends = any(unwrapped(optimizer) is one for one in self._players[0].optimizers)
        if not self._descends:
            return
        self._announced = True
        if self._turn in (Turn.DISCRIMINATOR, Turn.ANSWERED):
            if self.game.open and self._gradient:
                raise ConfigError(_accumulated_early())
            self.begin_descent()
        if self._watch.watching:
            self._watch.restart()  # reading f has run it too

    def on_backward(self, loss: Tensor) -> None:
        """A player has run: the generator only after its turn has begun.

        Raises:
            ValueError: If it has run before.
        """
        if not self._descends:
            self._accumulating = True
            self._reader.note(loss)
            return
        if self._watch.idle:
            raise ConfigError(
                "MinMax cannot drive this module: the generator's fakes were made before toggle_optimizer() was called "
                f"for it, where the proposal is decided. {ORDER}."
            )
        if self._watch.watching and self._accumulating:
            raise ConfigError(_accumulated_early())
        self._watch.close()
        self._gradient = True

    def takes_step(self, optimizer: Any) -> bool:
        """Whether an optimizer's ``step()`` is taken now. The first one of the generator is taken as the proposal.

        Raises:
            ValueError: If it is the generator's, and its turn was not announced.
        """
        if any(optimizer is one for one in self._players[0].optimizers):
            if not self._announced:
                raise ConfigError(
                    "MinMax cannot drive this module: the generator is stepped, but toggle_optimizer() was not called "
                    f"for it after the discriminator's step. {ORDER}."
                )
            self._descends = self._gradient = False
            return self.takes_descent_step(optimizer, several=True)
        self._announced = self._descends = False
        self._reader.settle()
        self._ascents += 1
        self.begin_iteration()  # where there is no proposal, the start of the cycle can be restored
        self.begin_ascent()
        return self.takes_ascent_step()

    def on_zero_grad(self, optimizer: Any) -> bool:
        return True

    # --- parts -------------------------------------------------------------------------------------------

    def _find_player(self, role: str, trainer: Trainer, pl_module: LightningModule) -> Player:
        given = self.names[role]
        names = [given] if isinstance(given, str) else list(given)
        modules = dict(pl_module.named_modules())
        missing = [name for name in names if not name or name not in modules]
        if missing or not names:
            children = [name for name, _ in pl_module.named_children()]
            raise ConfigError(
                f"MinMaxCallback's {role}={given!r} must name parts of {type(pl_module).__name__}, which has "
                f"{children}: name it by {role}=..., if the module is a GAN."
            )
        parts: list[nn.Module] = [modules[name] for name in names]
        own = {id(parameter) for part in parts for parameter in part.parameters()}
        optimizers = [o for o in trainer.optimizers if own & set(map(id, _parameters(o)))]
        if not optimizers:
            raise ConfigError(
                f"MinMaxCallback's {role}={given!r} has no optimizer: configure_optimizers must return one for each "
                "player."
            )
        return Player(optimizers, parts)

    def _patch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the calls by which a module trains and a trainer saves."""
        toggle, backward = pl_module.toggle_optimizer, pl_module.manual_backward
        save, process = trainer.save_checkpoint, trainer.strategy.process_dataloader
        self._resumable = True

        def toggle_optimizer(optimizer: Any) -> None:
            self.on_toggle(optimizer)
            toggle(optimizer)

        def manual_backward(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self.on_backward(loss)
            backward(loss, *args, **kwargs)

        def save_checkpoint(*args: Any, **kwargs: Any) -> None:
            hidden = self.game is not None and self.game.phase is Phase.OPEN
            self.show_incumbent()
            try:
                save(*args, **kwargs)
            finally:
                if hidden:
                    self.show_proposal()

        def process_dataloader(loader: Any) -> Any:
            loader = process(loader)
            if trainer.training:
                self._resumable &= make_resumable(loader, self)
                if self._resumable and self._positions:
                    loader.load_state_dict(self._positions.pop(0))
            return loader

        patches = self._patches
        patches.close()
        methods: dict[str, Any] = dict(toggle_optimizer=toggle_optimizer, manual_backward=manual_backward)
        patches.enter_context(replaced(pl_module, methods))
        patches.enter_context(replaced(trainer, dict(save_checkpoint=save_checkpoint)))
        patches.enter_context(replaced(trainer.strategy, dict(process_dataloader=process_dataloader)))

    def _loaders(self) -> tuple[list[Any], Any]:
        loaders, structure = _pytree.tree_flatten(self._trainer.train_dataloader)
        for loader in loaders:
            data = getattr(loader, "dataset", loader)
            if not isinstance(loader, DataLoader) or not hasattr(data, "__len__"):
                raise ConfigError(
                    "MinMax reads f on separate batches: train_dataloader must be a torch DataLoader of a data set "
                    f"with a length, but has a {type(data).__name__}."
                )
        return loaders, structure

    def _sample(self, number: int, size: int) -> list[Any]:
        """Load batches as the training step gets them, of all loaders that it has."""
        loaders, structure = self._loaders()
        trainer, module = self._trainer, self._trainer.lightning_module
        parts = zip(*(sample_batches(loader, number, size) for loader in loaders), strict=False)
        batches = [_pytree.tree_unflatten(list(part), structure) for part in parts]
        batches = [module.on_before_batch_transfer(trainer.precision_plugin.convert_input(b), 0) for b in batches]
        return [trainer.strategy.batch_to_device(batch, dataloader_idx=0) for batch in batches]

    def _stop_if_ended(self) -> None:
        if self.game.stopped and not self._trainer.should_stop:
            self._trainer.should_stop = True
            self.say(f"the training stops, after {self.game.rejections} rejections in a row")

    def say(self, message: str) -> None:
        rank_zero_info(f"MinMax: {message}, at step {self._trainer.global_step}.")


def _accumulated_early() -> str:
    return (
        "MinMax cannot drive this module: the generator accumulates a gradient while the discriminator does, so before "
        "the proposal is decided. Accumulate the generator's first, or after the discriminator's step."
    )


def _may_look(observer: Any) -> bool:
    """Whether a callback, or the module, may look at the weights after a batch.

    ``reads_weights = False`` says that it does not.
    """
    kinds = type(observer).__mro__
    blind = BLIND & {kind.__name__ for kind in kinds} or not getattr(observer, "reads_weights", True)
    own = next(kind for kind in kinds if "on_train_batch_end" in vars(kind))
    return not blind and own.__name__ not in ("Callback", "ModelHooks")  # Lightning's, which do nothing


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
