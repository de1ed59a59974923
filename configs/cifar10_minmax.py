_base_ = "cifar10_gda.py"

optimizer = dict(generator=dict(type="MinMaxAdam"), discriminator=dict(type="MinMaxAdam"))
custom_hooks = [{{_base_.metrics_hook}}, dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.5))]
