"""Relativistic pairs in MMGeneration: a model for configs whose losses compare a real sample with a generated one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmgen.models.builder import MODELS
from mmgen.models.gans import StaticUnconditionalGAN
from torch import Tensor


@MODELS.register_module()
class RelativisticGAN(StaticUnconditionalGAN):
    """An unconditional GAN with the relativistic pair loss, f(x, y) = E[log σ(D(real) − D(fake))].

    σ is the logistic function. The expectation is over pairs: each real sample has one generated sample. The
    discriminator maximises f, and the generator minimises E[log(1 + exp(D(real) − D(fake)))]. These are the losses of
    R3GAN (Huang et al. 2024, arXiv:2501.05441, section 2) and of its code, with
    ``gan_loss=dict(type="GANLoss", gan_type="vanilla")`` or ``"wgan-logistic-ns"``. R3GAN needs R1 and R2 too.

    Any other ``gan_loss`` gets D(real) − D(fake) as a prediction on a real sample from the discriminator. From the
    generator it gets D(fake) − D(real). With ``SaturatingGANLoss`` the generator minimises f itself.

    The generator's pairs have the real samples of the iteration. Under :class:`~minmax_plugin.mmgen.MinMaxHook` f is
    minus the discriminator's pair loss, without penalties.

    Examples:
        >>> from mmgen.models import build_model
        >>> generator = dict(type="MLPGenerator", out_shape=(2,))
        >>> discriminator = dict(type="MLPDiscriminator", in_shape=(2,))
        >>> gan_loss = dict(type="GANLoss", gan_type="vanilla")
        >>> networks = dict(generator=generator, discriminator=discriminator)
        >>> build_model(dict(type="RelativisticGAN", gan_loss=gan_loss, **networks)).disc_steps
        1
    """

    _reals: Tensor

    def train_step(self, data_batch: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._reals = data_batch[self.real_img_key]  # the toolkit gives the generator's loss no real samples
        outputs: dict[str, Any] = super().train_step(data_batch, *args, **kwargs)
        return outputs

    def _get_disc_loss(self, outputs_dict: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        difference = outputs_dict["disc_pred_real"] - outputs_dict["disc_pred_fake"]
        loss = self.gan_loss(difference, target_is_real=True, is_disc=True)
        return self._add("loss_disc_pair", loss, getattr(self, "disc_auxiliary_losses", None), outputs_dict)

    def _get_gen_loss(self, outputs_dict: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            real = self.discriminator(self._reals)
        loss = self.gan_loss(outputs_dict["disc_pred_fake_g"] - real, target_is_real=True, is_disc=False)
        return self._add("loss_gen_pair", loss, self.gen_auxiliary_losses, outputs_dict)

    def _add(
        self, name: str, loss: Tensor, auxiliary: Iterable[Any] | None, outputs_dict: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, float]]:
        """Add the auxiliary losses, as the toolkit's own models do."""
        losses = {name: loss}
        for module in auxiliary or ():
            if (extra := module(outputs_dict)) is not None:
                losses[module.loss_name()] = losses.get(module.loss_name(), 0.0) + extra
        total: tuple[Tensor, dict[str, float]] = self._parse_losses(losses)
        return total
