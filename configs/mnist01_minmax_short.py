# A quarter of the paper's 2,000 iterations, for the demonstration search.
_base_ = "mnist01_minmax.py"

total_iters = 500
checkpoint_config = dict(interval=total_iters, by_epoch=False)
