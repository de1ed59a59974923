_base_ = ["_base_/models/conv_cifar10.py", "_base_/datasets/cifar10.py", "_base_/runtime.py"]

custom_hooks = [{{_base_.metrics_hook}}]
total_iters = 2000  # discriminator steps, and cycles: k = 1
checkpoint_config = dict(interval=500, by_epoch=False)
