# Proposals that look six discriminator steps ahead (an unrolled step), at the rates that a search found for the unrolled
# method: python -m experiments four_gaussians unrolled --tune --trials 12; docs/results.md says how far they go.
_base_ = "four_gaussians_minmax.py"

model = dict(type="UnrolledGAN")
train_cfg = dict(disc_steps=1, unrolled_steps=6)
total_iters = 1500
checkpoint_config = dict(interval=total_iters)
optimizer = dict(generator=dict(lr=0.003), discriminator=dict(lr=0.00042))
lr_config = dict(
    _delete_=True, policy="OfPlayer", player="generator", schedule=dict(policy="CosineAnnealing", min_lr=0)
)
custom_hooks = [
    {{_base_.metrics_hook}},
    dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.5), estimator="fresh"),
]
