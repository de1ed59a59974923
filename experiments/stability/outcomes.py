"""What became of a run: trained, too slow, collapsed or diverged.

The first rule that holds decides:

- *diverged*: a sample is not finite, or the samples' median distance from the centre is above three times the data's.
- *trained*: the run has the wanted modes at the end (all 8 of the ring, 16 of the 25 of the grid).
- *collapsed*: it has lost at least a quarter of the wanted modes since an earlier measurement. Or its samples are
  narrow: their spread is below a quarter of the data's. Or most of its samples (half of them) are near at most half
  of the wanted modes.
- *too slow*: anything else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.stability.tasks import Task

OUTCOMES = ("trained", "too slow", "collapsed", "diverged")
FAR, NARROW, NEAR, LOST = 3.0, 0.25, 0.5, 0.25


def classify(task: Task, samples: Tensor, modes: Tensor, quality: Tensor, best: Tensor) -> list[str]:
    """The outcome of each run.

    Args:
        task: What was trained on.
        samples: Of each run, runs × 2 × n.
        modes: Of each run at the end.
        quality: The share of its samples near a mode, at the end.
        best: The most modes that it had at an earlier measurement.
    """
    distance = samples.norm(dim=1).median(dim=1).values  # NaN if any is
    diverged = ~samples.isfinite().all(2).all(1) | (distance > FAR * task.spread)
    trained = modes >= task.wanted
    spread = samples.var(dim=2).sum(1).sqrt()
    lost = best - modes >= LOST * task.wanted
    few = (modes <= task.wanted / 2) & (quality >= NEAR)
    collapsed = lost | few | (spread < NARROW * task.spread)
    index = torch.where(diverged, 3, torch.where(trained, 0, torch.where(collapsed, 2, 1)))
    return [OUTCOMES[i] for i in index.tolist()]
