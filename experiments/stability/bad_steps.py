"""The table of bad steps: every kind of trouble under every remedy, one stack of seeds for each.

A run has survived if its modes and its high-quality share are at least 0.9 of those of the undisturbed plain run of
its seed. Both are means over the last five measurements. All runs have as many cycles, so that time lost counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import Tensor

from experiments.stability.losses import Losses
from experiments.stability.methods import PLAIN, R1
from experiments.stability.outcomes import classify
from experiments.stability.remedies import REMEDIES, Choice
from experiments.stability.results import Table
from experiments.stability.rules import random
from experiments.stability.tasks import TASKS, Batches
from experiments.stability.training import Training
from experiments.stability.troubles import TROUBLES

LOSSES: dict[str, Losses] = {"r1": R1, "plain": PLAIN}
LR = 1e-3  # of both players
SEEDS = 24
CYCLES = 4000
EVERY, LAST = 100, 5  # cycles from one measurement to the next, and the measurements that count
WITHIN = 0.9  # of the undisturbed run
KEYS = ("losses", "trouble", "remedy")


def run(
    losses: str, trouble: str, remedy: str, seeds: int, cycles: int, rate: float | None = None
) -> list[dict[str, Any]]:
    """Train all seeds of a line at once, and return a row for each. ``rate``: of a random control."""
    choice: Choice = REMEDIES[remedy]
    rule = choice.rule() if choice.rule else None
    if rule and rate is not None:
        rule = random(torch.tensor(rate), rule)
    task, lr, wrong = TASKS["ring8"], torch.full((seeds,), LR), TROUBLES[trouble][1]()
    training = Training(Batches(task, seeds, 0), lr, lr, LOSSES[losses], rule, wrong, choice.remedy())
    measured: list[tuple[Tensor, Tensor]] = []
    for cycle in range(cycles):
        training.cycle()
        if (cycle + 1) % EVERY == 0 or cycle + 1 == cycles:
            samples = training.samples()
            measured.append(task.measure(samples))
    modes, quality = (torch.stack(values).double() for values in zip(*measured, strict=True))
    outcome = classify(task, samples, modes[-1], quality[-1], modes.max(0).values)
    lost = training.remedy.lost + (training.proposals - training.accepted if rule else 0.0)
    columns = dict(
        modes=modes[-LAST:].mean(0),
        quality=quality[-LAST:].mean(0),
        modes_at_end=modes[-1],
        accepted=training.share_accepted,
        lost=torch.as_tensor(lost).expand(seeds),
        hits=getattr(wrong, "hits", torch.zeros(seeds)),
    )
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [
        dict(
            losses=losses,
            trouble=trouble,
            remedy=remedy,
            seed=seed,
            outcome=outcome[seed],
            **dict(zip(columns, row, strict=True)),
        )
        for seed, row in enumerate(rows)
    ]


def survived(frame: pandas.DataFrame) -> pandas.Series:
    """Whether each run of the table survived; only for losses with a line of undisturbed plain runs."""
    plain = frame[(frame["trouble"] == "none") & (frame["remedy"] == "none")].set_index(["losses", "seed"])
    there = plain.loc[pandas.MultiIndex.from_frame(frame[["losses", "seed"]])].set_axis(frame.index)
    return (frame["modes"] >= WITHIN * there["modes"]) & (frame["quality"] >= WITHIN * there["quality"])


def write_bad_steps(
    losses: Sequence[str],
    troubles: Sequence[str],
    remedies: Sequence[str],
    folder: Path,
    seeds: int = SEEDS,
    cycles: int = CYCLES,
) -> None:
    """Add the missing lines to the table. A random control accepts as often as its rule did on the same line.

    Raises:
        ValueError: If a control comes before its rule.
    """
    table = Table(folder, "bad_steps", KEYS)
    for key in ((a, b, c) for a in losses for b in troubles for c in remedies):
        if table.has(*key):
            continue
        rate, after = None, REMEDIES[key[2]].after
        if after:
            frame = table.read()
            line = frame[(frame[list(KEYS)] == [*key[:2], after]).all(axis=1)]
            if line.empty:
                raise ValueError(f"{key[2]} needs the line of {after} first.")
            rate = float(line["accepted"].mean())
        began = time.time()
        rows = run(*key, seeds, cycles, rate)
        table.add(rows, began, cycles=cycles)
        full = sum(row["modes_at_end"] == 8 for row in rows)
        print(f"{', '.join(key)}: all modes {full}/{seeds}, {time.time() - began:.0f} s", flush=True)
