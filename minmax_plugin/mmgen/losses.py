"""Losses that the toolkit lacks: the saturating GAN loss, and the gradient penalty on generated samples."""

from __future__ import annotations

from collections.abc import Mapping

from mmgen.models.builder import MODULES
from mmgen.models.losses.disc_auxiliary_loss import R1GradientPenalty
from mmgen.models.losses.gan_loss import GANLoss
from torch import Tensor


@MODULES.register_module()
class SaturatingGANLoss(GANLoss):
    """The loss of the min-max game itself: the generator minimises E[log(1 − D(G(z)))].

    The toolkit's ``vanilla`` loss gives the generator −E[log D(G(z))] instead. The discriminator's halves
    are the same. The paper's four-Gaussian experiment uses this one.

    Args:
        loss_weight: The factor of the generator's loss.

    Examples:
        >>> import torch, minmax_plugin.mmgen
        >>> SaturatingGANLoss()(torch.zeros(4, 1), target_is_real=True).item()
        -0.6931471824645996
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__("vanilla", loss_weight=loss_weight)

    def forward(self, input: Tensor, target_is_real: bool, is_disc: bool = False) -> Tensor:
        if is_disc:
            return super().forward(input, target_is_real, is_disc=True)
        return -super().forward(input, not target_is_real, is_disc=False)


@MODULES.register_module()
class R2GradientPenalty(R1GradientPenalty):
    """The zero-centred gradient penalty on generated samples, E‖∇D(G(z))‖² (Mescheder et al. 2018, arXiv:1801.04406).

    It is for ``disc_auxiliary_loss``, as the toolkit's ``R1GradientPenalty`` is, which is the same on real samples.
    Papers write γ/2 where both have ``loss_weight``: a weight of 1 is γ = 2.

    Args:
        loss_weight: The factor of the penalty.
        norm_mode: ``"HWC"`` is the formula: squares are summed over each sample, and averaged over samples.
            ``"pixel"``, the toolkit's default, averages over pixels too. So it is H·W times smaller. For samples of
            shape (N, D) the two are the same.
        interval: The number of iterations from one penalty to the next.
        data_info: Names of the model's data for the arguments ``discriminator`` and ``fake_data``. Most models need
            no others than the default.
        loss_name: Its name in the log, with the prefix ``loss_``.

    Examples:
        >>> import torch, minmax_plugin.mmgen
        >>> seen = dict(disc=lambda x: (3 * x).sum(1, keepdim=True), fake_imgs=torch.zeros(4, 2))
        >>> R2GradientPenalty(loss_weight=0.5, norm_mode="HWC")(seen).item()  # 0.5 · (3² + 3²)
        9.0
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        norm_mode: str = "pixel",
        interval: int = 1,
        data_info: Mapping[str, str] | None = None,
        loss_name: str = "loss_r2_gp",
    ) -> None:
        given = dict(discriminator="disc", fake_data="fake_imgs") | dict(data_info or {})
        given["real_data"] = given.pop("fake_data")  # the toolkit's name for the samples to penalise
        super().__init__(loss_weight, norm_mode, interval, given, loss_name=loss_name)
