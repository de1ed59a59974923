_base_ = "stacked_mnist_gda.py"

model = dict(
    disc_auxiliary_loss=dict(
        type="R1GradientPenalty",
        loss_weight=0.5,  # papers' γ/2 with γ = 1
        norm_mode="HWC",
        data_info=dict(discriminator="disc", real_data="real_imgs"),
    )
)
