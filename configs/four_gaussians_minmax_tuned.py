# The settings that a search and a look by hand found (python -m benchmarks.evidence four_gaussians practical --tune,
# then python -m benchmarks.evidence tried); docs/results.md says how far they go.
_base_ = "four_gaussians_minmax.py"

optimizer = dict(generator=dict(lr=2.5e-3), discriminator=dict(lr=3e-4))
lr_config = dict(
    _delete_=True, policy="OfPlayer", player="generator", schedule=dict(policy="CosineAnnealing", min_lr=0)
)
custom_hooks = [
    {{_base_.metrics_hook}},
    dict(type="MinMaxHook", acceptance=dict(type="constant", rate=0.5192666387342147), value="fresh"),
]
