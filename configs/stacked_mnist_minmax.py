_base_ = ["stacked_mnist_r1.py"]

optimizer = dict(generator=dict(type="MinMaxAdam"), discriminator=dict(type="MinMaxAdam"))
custom_hooks = [{{_base_.metrics_hook}}, dict(type="MinMaxHook")]
