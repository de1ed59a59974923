"""What the confirming runs of a search say: the best settings and the unmodified config on fresh seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from minmax_tune.confirmation import Confirmation
from minmax_tune.report import tables
from minmax_tune.report.tables import Row, number
from minmax_tune.scores import difference, interval


@dataclasses.dataclass(frozen=True)
class Side:
    """The runs of one setting on the fresh seeds.

    Args:
        label: What it is, for people.
        rows: Its runs, by seed, those that failed too.
    """

    label: str
    rows: list[Row]

    @property
    def scores(self) -> list[float]:
        return [row.value for row in self.rows if row.finished]

    @property
    def mean(self) -> float | None:
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def interval(self) -> list[float] | None:
        return interval(self.scores)


@dataclasses.dataclass(frozen=True)
class Confirmed:
    """The confirming runs of a study.

    Args:
        study: The name of the study.
        metric: The first objective.
        mode: Its direction, ``max`` or ``min``.
        seeds: The fresh seeds.
        trial: The number of the best trial, or ``None`` before one has finished.
        sides: The unmodified config, and the best trial unless it is the same.
    """

    study: str
    metric: str
    mode: str
    seeds: list[int]
    trial: int | None
    sides: list[Side]

    @property
    def gain(self) -> tuple[float, list[float] | None] | None:
        """How much better the best is than the unmodified config, with Welch's 95 % interval. Below 0 it is worse."""
        if len(self.sides) < 2:
            return None
        unmodified, best = (side.scores for side in self.sides)
        return difference(best, unmodified) if self.mode == "max" else difference(unmodified, best)

    def lines(self) -> list[str]:
        """Say it in a sentence for each side."""
        if self.trial is None:
            return ["nothing to confirm: no trial has finished"]
        if not any(side.rows for side in self.sides):
            return ["not confirmed yet"]
        lines = [f"{side.label}: {self._reached(side)}" for side in self.sides]
        if len(self.sides) == 1:
            lines[0] += "; no trial was better, so there is no gain to confirm"
        elif self.gain is not None:
            lines[1] += f"; {_gained(*self.gain)}"
        return lines

    def summary(self) -> dict[str, Any]:
        """The numbers, for ``summary.json``."""
        gain, bounds = self.gain or (None, None)
        return {
            "seeds": self.seeds,
            "trial": self.trial,
            "gain": gain,
            "interval": bounds,
            "sides": [
                {
                    "what": side.label,
                    "mean": side.mean,
                    "interval": side.interval,
                    "scores": {str(row.settings["seed"]): row.value for row in side.rows if row.finished},
                    "failed": {str(row.settings["seed"]): row.reason for row in side.rows if row.state == "fail"},
                }
                for side in self.sides
            ],
        }

    def _reached(self, side: Side) -> str:
        done, failed = len(side.scores), sum(row.state == "fail" for row in side.rows)
        seeds = f"{done} of {len(self.seeds)}" if done < len(self.seeds) else str(done)
        said = f"{self.metric} {number(side.mean)} on {seeds} fresh seeds"
        return said + (f" ({failed} failed)" if failed else "")


def read_confirmed(confirmation: Confirmation, rows: Mapping[str, Sequence[Row]]) -> dict[str, Confirmed]:
    """Read the confirming runs of each study.

    Args:
        confirmation: The confirmation of a search.
        rows: The trials of the search, from :func:`minmax_tune.report.tables.read_rows`.
    """
    found, runs = {}, confirmation.rows()
    metric, mode = confirmation.objectives[0]
    for name, ranked in rows.items():
        best, seeds = tables.best(ranked), confirmation.fresh_seeds(ranked)
        labels: dict[int | None, str] = {} if best is None else {None: "unmodified config"}
        if best is not None and not best.baseline:
            labels[best.number] = f"best, trial {best.number}"
        sides = [
            Side(label, [row for seed in seeds if (row := runs[name].get((trial, seed)))])
            for trial, label in labels.items()
        ]
        found[name] = Confirmed(name, metric, mode, seeds, best.number if best else None, sides)
    return found


def told(confirmed: Mapping[str, Confirmed]) -> list[str]:
    """Say what was confirmed, with the study's name where there are several."""
    return [f"{c.study}: {line}" if len(confirmed) > 1 else line for c in confirmed.values() for line in c.lines()]


def _gained(gain: float, bounds: list[float] | None) -> str:
    word = "better" if gain > 0 else "worse" if gain < 0 else "neither better nor worse"
    by = f" by {number(abs(gain))}" if gain else ""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return word + by
    low, high = bounds if gain >= 0 else (-bounds[1], -bounds[0])
    clear = "" if low > 0 else " not clear yet:"
    return f"{clear.strip()} {word}{by}, 95 % interval {_bounds([low, high])}".strip()


def _bounds(bounds: Sequence[float]) -> str:
    return f"{number(bounds[0])} to {number(bounds[1])}"
