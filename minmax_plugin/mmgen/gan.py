"""What the hook must know of a toolkit model: its players, its cycle, and how to read f from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from mmcv.parallel import is_module_wrapper
from mmcv.parallel.scatter_gather import scatter_kwargs
from mmgen.models.gans import BasicConditionalGAN, StaticUnconditionalGAN
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from minmax_plugin.mmgen.optimizers import PREFIX, MinMaxOptimizer
from minmax_plugin.snapshot import Player

SUPPORTED = (StaticUnconditionalGAN, BasicConditionalGAN)


class GAN:
    """A toolkit model seen as a game.

    f(x, y) is minus the adversarial part of the discriminator's loss, as in arXiv:2006.12376, section 1; for
    the vanilla loss that is E[log D(real)] + E[log(1 − D(fake))]. Penalties and regularisers are no part of
    it.

    Args:
        model: the runner's model, wrapped or not.
        optimizers: the runner's optimizers; not needed to read f alone.

    Raises:
        ValueError: if the model is of no supported class, lacks a discriminator, or has an optimizer without
            the prefix, or a cycle that is no min-max cycle.
    """

    def __init__(self, model: nn.Module, optimizers: Any = None) -> None:
        self.model: Any = model.module if is_module_wrapper(model) else model
        self._scatter = getattr(model, "scatter", scatter_kwargs)  # unpacks the toolkit's data containers
        self._devices = getattr(model, "device_ids", None) or [-1]
        if not isinstance(self.model, SUPPORTED):
            raise ValueError(
                f"MinMax cannot drive model type {type(self.model).__name__!r}; it drives "
                f"{[c.__name__ for c in SUPPORTED]} and classes derived from them."
            )
        if self.model.discriminator is None or self.model.gan_loss is None:
            raise ValueError("model.discriminator and model.gan_loss must be set: MinMax needs a discriminator.")
        self.generator, self.discriminator = self.model.generator, self.model.discriminator
        if optimizers is not None:
            self.min_optimizer = _facade(optimizers, "generator")
            self.max_optimizer = _facade(optimizers, "discriminator")
        self.ascent_steps = ascent_steps(
            self.model.disc_steps,
            getattr(self.model, "batch_accumulation_steps", 1),
            getattr(self.model, "gen_steps", 1),
        )
        self._halves: dict[bool, Tensor] = {}
        self.model.gan_loss.register_forward_hook(self._read_half, with_kwargs=True)

    @property
    def image_key(self) -> str:
        """Where the real images are in a batch."""
        return "img" if isinstance(self.model, BasicConditionalGAN) else self.model.real_img_key

    @property
    def players(self) -> tuple[Player, Player]:
        return Player(self.min_optimizer, self.generator), Player(self.max_optimizer, self.discriminator)

    def _read_half(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Tensor) -> None:
        if kwargs.get("is_disc", False):
            self._halves[kwargs["target_is_real"]] = loss.detach()

    def last_value(self) -> Tensor:
        """f as the last ascent step's own forward pass saw it, so before that step; costs nothing."""
        return -(self._halves[True] + self._halves[False])

    def fresh_value(self, batch: Mapping[str, Any], fraction: float = 1.0) -> Tensor:
        """f on the real images of ``batch`` and as many fresh fakes; run it in inference mode.

        Returns the values of up to 8 equal groups of samples, whose mean is f: the loss alone is taken group
        by group, the networks see the batch as one.
        """
        size = max(1, round(fraction * len(batch[self.image_key])))
        batch = {key: value[:size] for key, value in batch.items() if isinstance(value, Tensor)}
        if isinstance(self.model, BasicConditionalGAN):
            reals, label = batch[self.image_key], {"label": batch["gt_label"]}
            made = self.generator(None, num_batches=len(reals), label=None, return_noise=True)
            fakes, fake_label = made["fake_img"], {"label": made["label"]}
        else:
            reals, label, fake_label = batch[self.image_key], {}, {}
            fakes = self.generator(None, num_batches=len(reals))
        halves = ((self.discriminator(fakes, **fake_label), False), (self.discriminator(reals, **label), True))
        groups = math.gcd(8, *(len(prediction) for prediction, _ in halves))
        terms = [
            torch.stack([self.model.gan_loss(g, target_is_real=real, is_disc=True) for g in prediction.chunk(groups)])
            for prediction, real in halves
        ]
        return -(terms[0] + terms[1])

    def load_pool(self, loader: DataLoader[Any], batches: int) -> list[Mapping[str, Any]]:
        """Up to ``batches`` random batches of the loader's data set, on the model's device.

        Held in memory, so that a fresh evaluation costs no loading and does not move the training's own
        loader.
        """
        dataset: Dataset[Any] = loader.dataset
        size = loader.batch_size or 1
        total = len(dataset)  # type: ignore[arg-type]
        # A permutation of a data set that is repeated millions of times would not pay.
        random = torch.randperm(total) if total <= 10**6 else torch.randint(total, (size * batches,))
        picks = random[: size * batches].tolist()
        own = DataLoader(
            dataset, size, sampler=picks, collate_fn=loader.collate_fn, drop_last=len(picks) >= size, num_workers=0
        )
        pool = list(itertools.islice(own, batches))
        return [self._scatter((batch,), {}, self._devices)[0][0][0] for batch in pool]


def ascent_steps(disc_steps: int, accumulation: int = 1, gen_steps: int = 1) -> int:
    """The number k of ascent steps in one cycle of the toolkit.

    Args:
        disc_steps: the toolkit's ``train_cfg.disc_steps``: discriminator passes for one generator step.
        accumulation: ``train_cfg.batch_accumulation_steps``: passes that make one discriminator step.
        gen_steps: ``train_cfg.gen_steps``: generator steps in one cycle.

    Raises:
        ValueError: if the numbers make no min-max cycle.

    Example:
        >>> ascent_steps(disc_steps=8, accumulation=4)
        2
    """
    if not (isinstance(disc_steps, int) and disc_steps >= 1):
        raise ValueError(
            f"train_cfg.disc_steps is k, the ascent steps in a cycle; it must be 1 or more, got {disc_steps!r}."
        )
    if gen_steps != 1:
        raise ValueError(f"train_cfg.gen_steps must be 1, one proposal in a cycle, but got {gen_steps!r}.")
    if not (isinstance(accumulation, int) and accumulation >= 1) or disc_steps % accumulation:
        raise ValueError(
            f"train_cfg.batch_accumulation_steps={accumulation!r} must divide train_cfg.disc_steps={disc_steps}: "
            "a cycle must end with a whole discriminator step."
        )
    return disc_steps // accumulation


def _facade(optimizers: Any, name: str) -> Any:
    optimizer = optimizers.get(name) if isinstance(optimizers, Mapping) else None
    if optimizer is None:
        raise ValueError(f"optimizer.{name} is missing: MinMax needs one optimizer for each player.")
    if not isinstance(optimizer, MinMaxOptimizer):
        kind = type(optimizer).__name__
        raise ValueError(f"optimizer.{name}.type is {kind!r}; under MinMaxHook it must be {PREFIX + kind!r}.")
    return optimizer
