# The paper's networks, batch and 50,000 iterations (arXiv:2006.12376), for a GPU; not run by this project's tests.
_base_ = "cifar10_minmax.py"

model = dict(generator=dict(width=128), discriminator=dict(width=64))
data = dict(samples_per_gpu=128)
total_iters = 50000
metrics_hook = dict(type="SampleMetrics", interval=5000, metrics=[dict(type="FeatureDistance", num_images=10000, features="lite0")])
custom_hooks = [metrics_hook, dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.5))]
checkpoint_config = dict(interval=5000, by_epoch=False)
