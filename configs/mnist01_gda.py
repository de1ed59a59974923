_base_ = ["_base_/models/mlp_digits.py", "_base_/datasets/mnist01.py", "_base_/runtime.py"]

custom_hooks = [{{_base_.metrics_hook}}]
total_iters = 2000  # discriminator steps, and cycles: k = 1
checkpoint_config = dict(interval=total_iters, by_epoch=False)
