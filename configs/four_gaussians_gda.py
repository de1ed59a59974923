_base_ = ["_base_/models/mlp_points.py", "_base_/datasets/four_gaussians.py", "_base_/runtime.py"]

custom_hooks = [{{_base_.metrics_hook}}]
total_iters = 1500 * 6  # discriminator steps: 1500 cycles of k = 6
checkpoint_config = dict(interval=total_iters, by_epoch=False)
