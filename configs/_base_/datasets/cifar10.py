# root: the folder that torchvision.datasets.CIFAR10(download=True) fills, or a folder or tar archive of images in
# train/CLASS/ and test/CLASS/; taken from the environment unless it is given (--cfg-options data.train.root=...).
import os

data = dict(
    samples_per_gpu=64,
    workers_per_gpu=0,
    train=dict(type="CIFAR10", root=os.environ.get("MINMAX_CIFAR10")),
)
# The hook that measures this data set: configs put it into custom_hooks.
metrics_hook = dict(
    type="SampleMetrics",
    interval=500,
    metrics=[dict(type="FeatureDistance", num_images=1000, features="lite0")],
)
