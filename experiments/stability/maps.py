"""The map of stability: every method over a grid of both players' learning rates, one stack for each seed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import Tensor

from experiments.stability.methods import METHODS, Method
from experiments.stability.outcomes import classify
from experiments.stability.results import Table
from experiments.stability.tasks import TASKS, Batches, Task
from experiments.stability.training import Training

CYCLES = 4000
EVERY = 500  # cycles from one measurement to the next
RATES = tuple(10 ** (math.log10(3e-4) + i / 2) for i in range(5))  # 3e-4 to 3e-2
CELLS = [(g, d) for g in RATES for d in RATES]


def annealing(cycle: int, cycles: int) -> float:
    """Half a cosine, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * cycle / cycles))


def train(training: Training, method: Method, cycles: int, every: int) -> Tensor:
    """Train to the end, and return the most modes of each run at the measurements on the way."""
    best = torch.zeros(training.batches.runs, dtype=torch.long)
    for cycle in range(cycles):
        training.cycle(annealing(cycle, cycles) if method.anneal else 1.0)
        if (cycle + 1) % every == 0 and cycle + 1 < cycles:
            best = torch.maximum(best, training.batches.task.measure(training.samples())[0])
    return best


def run(
    name: str, task: Task, seed: int, rate: Tensor | None, cells: Sequence[tuple[float, float]], cycles: int, every: int
) -> list[dict[str, Any]]:
    """Train one seed of a method in all cells at once, and return a line for each cell."""
    method = METHODS[name]
    lr_g, lr_d = torch.tensor(cells, dtype=torch.float64).T
    training = method.start(Batches(task, len(cells), seed), lr_g, lr_d, rate)
    best = train(training, method, cycles, every)
    samples = training.samples()
    modes, quality = task.measure(samples)
    columns = zip(
        cells,
        modes.tolist(),
        quality.tolist(),
        classify(task, samples, modes, quality, best),
        training.share_accepted.tolist(),
        strict=True,
    )
    return [
        dict(method=name, seed=seed, lr_g=g, lr_d=d, modes=m, quality=q, outcome=o, accepted=a)
        for (g, d), m, q, o, a in columns
    ]


def matched_rate(frame: pandas.DataFrame, method: str, cells: Sequence[tuple[float, float]]) -> Tensor | None:
    """The share of proposals that a method accepted in each cell, over its seeds; None if a cell has no run."""
    if not (frame["method"] == method).any():
        return None
    shares = frame[frame["method"] == method].groupby(["lr_g", "lr_d"])["accepted"].mean()
    keys = [(float(f"{g:.4g}"), float(f"{d:.4g}")) for g, d in cells]  # as the table has them
    return torch.tensor([shares[key] for key in keys]) if all(key in shares.index for key in keys) else None


def write_map(
    task: str,
    methods: Sequence[str],
    seeds: int | None,
    folder: Path,
    cycles: int = CYCLES,
    every: int = EVERY,
    cells: Sequence[tuple[float, float]] = CELLS,
) -> None:
    """Add the missing seeds of methods to a task's map.

    A random control accepts as often as its method did in the same cell, on average over the method's seeds.

    Args:
        task: A name in ``TASKS``.
        methods: Names in ``METHODS``.
        seeds: Their number, 0, 1, …; None for each method's own.
        folder: Of the table.
        cycles: Of a run.
        every: Cycles from one measurement to the next.
        cells: The pairs of learning rates.

    Raises:
        ValueError: If a control comes before its method.
    """
    table = Table(folder, f"map_{task}", ("method", "seed"))
    for name in methods:
        after = METHODS[name].after
        for seed in range(METHODS[name].seeds if seeds is None else seeds):
            if table.has(name, seed):
                continue
            rate = matched_rate(table.read(), after, cells) if after else None
            if after and rate is None:
                raise ValueError(f"{name} needs the map of {after} first.")
            began = time.time()
            rows = run(name, TASKS[task], seed, rate, cells, cycles, every)
            table.add(rows, began, cycles=cycles)
            trained = sum(row["outcome"] == "trained" for row in rows)
            print(
                f"{task}, {name}, seed {seed}: {trained}/{len(rows)} trained, {time.time() - began:.0f} s", flush=True
            )
