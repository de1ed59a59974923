# The settings that a search chose: python -m experiments mnist01 practical --tune; docs/results.md says how far
# they go. Those of the paper lose one digit by iteration 2000. Found on all zeros and ones of MNIST (data.train.root).
_base_ = "mnist01_minmax.py"

optimizer = dict(generator=dict(lr=1e-3), discriminator=dict(lr=1e-3))
custom_hooks = [{{_base_.metrics_hook}}, dict(type="MinMaxHook", preset="practical", acceptance=dict(type="constant", rate=0.6))]
