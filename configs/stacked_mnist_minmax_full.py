# The toolkit's DCGAN with all channels, for a GPU; not run by this project's tests.
_base_ = ["stacked_mnist_minmax.py"]

model = dict(generator=dict(base_channels=1024), discriminator=dict(base_channels=128))
total_iters = 50000
metrics_hook = dict(type="SampleMetrics", interval=5000, metrics=dict(type="StackedModes", num_images=26000))
custom_hooks = [metrics_hook, dict(type="MinMaxHook")]
checkpoint_config = dict(interval=5000, by_epoch=False)
