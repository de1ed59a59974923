"""Checkpoints of the toolkit's runners that torch.load reads: the toolkit saves numbers of NumPy.

The toolkit also asks for a GPU to load to.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy
import torch

from minmax_plugin.plain import plain


def save_plainly(runner: type[Any]) -> None:
    """Make a class of runners write plain numbers into its checkpoints, with any hooks and schedules."""
    stock = runner.save_checkpoint

    @functools.wraps(stock)
    def save_checkpoint(self: Any, *args: Any, meta: Any = None, **kwargs: Any) -> None:
        self.meta = plain(self.meta)
        optimizers = self.optimizer.values() if isinstance(self.optimizer, Mapping) else [self.optimizer]
        for optimizer in filter(None, optimizers):
            for group in optimizer.param_groups:
                group.update({name: plain(v) for name, v in group.items() if isinstance(v, numpy.generic)})
        stock(self, *args, meta=plain(meta), **kwargs)

    runner.save_checkpoint = save_checkpoint


def resume_on_cpu(runner: type[Any]) -> None:
    """Make a class of runners resume on the CPU where there is no GPU. By default it asks for a GPU all the same."""
    stock = runner.resume

    @functools.wraps(stock)
    def resume(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **({} if torch.cuda.is_available() else {"map_location": "cpu"}) | kwargs)

    runner.resume = resume
