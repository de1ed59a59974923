"""MinMax for MMGeneration: importing this registers the optimizers, the hook, data sets, networks and metrics.

A config opts in with ``custom_imports = dict(imports=["minmax_plugin.mmgen"])``.
"""

from minmax_plugin.mmgen.shims import apply_shims

apply_shims()  # before anything imports mmgen.models

from minmax_plugin.mmgen import (  # noqa: E402, F401
    baselines,
    data,
    features,
    hook,
    losses,
    metrics,
    networks,
    optimizers,
    relativistic,
    reporting,
    rounds,
    schedules,
    tensorboard,
)
