# Descent-ascent at the published rates, with the zero-centred gradient penalty R1 of weight 1 (γ = 2).
_base_ = "four_gaussians_gda.py"

data_info = dict(discriminator="disc", real_data="real_imgs")
model = dict(
    disc_auxiliary_loss=dict(type="R1GradientPenalty", loss_weight=1.0, norm_mode="HWC", data_info=data_info)
)
