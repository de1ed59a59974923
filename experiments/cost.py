"""What a cycle of each method costs, measured in turns with plain descent-ascent.

The cost depends on networks and batches and not on the data, so that experiments on one config share it. A control
may have other rates on another experiment; its cost is taken to be the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import torch
from mmcv import Config

from benchmarks.tables import commit, keep
from benchmarks.turns import bare, compare
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS

COLUMNS = ["ratio", "ratio_low", "ratio_high", "more_mib"]
CYCLES, ROUNDS = 10, 10  # in a turn, and turns of each


def read_costs(place: Path, experiment: str) -> pandas.DataFrame:
    """The cost of a cycle by method, as a ratio to plain descent-ascent with the experiment's k.

    Its columns are ``ratio``, with the 95 % interval in ``ratio_low`` and ``ratio_high``, and ``more_mib``: how much
    more memory it takes at most, in MiB.
    """
    file = _file(place, experiment)
    found = pandas.read_csv(file) if file.exists() else pandas.DataFrame(columns=["method", *COLUMNS])
    costs = found.set_index("method").reindex(columns=COLUMNS)
    for anchor in _anchors(experiment):
        costs.loc[anchor] = [1.0, 1.0, 1.0, 0.0]
    return costs


def measure_cost(place: Path, experiment: str, method: str, rates: dict[str, Any]) -> None:
    """Measure the time and memory of a cycle, if that has not been done, and add them to ``NETWORKS_cost.csv``."""
    if method in read_costs(place, experiment).index:
        return
    torch.set_num_threads(1)
    sides = [_training_alone(experiment, name, rates) for name in (_anchors(experiment)[0], method)]
    iterations = [max(1, round(CYCLES * cfg.iterations_per_cycle)) for cfg in sides]
    # A method may have a fractional number of iterations to a cycle, on average.
    cycles = [n / cfg.iterations_per_cycle for n, cfg in zip(iterations, sides, strict=True)]
    found = compare(sides, iterations, ROUNDS)
    row = {"method": method} | {
        name: round(value * cycles[0] / cycles[1], 3) for name, value in found.items() if name.startswith("ratio")
    }
    row |= {"more_mib": round(found["more_mib"], 1), "commit": commit()}
    keep(_file(place, experiment), [row], ["method"])


def merge_costs(fresh: Path, into: Path, experiment: str) -> None:
    """Add fresh costs to those that are there."""
    if _file(fresh, experiment).exists():
        keep(_file(into, experiment), pandas.read_csv(_file(fresh, experiment)), ["method"])


def _anchors(experiment: str) -> tuple[str, str]:
    """The names of plain descent-ascent: among the baselines, and in the ablation."""
    k = EXPERIMENTS[experiment].k
    return f"gda-{k}", f"off-k{k}"


def _file(place: Path, experiment: str) -> Path:
    return place / f"{EXPERIMENTS[experiment].networks}_cost.csv"


def _training_alone(experiment: str, method: str, rates: dict[str, Any]) -> Config:
    """A method's config without measurements, logs and checkpoints."""
    cfg = bare(METHODS[method].config(EXPERIMENTS[experiment], rates))
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook["type"] != "SampleMetrics"]
    cfg.total_iters = 10**6
    return cfg
