"""The experiments: data, networks and budget of each."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Any

from mmcv import Config

from benchmarks.tables import ROOT
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.host import set_dataset

RUNS = 20  # of each method, as its command makes them
TUNING = 1001  # the first seed that settings are chosen on; results on these seeds are not reported
GROUPS = ("this algorithm", "controls", "baselines", "tuned baselines")  # of methods, in most experiments
ABLATION = ("with the test", "with random acceptance", "without")
EXPLORATORY = "exploratory"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One data set, with its networks and its budget.

    Args:
        title: for tables.
        config: the plain config of the toolkit that it rests on.
        k: ascent steps of a cycle, for the methods that take several.
        cycles: generator proposals (or steps) of a run.
        every: cycles between measurements.
        reported: cycles at which results are compared.
        preset: the settings of the released code for it.
        rate: the share of decisions that skip the test, p, as published.
        shown: further measurements, for tables.
        minutes: processor time of a run of plain descent-ascent, for the estimate of a missing result.
        wanted: what counts as success: a measurement, and its least value.
        drawn: the measurement that is drawn over cycles below ``wanted``; None for no picture.
        dataset: a config of another data set, which replaces that of ``config``.
        data: environment variable that names the data, if they must be given.
        overlay: settings that replace those of the config.
        skipped: methods that are left out, and why.
        groups: of the methods that it compares.
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
    shown: tuple[str, ...]
    minutes: float
    wanted: tuple[str, float]
    drawn: str | None
    dataset: str | None = None
    data: str | None = None
    overlay: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    groups: tuple[str, ...] = GROUPS
    space: str = "points.yaml"
    trials: int = 16
    tuning_seeds: int = 4
    first: int = 1

    @property
    def networks(self) -> str:
        """The name of its config, which other experiments share, with networks, batch and learning rates.

        It also names the experiment on which settings are searched for all of them.
        """
        return Path(self.config).stem.removesuffix("_gda")

    @property
    def counted(self) -> bool:
        """Whether success can be counted, as modes can."""
        return self.wanted[0] != "kid"

    def empty(self, *, searched: bool) -> str:
        """Why a result is missing that could be had: what it would take.

        Args:
            searched: whether its settings have been found, or it needs none.
        """
        minutes, search = RUNS * self.minutes, ""
        if not searched:
            on = EXPERIMENTS[self.networks]
            minutes += on.trials * on.tuning_seeds * on.minutes
            search = f"a search of {on.trials} trials of {on.tuning_seeds} seeds, then "
        return f"for want of machine time: {search}{RUNS} runs, some {minutes / 60:.2g} CPU hours"

    def reason_to_skip(self, method: str) -> str | None:
        """Why a method cannot be run on it here, if it cannot."""
        if self.data and not os.environ.get(self.data):
            return f"{self.data} does not name its data"
        return self.skipped.get(method)

    def plain(self) -> Config:
        """Its config before a method changes it: k = 1, measured as the budget says."""
        cfg = load_config(str(ROOT / self.config))
        if self.dataset:
            set_dataset(cfg, load_config(str(ROOT / self.dataset)))
        cfg.merge_from_dict(self.overlay)
        if self.data:
            cfg.data.train.root = os.environ.get(self.data)
        cfg.checkpoint_config = None  # an interrupted run of minutes starts again
        return cfg


DIGITS = ("balance", "share_other", "kid", "forgotten")
SLOW = "not run: some 20 minutes a run on a core: six imagined steps, each differentiated through"
gaussians = partial(
    Experiment, config="configs/four_gaussians_gda.py", k=6, cycles=1500, every=100, reported=(1500,),
    preset="released-gaussians", rate=1 / 4, minutes=1,
    shown=("modes_by_eye", "modes_3sigma", "hq", "balance", "kid", "forgotten"),
)  # fmt: skip
pictures = partial(
    Experiment, config="configs/mnist01_gda.py", k=1, cycles=2000, every=250, reported=(2000,),
    preset="released-mnist", rate=1 / 5, minutes=2.7, shown=("share_1", *DIGITS), drawn="share_1",
    space="pictures.yaml", trials=8, tuning_seeds=2,
    skipped=dict.fromkeys(("best-unrolled", "random-unrolled", "unrolled", "unrolled-tuned"), SLOW),
)  # fmt: skip
EXPERIMENTS = {
    "four_gaussians": gaussians("four Gaussians", wanted=("modes", 4), drawn="hq"),
    "ablation": gaussians("the ablation, on four Gaussians", wanted=("modes", 4), drawn="hq", groups=ABLATION),
    "exploratory": gaussians(
        "exploratory runs for our best setting, on four Gaussians",
        wanted=("modes", 4), drawn=None, groups=(EXPLORATORY,), first=TUNING,
    ),
    "eight_gaussians": gaussians(
        "eight Gaussians", wanted=("modes", 8), drawn="hq", dataset="configs/_base_/datasets/eight_gaussians.py"
    ),
    "gaussian_grid": gaussians(
        "5×5 grid", wanted=("modes", 25), drawn="hq", dataset="configs/_base_/datasets/gaussian_grid.py"
    ),
    "mnist01_embedded": pictures(
        "0-1 MNIST, 1,000 embedded digits", wanted=("digits", 2), cycles=1000, every=100, reported=(1000,), minutes=1.5
    ),
    "mnist01": pictures("0-1 MNIST", wanted=("digits", 2), reported=(1000, 2000), data="MINMAX_MNIST"),
    "mnist": pictures(
        "MNIST", wanted=("digits", 10), shown=DIGITS, drawn="balance", data="MINMAX_MNIST",
        overlay={
            "data.train.digits": None,
            "metrics_hook.metrics.0.digits": tuple(range(10)),
            "custom_hooks.0.metrics.0.digits": tuple(range(10)),
        },
    ),
    "cifar10": pictures(
        "CIFAR-10", config="configs/cifar10_gda.py", every=500, rate=1 / 2, minutes=8, data="MINMAX_CIFAR10",
        wanted=("kid", 0), shown=("kid", "fd"), drawn="fd",
    ),
}  # fmt: skip
