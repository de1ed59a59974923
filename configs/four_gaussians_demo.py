# The demo of the search starts here: plain descent-ascent, one generator step to each discriminator step. It collapses.
_base_ = "four_gaussians_gda.py"

train_cfg = dict(disc_steps=1)
total_iters = 2000
checkpoint_config = dict(interval=total_iters, by_epoch=False)
custom_hooks = [
    dict(
        type="SampleMetrics",
        interval=1000,
        metrics=[dict(type="ModeCoverage", num_images=2000, modes=4, sigma=0.01, weights=(0.4, 0.2, 0.2, 0.2))],
    )
]
