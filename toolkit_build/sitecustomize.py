"""Lets mmcv and mmgen be built on Python 3.13, as ``make setup`` does: ``PYTHONPATH=$PWD/toolkit_build pip install``.

The path must be absolute, because pip runs their setup.py in a separate folder.
Their setup.py finds its version by ``exec(...)`` and then ``locals()``, which share nothing since 3.13 (PEP 667).
"""

import builtins
import sys

_exec = builtins.exec


def _exec_into_caller(source, globals=None, locals=None, /, **more):
    if globals is None:
        frame = sys._getframe(1)
        globals, locals = frame.f_globals, frame.f_locals
    return _exec(source, globals, locals, **more)


if sys.version_info >= (3, 13):
    builtins.exec = _exec_into_caller
