"""A data set that cannot be built."""

data = dict(train=dict(type="GaussianMixture", modes=0))
