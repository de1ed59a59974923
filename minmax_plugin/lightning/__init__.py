"""MinMax for Lightning: a callback for modules with manual optimization.

A script opts in with ``Trainer(callbacks=[MinMaxCallback()])``.
"""

from minmax_plugin.lightning.callback import MinMaxCallback

__all__ = ["MinMaxCallback"]
