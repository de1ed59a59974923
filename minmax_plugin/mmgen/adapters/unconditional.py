"""Networks of one size that make images from noise: unconditional, conditional, and of several scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from mmgen.models.gans import BasicConditionalGAN, MSPIEStyleGAN2, StaticUnconditionalGAN
from torch import Tensor
from torch.nn.functional import interpolate
from torch.optim import Optimizer

from minmax_plugin.baselines import Lead, Unrolled, check_unrollable
from minmax_plugin.checks import check_count, check_not_negative
from minmax_plugin.mmgen.adapters.base import GameAdapter, ascent_steps
from minmax_plugin.mmgen.rounds import LeadGAN, UnrolledGAN


class UnconditionalAdapter(GameAdapter):
    """DCGAN, LSGAN, GGAN, WGAN-GP, StyleGAN2, StyleGAN3, and all that derive from their class."""

    drives = (StaticUnconditionalGAN,)

    def seen(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        reals = batch[self.model.real_img_key]
        fakes = self.generator(None, num_batches=len(reals))
        return self._seen(self.discriminator(fakes), self.discriminator(reals), fakes, reals)


class RoundAdapter(UnconditionalAdapter):
    """LEAD, whose round is one discriminator step and one generator step."""

    drives = (LeadGAN,)
    note: ClassVar[str] = ""  # to the message on disc_steps

    @classmethod
    def cycle(cls, train_cfg: Mapping[str, Any]) -> tuple[int, int]:
        if train_cfg.get("disc_steps", 1) != 1:
            raise ValueError(
                f"train_cfg.disc_steps={train_cfg['disc_steps']!r}: {cls.drives[0].__name__} takes one discriminator "
                f"step in an iteration, set 1{cls.note}."
            )
        check_not_negative(**{"train_cfg.lead_alpha": train_cfg.get("lead_alpha", Lead.alpha)})
        return super().cycle(train_cfg)


class UnrollingAdapter(RoundAdapter):
    """The unrolled method, whose generator step goes through imagined discriminator steps."""

    drives = (UnrolledGAN,)
    note = "; how many it imagines is train_cfg.unrolled_steps"

    @classmethod
    def cycle(cls, train_cfg: Mapping[str, Any]) -> tuple[int, int]:
        check_count("train_cfg.unrolled_steps", train_cfg.get("unrolled_steps", Unrolled.k))
        return super().cycle(train_cfg)

    @classmethod
    def check_optimizer(cls, player: str, optimizer: Optimizer) -> None:
        if player == "discriminator":
            check_unrollable(optimizer, "UnrolledGAN's optimizer")


class ConditionalAdapter(GameAdapter):
    """SNGAN-proj, SAGAN, BigGAN: images with labels, and gradients accumulated over several batches."""

    drives = (BasicConditionalGAN,)

    @classmethod
    def cycle(cls, train_cfg: Mapping[str, Any]) -> tuple[int, int]:
        k = ascent_steps(train_cfg.get("disc_steps", 1), train_cfg.get("batch_accumulation_steps", 1))
        return k, train_cfg.get("gen_steps", 1)

    def seen(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        reals, gt_label = batch["img"], batch["gt_label"]
        made = self.generator(None, num_batches=len(reals), label=None, return_noise=True)
        fakes, fake_label = made["fake_img"], made["label"]
        fake, real = self.discriminator(fakes, label=fake_label), self.discriminator(reals, label=gt_label)
        return self._seen(fake, real, fakes, reals, gt_label=gt_label, fake_label=fake_label)


class MultiScaleAdapter(UnconditionalAdapter):
    """MSPIE-StyleGAN2, which draws a scale for each batch when it is trained on several ranks.

    f is read at the smallest scale alone, because values at different scales do not compare. The exception is
    ``estimator="last"``, which reads f at the drawn scale.
    """

    drives = (MSPIEStyleGAN2,)

    def seen(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        scale = min(self.model.multi_input_scales) if torch.distributed.is_initialized() else 0
        size = (4 + scale) * 2**self.model.num_upblocks
        reals = batch["real_img"]
        if reals.shape[-2:] != (size, size):
            reals = interpolate(reals, size=(size, size), mode="bilinear", align_corners=True)
        fakes = self.generator(None, num_batches=len(reals), chosen_scale=scale)
        return self._seen(self.discriminator(fakes), self.discriminator(reals), fakes, reals)
