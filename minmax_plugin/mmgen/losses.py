"""The saturating GAN loss, which the toolkit lacks."""

from __future__ import annotations

from mmgen.models.builder import MODULES
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
