_base_ = ["_base_/models/dcgan_32.py", "_base_/datasets/stacked_mnist.py", "_base_/runtime.py"]

custom_hooks = [{{_base_.metrics_hook}}]
total_iters = 3000  # discriminator steps, and cycles: k = 1
checkpoint_config = dict(interval=500, by_epoch=False)
