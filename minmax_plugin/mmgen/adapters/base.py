"""Toolkit models as the hook sees them: their players, their cycle, and how to read f from them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from mmcv.parallel import is_module_wrapper
from mmcv.parallel.scatter_gather import scatter_kwargs
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from minmax_plugin.estimators import lacks_gradient
from minmax_plugin.mmgen.optimizers import PREFIX, MinMaxOptimizer
from minmax_plugin.player import Player
from minmax_plugin.pool import sample_batches

Predictions = list[tuple[Tensor, bool]]
"""The discriminators' outputs on some images, and whether those are real."""
TOOLKIT = ("mmgen.",)  # modules whose classes have the loss that f is read from half by half
OURS = (*TOOLKIT, "minmax_plugin.")  # and those whose train_step trains by the loss that f is read from
DECLARED = "trains_by_disc_loss"  # attribute by which a class that overrides train_step says so


class GameAdapter:
    """A toolkit model seen as a game. Each family of models has a class derived from this one.

    f(x, y) is minus the adversarial part of the discriminator's loss, as in arXiv:2006.12376, section 1. For the
    vanilla loss that is E[log D(real)] + E[log(1 − D(fake))]. Penalties and regularisers of either player (gradient
    penalty, R1, path length) are no part of it. Where the generator's objective has other terms, such as a pixel or
    a cycle loss, f includes them. Steps that improve them would be rejected otherwise. A class that overrides
    ``_get_disc_loss`` (a relativistic loss) is read by that.

    Args:
        model: The runner's model, wrapped or not.

    Raises:
        ValueError: If the model lacks a discriminator, or its ``train_cfg`` makes no min-max cycle. Also if f cannot
            be read from its loss.
    """

    drives: ClassVar[tuple[type[nn.Module], ...]] = ()
    names: ClassVar[tuple[str, str]] = ("generator", "discriminator")  # of the networks, and of their optimizers
    has_auxiliary_losses: ClassVar[bool] = False  # of the generator, beside the adversarial one
    cycle_per_iteration: ClassVar[bool] = False  # whether one train_step is a whole cycle
    f_drifts: ClassVar[bool] = False  # whether f changes by itself between a decision and the next proposal
    builds_optimizers: ClassVar[bool] = False  # whether the model makes them itself, and new ones at times

    def __init__(self, model: nn.Module) -> None:
        bare: Any = model.module if is_module_wrapper(model) else model
        self.model = bare
        self._scatter = getattr(model, "scatter", scatter_kwargs)  # unpacks the toolkit's data containers
        self._devices = getattr(model, "device_ids", None) or [-1]
        low, high = self.names
        if getattr(self.model, high, None) is None or self.model.gan_loss is None:
            raise ValueError(f"model.{high} and model.gan_loss must be set: MinMax needs a discriminator.")
        self.check_model(type(bare))
        self.own_loss = self.has_own_loss(type(bare))
        self.generator, self.discriminator = getattr(self.model, low), getattr(self.model, high)
        train_cfg = self.model.train_cfg or {}
        self.ascent_steps, self.generator_steps = self.cycle(train_cfg)
        self._halves: dict[bool, Tensor] = {}

    # --- what a config says, before anything is built ------------------------------------------------------

    @classmethod
    def has_own_loss(cls, model: type) -> bool:
        """Whether a class of models computes the discriminator's loss by its own code."""
        return _is_overridden(model, "_get_disc_loss", TOOLKIT)

    @classmethod
    def check_model(cls, model: type) -> None:
        """Refuse a class of models if f cannot be read from its own loss.

        Raises:
            ValueError: If it cannot. The message names the class and the mend.
        """
        if _is_overridden(model, "train_step", OURS) and not getattr(model, DECLARED, False):
            raise ValueError(
                f"model.type={model.__name__!r} has a train_step of its own, and MinMax cannot know its loss. If it "
                f"trains the discriminator by self._get_disc_loss(), say {DECLARED} = True in the class; if not, put "
                "its loss there."
            )
        if cls.has_own_loss(model) and cls.seen is GameAdapter.seen:
            raise ValueError(
                f"model.type={model.__name__!r} has a _get_disc_loss of its own, which MinMax cannot read for this "
                "kind of model: give it as a gan_loss."
            )

    @classmethod
    def cycle(cls, train_cfg: Mapping[str, Any]) -> tuple[int, int]:
        """Compute the numbers of ascent steps (k) and of generator steps in one cycle.

        Raises:
            ValueError: If the settings make no min-max cycle.
        """
        return ascent_steps(train_cfg.get("disc_steps", 1)), 1

    @classmethod
    def optimizers_in(cls, cfg: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the config's own entries of both optimizers, by path, or ``None`` if the model's code makes them."""
        optimizers = cfg.get("optimizer")
        entries = optimizers if isinstance(optimizers, Mapping) else {}
        return {f"optimizer.{name}": entries.get(name) for name in cls.names}

    @classmethod
    def optimizers_now(cls, cfg: Mapping[str, Any], model: Any) -> dict[str, Any]:
        """Return, by player, the entries of a config's optimizers at the present stage of ``model``."""
        entries = cls.optimizers_in(cfg) or {}
        return {path.rpartition(".")[2]: entry for path, entry in entries.items() if entry}

    @classmethod
    def check_optimizer(cls, player: str, optimizer: Optimizer) -> None:
        """Refuse an optimizer with which the model cannot train ``player``.

        Raises:
            ValueError: If it is one. The message names it.
        """

    # --- players -----------------------------------------------------------------------------------------

    def bind(self, optimizers: Any) -> tuple[Player, Player]:
        """Make the players, given the optimizers that move them.

        Raises:
            ValueError: If one is missing or is no deferred one.
        """
        self.min_optimizer, self.max_optimizer = (_deferred(optimizers, name) for name in self.names)
        return Player(self.min_optimizer, self.generator), Player(self.max_optimizer, self.discriminator)

    def stage_begins(self, iteration: int) -> bool:
        """Whether the toolkit is about to change networks or optimizers, in this iteration's ``train_step``."""
        return False

    def after_rejection(self) -> None:
        """Repair what the generator's forward pass left behind, after a rejection has restored its weights."""

    @classmethod
    def progress(cls, model: Any) -> dict[str, Any]:
        """Return the parts of a model's own progress that the toolkit's checkpoint lacks."""
        return {}

    @classmethod
    def load_progress(cls, model: Any, state: Mapping[str, Any]) -> None:
        """Load what :meth:`progress` gave."""

    # --- f -----------------------------------------------------------------------------------------------

    def watch_loss(self) -> None:
        """Note the losses of each ascent step, for :meth:`last_value`."""
        self.model.gan_loss.register_forward_hook(self._read_half, with_kwargs=True)

    def _read_half(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Tensor) -> None:
        if kwargs.get("is_disc", False) and torch.is_grad_enabled():  # not by an evaluation of f
            self._halves[kwargs["target_is_real"]] = loss.detach()

    def last_value(self) -> Tensor:
        """Return f from the last ascent step's own forward pass, so before that step. It costs nothing."""
        return -(self._halves[True] + self._halves[False])

    def fresh_value(self, batch: Mapping[str, Any], fraction: float = 1.0, by_groups: bool = False) -> Tensor:
        """Compute f on the real images of ``batch`` and as many fresh fakes. Run it in inference mode.

        Args:
            batch: The real images.
            fraction: The share of the batch that is used.
            by_groups: Whether to return the values of up to 8 equal groups of samples, whose mean is f, and whose
                spread tells its standard error. The networks see the batch as one, and the loss alone is taken group
                by group. Own terms of the generator are taken over the batch, and are the same in each group.
        """
        tensors = {k: v for k, v in batch.items() if isinstance(v, Tensor)}
        total = min(len(v) for v in tensors.values())
        size = min(total, max(8, round(fraction * total)))  # fewer would not give groups for a standard error
        first = int(torch.randint(total - size + 1, ()))  # another part each time, as the batch is
        part = {k: v[first : first + size] for k, v in tensors.items()}
        if self.own_loss:
            return self._read_own_loss(self.seen(part), by_groups)
        predictions, own = self.discriminate(part)
        groups = math.gcd(8, *(len(prediction) for prediction, _ in predictions)) if by_groups else 1
        loss = self.model.gan_loss
        halves = [
            by_group(functools.partial(loss, target_is_real=real, is_disc=True), prediction, groups)
            for prediction, real in predictions
        ]
        weight = loss.loss_weight if self.has_auxiliary_losses else 1.0  # of the adversarial term beside the others
        return own - weight * torch.stack(halves).sum(dim=0)

    def _read_own_loss(self, seen: Mapping[str, Any], by_groups: bool) -> Tensor:
        """Return minus the loss of the model's own ``_get_disc_loss`` for each group, without auxiliary losses."""
        model, size = self.model, len(seen["disc_pred_real"])
        groups = math.gcd(8, size) if by_groups else 1
        chunks = {k: v.unflatten(0, (groups, -1)) for k, v in seen.items() if isinstance(v, Tensor) and len(v) == size}
        auxiliary = getattr(model, "disc_auxiliary_losses", None)
        model.disc_auxiliary_losses = None
        try:
            losses = [model._get_disc_loss({**seen, **{k: v[i] for k, v in chunks.items()}})[0] for i in range(groups)]
        except RuntimeError as error:
            if not lacks_gradient(error):
                raise
            raise ValueError(
                f"{type(model).__name__}._get_disc_loss cannot be read without gradients ({error}): put penalties into "
                "disc_auxiliary_loss, which f leaves out."
            ) from error
        finally:
            model.disc_auxiliary_losses = auxiliary
        return -torch.stack(losses)

    def seen(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """Make the arguments of ``_get_disc_loss`` from a batch and its fakes, as the model's ``train_step`` does."""
        raise NotImplementedError

    def discriminate(self, batch: Mapping[str, Tensor]) -> tuple[Predictions, Tensor | float]:
        """Compute the discriminators' predictions on a batch and its fakes, and the generator's own terms."""
        seen = self.seen(batch)
        return [(seen["disc_pred_fake"], False), (seen["disc_pred_real"], True)], 0.0

    def _seen(self, fake: Tensor, real: Tensor, fakes: Tensor, reals: Tensor, **more: Any) -> dict[str, Any]:
        known = dict(gen=self.generator, disc=self.discriminator, iteration=getattr(self.model, "iteration", 0))
        images = dict(disc_pred_fake=fake, disc_pred_real=real, fake_imgs=fakes, real_imgs=reals)
        return {**known, **images, "batch_size": len(reals), "loss_scaler": None, **more}

    def load_pool(self, loader: DataLoader[Any], batches: int) -> list[Mapping[str, Any]]:
        """Load up to ``batches`` random batches of the loader's data set onto the model's device.

        They are held in memory. So a fresh evaluation costs no loading, and does not move the training's own loader.
        """
        pool = sample_batches(loader, batches)
        return [self._scatter((batch,), {}, self._devices)[0][0][0] for batch in pool]


def _is_overridden(model: type, method: str, modules: tuple[str, ...]) -> bool:
    owner = next((c for c in model.__mro__ if method in vars(c)), model)
    return not owner.__module__.startswith(modules)


def by_group(loss: Callable[[Tensor], Tensor], prediction: Tensor, groups: int) -> Tensor:
    """Compute the loss of each of some equal groups of samples, in one call where the loss allows it.

    Args:
        loss: A function that returns one number.
        prediction: A tensor of shape (N, ...), with N a multiple of ``groups``.
        groups: The number of groups.

    Examples:
        >>> by_group(torch.mean, torch.arange(4.0), groups=2)
        tensor([0.5000, 2.5000])
    """
    if groups == 1:
        return loss(prediction).reshape(1)
    chunks = prediction.unflatten(0, (groups, -1))
    try:
        return torch.func.vmap(loss)(chunks)
    except RuntimeError:  # what it does depends on the numbers it is given
        return torch.stack([loss(chunk) for chunk in chunks])


def ascent_steps(disc_steps: int, accumulation: int = 1) -> int:
    """Compute the number k of ascent steps in one cycle of the toolkit.

    Args:
        disc_steps: The discriminator passes for one generator step, the toolkit's ``train_cfg.disc_steps``.
        accumulation: The passes that make one discriminator step, ``train_cfg.batch_accumulation_steps``.

    Raises:
        ValueError: If the numbers make no min-max cycle.

    Examples:
        >>> ascent_steps(disc_steps=8, accumulation=4)
        2
    """
    if not (isinstance(disc_steps, int) and disc_steps >= 1):
        raise ValueError(
            f"train_cfg.disc_steps is k, the ascent steps in a cycle; it must be 1 or more, got {disc_steps!r}."
        )
    if not (isinstance(accumulation, int) and accumulation >= 1) or disc_steps % accumulation:
        raise ValueError(
            f"train_cfg.batch_accumulation_steps={accumulation!r} must divide train_cfg.disc_steps={disc_steps}: "
            "a cycle must end with a whole discriminator step."
        )
    return disc_steps // accumulation


def _deferred(optimizers: Any, name: str) -> Any:
    optimizer = optimizers.get(name) if isinstance(optimizers, Mapping) else None
    if optimizer is None:
        raise ValueError(f"optimizer.{name} is missing: MinMax needs one optimizer for each player.")
    if not isinstance(optimizer, MinMaxOptimizer):
        kind = type(optimizer).__name__
        raise ValueError(f"optimizer.{name}.type is {kind!r}; under MinMaxHook it must be {PREFIX + kind!r}.")
    return optimizer
