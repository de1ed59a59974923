# One mode weighs twice: the authors' released sampler draws it so.
mixture = dict(modes=4, radius=1.0, sigma=0.01, weights=(0.4, 0.2, 0.2, 0.2))
data = dict(
    samples_per_gpu=512,
    workers_per_gpu=0,
    train=dict(type="GaussianMixture", **mixture),
)
# The hook that measures this data set: configs put it into custom_hooks.
metrics_hook = dict(
    type="SampleMetrics",
    interval=1500,
    metrics=[
        dict(type="ModeCoverage", num_images=2000, **mixture),
        dict(type="FeatureDistance", num_images=2000, features="raw"),
    ],
)
