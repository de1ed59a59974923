# The settings that a search found: python -m experiments four_gaussians practical --tune; docs/results.md says
# how far they go.
_base_ = "four_gaussians_minmax.py"

optimizer = dict(generator=dict(lr=0.0017120016084758707), discriminator=dict(lr=0.00021070587558434355))
lr_config = dict(
    _delete_=True, policy="OfPlayer", player="generator", schedule=dict(policy="CosineAnnealing", min_lr=0)
)
custom_hooks = [
    {{_base_.metrics_hook}},
    dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.5192666387342147), estimator="fresh"),
]
