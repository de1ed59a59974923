"""Networks that grow in stages. The model builds its own optimizers, and new ones for each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmgen.models.gans import ProgressiveGrowingGAN, SinGAN
from torch import Tensor

from minmax_plugin.mmgen.adapters.base import GameAdapter, Predictions, ascent_steps
from minmax_plugin.mmgen.optimizers import adopt
from minmax_plugin.player import Player


class ProgressiveAdapter(GameAdapter):
    """PGGAN and StyleGAN1.

    While a new scale fades in, f_old and f_new belong to fading weights that differ by one cycle's images. The
    toolkit's own loss has this drift too.
    """

    drives = (ProgressiveGrowingGAN,)
    f_drifts = True  # while a scale fades in
    builds_optimizers = True

    @classmethod
    def optimizers_in(cls, cfg: Mapping[str, Any]) -> dict[str, Any] | None:
        train_cfg = cfg.get("train_cfg") or cfg["model"].get("train_cfg") or {}
        entries = train_cfg.get("optimizer_cfg") or {}
        return {f"train_cfg.optimizer_cfg.{name}": entries.get(name) for name in cls.names}

    @classmethod
    def optimizers_now(cls, cfg: Mapping[str, Any], model: Any) -> dict[str, Any]:
        entries = super().optimizers_now(cfg, model)
        scale, train_cfg = int(model._curr_scale_int), cfg.get("train_cfg") or cfg["model"]["train_cfg"]
        if scale == model.scales[0][0] or not model.reset_optim_for_new_scale:
            return entries
        rates = {  # the model builds new optimizers for each further scale
            player: train_cfg.get(f"{player[0]}_lr_schedule", {}).get(str(scale), train_cfg[f"{player[0]}_lr_base"])
            for player in entries
        }
        return {player: {**entry, "lr": rates[player]} for player, entry in entries.items()}

    def stage_begins(self, iteration: int) -> bool:
        model = self.model
        stage = min(int(sum(model.cum_nkimgs <= model.shown_nkimg.item())), len(model.scales) - 1)
        return stage != model.prev_stage

    def seen(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        stage = dict(curr_scale=self.model.curr_scale[0], transition_weight=float(self.model._curr_transition_weight))
        reals = batch["real_img"]
        if reals.shape[2:] != self.model.curr_scale:
            reals = self.model.interp_real_to(reals, size=self.model.curr_scale)
        fakes = self.generator(None, num_batches=len(reals), **stage)
        fake, real = self.discriminator(fakes, **stage), self.discriminator(reals, **stage)
        return self._seen(fake, real, fakes, reals, **stage)

    # A stock checkpoint lacks these. Resumed after the first stage, the toolkit then takes its stage for a new one.
    # It drops the optimizers that it has just loaded, and fades the scale in again.
    @classmethod
    def progress(cls, model: Any) -> dict[str, Any]:
        return {name: getattr(model, name) for name in ("prev_stage", "curr_stage", "_actual_nkimgs")}

    @classmethod
    def load_progress(cls, model: Any, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(model, name, value)
        model.curr_scale = model.scales[model.curr_stage]


class SingleImageAdapter(GameAdapter):
    """SinGAN: a pyramid of small GANs, trained one after the other. A proposal is all generator steps of a cycle.

    The generator's reconstruction loss is part of f. The toolkit measures the weight of the next scale's noise once,
    at the start of a stage. So it measures it at the proposal, and the weight stays if that is rejected. The toolkit
    cannot resume SinGAN, so this class cannot either.
    """

    drives = (SinGAN,)
    has_auxiliary_losses = True
    builds_optimizers = True
    cycle_per_iteration = True

    @classmethod
    def cycle(cls, train_cfg: Mapping[str, Any]) -> tuple[int, int]:
        return ascent_steps(train_cfg.get("disc_steps", 1)), train_cfg.get("generator_steps", 1)

    @classmethod
    def optimizers_in(cls, cfg: Mapping[str, Any]) -> dict[str, Any] | None:
        return None  # an Adam, written in the model's code

    def bind(self, optimizers: Any) -> tuple[Player, Player]:
        for optimizer in optimizers.values():
            adopt(optimizer)
        return super().bind(optimizers)

    def stage_begins(self, iteration: int) -> bool:
        return bool(iteration % self.model.train_cfg["iters_per_scale"] == 0)

    def discriminate(self, batch: Mapping[str, Tensor]) -> tuple[Predictions, Tensor]:
        model, stage = self.model, self.model.curr_stage
        known = (batch["input_sample"], model.fixed_noises, model.noise_weights)
        fakes = self.generator(*known, rand_mode="rand", curr_scale=stage)
        reals = model.reals[stage]
        seen = dict(
            fake_imgs=fakes,
            recon_imgs=self.generator(*known, rand_mode="recon", curr_scale=stage),
            real_imgs=reals,
        )
        own = sum((loss(seen) for loss in model.gen_auxiliary_losses or []), torch.zeros(()))
        return [(self.discriminator(fakes, stage), False), (self.discriminator(reals, stage), True)], own
