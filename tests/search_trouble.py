"""A hook that makes trouble, for tests of searches; a config takes it by custom_imports."""

import os
import signal
import time
from pathlib import Path

from mmcv.runner import HOOKS, Hook


@HOOKS.register_module(force=True)
class Trouble(Hook):
    """Makes a training fail, die or dawdle at iteration ``at``, unless TROUBLE=off.

    Args:
        kind: ``none``, ``raise``, ``tell`` (a password), ``nan``, ``memory``, ``disk``, ``kill`` (each time) or
            ``kill once``.
        at: the iteration.
        pause: seconds to wait after each iteration.
    """

    reads_weights = False

    def __init__(self, kind="none", at=25, pause=0.0):
        self.kind = "none" if os.environ.get("TROUBLE") == "off" else kind
        self.at, self.pause = at, pause

    def after_train_iter(self, runner):
        time.sleep(self.pause)
        if self.kind == "nan" and runner.iter + 1 >= self.at:  # again and again: MinMax takes one such step back
            next(runner.model.parameters()).detach().fill_(float("nan"))
        if runner.iter + 1 != self.at:
            return
        if self.kind == "raise":
            raise ValueError("this trial was made to fail")
        if self.kind == "tell":
            raise ConnectionError(f"cannot reach x://me:{os.environ['PASSWORD']}@host as {os.environ['PLAIN']!r}")
        if self.kind == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        if self.kind == "disk":
            Path("/dev/full").write_text("a")  # a real ENOSPC
        killed = Path(runner.work_dir) / "killed"
        if self.kind == "kill" or (self.kind == "kill once" and not killed.exists()):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module(force=True)
class Ramp(Hook):
    """A metric that rises by ``slope`` an iteration."""

    reads_weights = False

    def __init__(self, slope, interval=20):
        self.slope, self.interval = slope, interval

    def after_train_iter(self, runner):
        if self.every_n_iters(runner, self.interval):
            runner.log_buffer.output["ramp"] = self.slope * (runner.iter + 1)
