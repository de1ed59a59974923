"""Models whose iteration is a round of a method of :mod:`minmax_plugin.baselines`: unrolled GANs and LEAD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgen.models.builder import MODELS
from mmgen.models.gans import StaticUnconditionalGAN
from torch import Tensor

from minmax_plugin.baselines import Lead, Unrolled


class RoundGAN(StaticUnconditionalGAN):
    """Base of an unconditional GAN that one iteration trains by one round: a discriminator step, then a generator step.

    All its losses see one batch and one draw of noise. The model needs one device and single precision, without
    auxiliary losses.

    Under :class:`~minmax_plugin.mmgen.MinMaxHook` the generator's step is the proposal. arXiv:2006.12376 allows any
    distribution of proposals. The discriminator's step, k = 1, is the response.
    """

    _round: Unrolled | Lead | None = None

    def make_round(self, optimizer: Mapping[str, Any]) -> Unrolled | Lead:
        """Make the method, given the optimizers of both players."""
        raise NotImplementedError

    def train_step(
        self,
        data_batch: Mapping[str, Tensor],
        optimizer: Mapping[str, Any],
        ddp_reducer: Any = None,
        loss_scaler: Any = None,
        use_apex_amp: bool = False,
        running_status: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        if self._round is None:
            auxiliary = self.with_disc_auxiliary_loss or self.with_gen_auxiliary_loss
            if auxiliary or self.disc_steps != 1 or ddp_reducer is not None or loss_scaler is not None or use_apex_amp:
                raise ValueError(
                    f"{type(self).__name__} is for disc_steps=1, one device and single precision, without auxiliary "
                    "losses; change the config, or use StaticUnconditionalGAN."
                )
            self._round = self.make_round(optimizer)
        self._real = data_batch[self.real_img_key]
        self._noise = self.generator(None, num_batches=len(self._real), return_noise=True)["noise_batch"]
        self._losses: dict[str, Tensor] = {}
        # The gradients are set, not added up; but zero_grad() tells MinMax's optimizers whose turn it is.
        optimizer["discriminator"].zero_grad()
        self._round.ascend()
        optimizer["generator"].zero_grad()
        self._round.descend()
        images = dict(real_imgs=self._real.cpu(), fake_imgs=self.generator(self._noise).detach().cpu())
        log_vars = {name: loss.item() for name, loss in self._losses.items()}
        return dict(log_vars=log_vars, num_samples=len(self._real), results=images)

    def _max_loss(self) -> Tensor:
        fake, real = self.discriminator(self.generator(self._noise)), self.discriminator(self._real)
        loss = self.gan_loss(fake, target_is_real=False, is_disc=True) + self.gan_loss(
            real, target_is_real=True, is_disc=True
        )
        self._losses.setdefault("loss_disc", loss)
        return loss

    def _min_loss(self) -> Tensor:
        # The half on real images belongs to it: through imagined steps it depends on the generator too.
        fake, real = self.discriminator(self.generator(self._noise)), self.discriminator(self._real)
        loss = self.gan_loss(fake, target_is_real=True, is_disc=False)
        self._losses["loss_gen"] = loss
        return loss - self.gan_loss(real, target_is_real=True, is_disc=True)


@MODELS.register_module()
class UnrolledGAN(RoundGAN):
    """An unconditional GAN whose generator looks ``train_cfg.unrolled_steps`` discriminator steps ahead (default 6).

    Its round is :class:`~minmax_plugin.baselines.Unrolled` (Metz et al. 2017, arXiv:1611.02163). One batch for all
    losses is what the public demonstration of the method has. The discriminator needs plain Adam or SGD.

    Raises:
        ValueError: At the first iteration, if a setting cannot be unrolled. ``minmax-train`` refuses most of them
            before.

    Examples:
        >>> from mmgen.models import build_model
        >>> generator = dict(type="MLPGenerator", out_shape=(2,))
        >>> discriminator = dict(type="MLPDiscriminator", in_shape=(2,))
        >>> settings = dict(generator=generator, discriminator=discriminator, gan_loss=dict(type="SaturatingGANLoss"))
        >>> build_model(dict(type="UnrolledGAN", **settings), train_cfg=dict(unrolled_steps=2)).unrolled_steps
        2
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unrolled_steps = (self.train_cfg or {}).get("unrolled_steps", Unrolled.k)

    def make_round(self, optimizer: Mapping[str, Any]) -> Unrolled:
        players = optimizer["generator"], optimizer["discriminator"]
        return Unrolled(*players, self._min_loss, self._max_loss, module=self.discriminator, k=self.unrolled_steps)


@MODELS.register_module()
class LeadGAN(RoundGAN):
    """An unconditional GAN that is trained by LEAD, with the coefficient ``train_cfg.lead_alpha`` (default 0.6).

    Its round is :class:`~minmax_plugin.baselines.Lead` (arXiv:2010.13846), the players by turns, as in the released
    code of the method. The optimizers are those of the config: Adam for GANs, SGD with momentum for the formula.

    Raises:
        ValueError: At the first iteration, if ``lead_alpha`` is out of range, or a setting does not fit.

    Examples:
        >>> from mmgen.models import build_model
        >>> generator = dict(type="MLPGenerator", out_shape=(2,))
        >>> discriminator = dict(type="MLPDiscriminator", in_shape=(2,))
        >>> settings = dict(generator=generator, discriminator=discriminator, gan_loss=dict(type="SaturatingGANLoss"))
        >>> build_model(dict(type="LeadGAN", **settings), train_cfg=dict(lead_alpha=0.3)).lead_alpha
        0.3
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lead_alpha = (self.train_cfg or {}).get("lead_alpha", Lead.alpha)

    def make_round(self, optimizer: Mapping[str, Any]) -> Lead:
        players = optimizer["generator"], optimizer["discriminator"]
        return Lead(*players, self._min_loss, self._max_loss, alpha=self.lead_alpha)
