"""The rows of the evidence: data, networks and budget of each experiment."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from mmcv import Config

from minmax_plugin.mmgen.config import load_config
from tune.prepare import lay_dataset

ROOT = Path(__file__).resolve().parents[2]
RUNS = 20  # of a cell, as its command makes them
TUNING = 1001  # the first of the seeds that settings are chosen on, and results are not reported of


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One data set, with its networks and its budget.

    Args:
        title: for tables.
        config: the plain config of the toolkit that it rests on.
        k: ascent steps of a cycle, for the methods that take several.
        cycles: generator proposals (or steps) that a run has.
        every: cycles between measurements.
        reported: cycles at which results are compared.
        preset: of the released code for it; ``rate`` is the share of decisions that skip the test.
        rate: p, as published.
        wanted: what counts as success: a measurement, and the least value of it.
        shown: further measurements, for tables.
        drawn: the one that is drawn over cycles too, below what is wanted; None for no picture.
        minutes: of a processor that a run of plain descent-ascent takes, to say what an empty cell would cost.
        dataset: a config of another data set, laid over ``config``.
        data: environment variable that names the data, if they must be given.
        overlay: settings laid over the config.
        skipped: methods that are left out, and why.
        groups: of methods that are its columns.
        space: of the search for settings on it.
        trials: of that search, for each method.
        tuning_seeds: of each trial.
        first: seed of its runs.
    """

    title: str
    config: str
    k: int
    cycles: int
    every: int
    reported: tuple[int, ...]
    preset: str
    rate: float
    wanted: tuple[str, float]
    shown: tuple[str, ...]
    drawn: str | None
    minutes: float
    dataset: str | None = None
    data: str | None = None
    overlay: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    groups: tuple[str, ...] = ("this algorithm", "controls", "baselines", "tuned baselines")
    space: str = "points.yaml"
    trials: int = 16
    tuning_seeds: int = 4
    first: int = 1

    @property
    def networks(self) -> str:
        """What it has in common with the experiments on the same config: networks, batch and learning rates.

        It is the name of the one of them that settings are searched on, for all.
        """
        return Path(self.config).stem.removesuffix("_gda")

    @property
    def counted(self) -> bool:
        """Whether what is wanted can be counted, as modes can."""
        return self.wanted[0] != "kid"

    def empty(self, *, searched: bool) -> str:
        """Why a cell of it is empty that could be filled: what that would take.

        Args:
            searched: whether the settings that it needs have been found, or it needs none.
        """
        minutes, search = RUNS * self.minutes, ""
        if not searched:
            on = EXPERIMENTS[self.networks]
            minutes += on.trials * on.tuning_seeds * on.minutes
            search = f"a search of {on.trials} trials of {on.tuning_seeds} seeds, then "
        return f"for want of machine time: {search}{RUNS} runs, some {minutes / 60:.2g} CPU hours"

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here, if it cannot."""
        if self.data and not os.environ.get(self.data):
            return f"{self.data} does not name its data"
        return None

    def plain(self) -> Config:
        """Its config, before a method is laid over it: k = 1, measured as the budget says."""
        cfg = load_config(str(ROOT / self.config))
        if self.dataset:
            lay_dataset(cfg, load_config(str(ROOT / self.dataset)))
        cfg.merge_from_dict(self.overlay)
        if self.data:
            cfg.data.train.root = os.environ.get(self.data)
        cfg.checkpoint_config = None  # a run of minutes starts again rather than go on
        return cfg


POINTS = ("modes_by_eye", "modes_3sigma", "hq", "balance", "kid", "forgotten")
DIGITS = ("balance", "share_other", "kid", "forgotten")
ONES = ("share_1", *DIGITS)
_WHY = "not run: some 20 minutes a run on a core: six imagined steps, each differentiated through"
PICTURES: dict[str, Any] = dict(
    skipped=dict.fromkeys(("best-unrolled", "random-unrolled", "unrolled", "unrolled-tuned"), _WHY),
    space="pictures.yaml",
    trials=8,
    tuning_seeds=2,
)

EXPERIMENTS = {
    "four_gaussians": Experiment(
        "four Gaussians", "configs/four_gaussians_gda.py", 6, 1500, 100, (1500,), "released-gaussians", 1 / 4,
        ("modes", 4), POINTS, "hq", 1,
    ),
    "ablation": Experiment(
        "the ablation, on four Gaussians", "configs/four_gaussians_gda.py", 6, 1500, 100, (1500,), "released-gaussians",
        1 / 4, ("modes", 4), POINTS, "hq", 1, groups=("with the test", "with a coin", "without"),
    ),
    "tried": Experiment(
        "what was tried for our best setting, on four Gaussians", "configs/four_gaussians_gda.py", 6, 1500, 100,
        (1500,), "released-gaussians", 1 / 4, ("modes", 4), POINTS, None, 1, groups=("tried",), first=TUNING,
    ),
    "eight_gaussians": Experiment(
        "eight Gaussians", "configs/four_gaussians_gda.py", 6, 1500, 100, (1500,), "released-gaussians", 1 / 4,
        ("modes", 8), POINTS, "hq", 1, dataset="configs/_base_/datasets/eight_gaussians.py",
    ),
    "gaussian_grid": Experiment(
        "5×5 grid", "configs/four_gaussians_gda.py", 6, 1500, 100, (1500,), "released-gaussians", 1 / 4,
        ("modes", 25), POINTS, "hq", 1, dataset="configs/_base_/datasets/gaussian_grid.py",
    ),
    "mnist01_embedded": Experiment(
        "0-1 MNIST, 1,000 embedded digits", "configs/mnist01_gda.py", 1, 1000, 100, (1000,), "released-mnist", 1 / 5,
        ("digits", 2), ONES, "share_1", 1.5, **PICTURES,
    ),
    "mnist01": Experiment(
        "0-1 MNIST", "configs/mnist01_gda.py", 1, 2000, 250, (1000, 2000), "released-mnist", 1 / 5,
        ("digits", 2), ONES, "share_1", 2.7, data="MINMAX_MNIST", **PICTURES,
    ),
    "mnist": Experiment(
        "MNIST", "configs/mnist01_gda.py", 1, 2000, 250, (2000,), "released-mnist", 1 / 5,
        ("digits", 10), DIGITS, "balance", 2.7, data="MINMAX_MNIST", **PICTURES,
        overlay={
            "data.train.digits": None,
            "metrics_hook.metrics.0.digits": tuple(range(10)),
            "custom_hooks.0.metrics.0.digits": tuple(range(10)),
        },
    ),
    "cifar10": Experiment(
        "CIFAR-10", "configs/cifar10_gda.py", 1, 2000, 500, (2000,), "released-mnist", 1 / 2,
        ("kid", 0), ("kid", "fd"), "fd", 8, data="MINMAX_CIFAR10", **PICTURES,
    ),
}  # fmt: skip
