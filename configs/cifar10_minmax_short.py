# Some minutes on a core, for searches on a laptop.
_base_ = "cifar10_minmax.py"

total_iters = 400
metrics_hook = dict(type="SampleMetrics", interval=200, metrics=[dict(type="FeatureDistance", num_images=500, features="lite0")])
custom_hooks = [metrics_hook, dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.5))]
checkpoint_config = dict(interval=200, by_epoch=False)
