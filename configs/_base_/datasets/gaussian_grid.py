mixture = dict(modes=25, radius=4.0, sigma=0.05, layout="grid")
data = dict(
    samples_per_gpu=512,
    workers_per_gpu=0,
    train=dict(type="GaussianMixture", **mixture),
)
# The hook that measures this data set: configs put it into custom_hooks. A mode has 4 % of the data, and is found with
# a quarter of that.
metrics_hook = dict(
    type="SampleMetrics",
    interval=1500,
    metrics=[
        dict(type="ModeCoverage", num_images=2000, min_share=0.01, near=0.2, **mixture),
        dict(type="FeatureDistance", num_images=2000, features="raw"),
    ],
)
