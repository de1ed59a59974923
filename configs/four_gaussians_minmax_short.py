# Half of the paper's 1,500 cycles, for searches on a laptop.
_base_ = "four_gaussians_minmax.py"

total_iters = 750 * 6
checkpoint_config = dict(interval=total_iters, by_epoch=False)
