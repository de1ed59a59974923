"""Methods of the evidence: what each lays over an experiment's config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcv import Config

from benchmarks.evidence.collect import WINDOW
from benchmarks.evidence.experiments import ROOT, Experiment
from minmax_plugin.mmgen.check import minmax_settings
from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.presets import preset
from tune.settings import MINMAX, set_paths

BEST = ROOT / "benchmarks/evidence/best"  # settings that searches have found: CONFIG/METHOD.json

Lay = Callable[[Config, Experiment, dict[str, Any]], float]


@dataclasses.dataclass(frozen=True)
class Method:
    """A column.

    Args:
        group: of methods, for tables.
        title: for tables.
        lay: lays it over a config, given the experiment and the rates of ``after``; gives the iterations of the
            toolkit that one cycle takes.
        gradients: of both players in one cycle; None for one in each iteration and one for the generator.
        after: the method whose acceptance rate it needs.
        tuned: the method whose settings, as a search has found them, it needs.
        first: seed of its runs; None for that of the experiment.
    """

    group: str
    title: str
    lay: Lay
    gradients: int | None = None
    after: str | None = None
    tuned: str | None = None
    first: int | None = None

    def config(self, experiment: Experiment, rates: dict[str, Any]) -> Config:
        """The config of a run.

        Args:
            experiment: the row.
            rates: of the method that this one comes after: see :meth:`~benchmarks.evidence.collect.Cell.rates`.
        """
        cfg = experiment.plain()
        per_cycle = self.lay(cfg, experiment, rates)
        # A method of cheaper cycles goes on until it has had as many gradients, to be compared at that too.
        longer = (experiment.k + 1) / (self.gradients or per_cycle + 1)
        interval = round(experiment.every * per_cycle)
        cfg.total_iters = round(max(1.0, longer) * experiment.cycles / experiment.every) * interval
        cfg.iterations_per_cycle = interval / experiment.every  # for whoever reads the results
        for hook in cfg.custom_hooks:
            if hook["type"] == "SampleMetrics":
                hook["interval"] = interval
        return cfg


def minmax(steps: int | None = None, **settings: Any) -> Lay:
    """The algorithm, with these settings of its hook; a function is asked for the experiment's own.

    What they leave to a preset is written out: a cell that is added to later goes on with what it began with.
    """

    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
        cfg.train_cfg.disc_steps = steps or experiment.k
        given = {k: v(experiment) if callable(v) else v for k, v in settings.items()}
        name = given.pop("preset", "practical")
        opt_in(cfg, name, **preset(name, **given), record=True)
        return cfg.train_cfg.disc_steps

    return lay


def practical(steps: int | None = None, **settings: Any) -> Lay:
    return minmax(steps, acceptance=lambda e: dict(type="constant", rate=e.rate), **settings)


def released() -> Lay:
    return minmax(preset=lambda e: e.preset, acceptance=_released_rule)


def _released_rule(experiment: Experiment) -> dict[str, Any]:
    reverse = dict(reverse=True) if experiment.preset == "released-gaussians" else {}
    return dict(type="periodic", every=round(1 / experiment.rate), **reverse)


def tuned(of: Lay, method: str) -> Lay:
    """As one method, with the settings that a search has found for one; the test's own only where there is a test.

    Args:
        of: the one that is trained.
        method: the one that was tuned.
    """

    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        settings = json.loads(settings_file(experiment, method).read_text())["settings"]
        per_cycle = of(cfg, experiment, rates)
        if minmax_settings(cfg) is None:
            settings = {path: v for path, v in settings.items() if path.split(".")[0] != MINMAX}
        set_paths(cfg, settings)
        return per_cycle

    return lay


def tried(settings: dict[str, Any], k: int | None = None, hook: dict[str, Any] | None = None) -> Lay:
    """The algorithm with what a search has found for it, but for these.

    Args:
        settings: of the config, by path.
        k: ascent steps; the experiment's own if None.
        hook: one more.
    """

    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        tuned(practical(), "practical")(cfg, experiment, rates)
        set_paths(cfg, settings)
        cfg.train_cfg.disc_steps = k or experiment.k
        cfg.custom_hooks = [*cfg.custom_hooks, *([hook] if hook else [])]
        return cfg.train_cfg.disc_steps

    return lay


def settings_file(experiment: Experiment, method: str) -> Path:
    """Where the settings of a tuned method are kept; experiments on one config share them, found on one of them."""
    return BEST / experiment.networks / f"{method}.json"


def has_settings(experiment: Experiment, method: Method) -> bool:
    """Whether a search has found the settings that a method needs, or it needs none."""
    return method.tuned is None or settings_file(experiment, method.tuned).exists()


def gda(k: int | None = None) -> Lay:
    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
        cfg.train_cfg.disc_steps = k or experiment.k
        return cfg.train_cfg.disc_steps

    return lay


def matched_ascent(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
    mean = max(1.0, rates["kept_ascent"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="RandomAscent", mean=mean)]
    return mean


def random_rejection(of: Lay) -> Lay:
    """As another method, its test replaced by a coin of the same rate; where the rule changes it, at each time."""

    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        per_cycle = of(cfg, experiment, rates)
        hook: Any = minmax_settings(cfg)
        changes = hook["acceptance"]["type"] == "annealed"
        rate = dict(rate=rates["accepted_over_time"], window=WINDOW) if changes else dict(rate=rates["accepted"])
        hook["acceptance"] = dict(type="random", **rate)
        return per_cycle

    return lay


def omd(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.train_cfg.disc_steps = 1
    cfg.model.gan_loss = dict(type="GANLoss", gan_type="wgan")
    for player in cfg.optimizer.values():
        player["type"] = "OptimisticAdam"
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="ClipWeights", limit=0.1)]
    return 1


def extragradient(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.train_cfg.disc_steps = 1
    for player in cfg.optimizer.values():
        player["type"] = "AlternatingExtraAdam"
    return 2  # one to extrapolate, one to step


def lookahead(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.train_cfg.disc_steps = experiment.k
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="LookaheadMinmaxHook", period=5, alpha=0.5)]
    return experiment.k


def unrolled_proposals(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    """The algorithm with the unrolled method's steps as its proposals; half of the worse ones are kept."""
    minmax(1, acceptance=dict(type="constant", rate=0.5), value="fresh")(cfg, experiment, rates)
    return unrolled(cfg, experiment, rates)


def unrolled(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.model.type = "UnrolledGAN"
    cfg.train_cfg.disc_steps = 1
    cfg.train_cfg.unrolled_steps = 6
    return 1
