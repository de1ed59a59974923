"""MinMax for MMEngine: importing this registers the hook in MMEngine's root registry. MMagic's configs find it there.

A config opts in with ``custom_imports = dict(imports=["minmax_plugin.mmengine"])`` and a ``MinMaxHook``.
"""

from minmax_plugin.mmengine import hook  # noqa: F401
from minmax_plugin.mmengine.checkpoints import load_histories
from minmax_plugin.plain import load_numpy_numbers

load_numpy_numbers()
load_histories()
