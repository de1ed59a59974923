"""How each method changes an experiment's config."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcv import Config

from benchmarks.tables import ROOT
from experiments.collect import WINDOW
from experiments.experiment import Experiment
from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import PRESETS
from minmax_tune.space.paths import set_paths
from minmax_tune.space.renamed import MINMAX

BEST = ROOT / "experiments/best"  # settings that searches have found: CONFIG/METHOD.json

# Changes a config, given the experiment and the acceptance rates that a control needs. It returns the iterations of
# the toolkit that one cycle takes.
Configure = Callable[[Config, Experiment, dict[str, Any]], float]


def minmax(steps: int | None = None, **settings: Any) -> Configure:
    """The algorithm, with these settings of its hook. A function among them is called with the experiment.

    The preset's other settings are written out, so that later runs keep them if the preset changes.
    """

    def configure(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
        cfg.train_cfg.disc_steps = steps or experiment.k
        given = {k: v(experiment) if callable(v) else v for k, v in settings.items()}
        name = given.pop("preset", "practical")
        opt_in(cfg, name, **{**PRESETS[name], **given}, record=True)
        return cfg.train_cfg.disc_steps

    return configure


def practical(steps: int | None = None, **settings: Any) -> Configure:
    return minmax(steps, acceptance=lambda e: dict(type="constant", rate=e.rate), **settings)


def _released_rule(experiment: Experiment) -> dict[str, Any]:
    reverse = dict(reverse=True) if experiment.preset == "released-gaussians" else {}
    return dict(type="periodic", every=round(1 / experiment.rate), **reverse)


released = minmax(preset=lambda e: e.preset, acceptance=_released_rule)


def tuned(base: Configure, method: str) -> Configure:
    """The ``base`` with the settings that a search has found for ``method``. Those of the test need a test."""

    def configure(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        settings = json.loads(settings_file(experiment, method).read_text())["settings"]
        per_cycle = base(cfg, experiment, rates)
        if minmax_settings(cfg) is None:
            settings = {path: v for path, v in settings.items() if path.split(".")[0] != MINMAX}
        set_paths(cfg, settings)
        return per_cycle

    return configure


def exploratory(settings: dict[str, Any], k: int | None = None, hook: dict[str, Any] | None = None) -> Configure:
    """The algorithm with the settings that a search has found, and these changes.

    Args:
        settings: of the config, by path.
        k: ascent steps; the experiment's own if None.
        hook: an additional one.
    """

    def configure(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        tuned(practical(), "practical")(cfg, experiment, rates)
        set_paths(cfg, settings)
        cfg.train_cfg.disc_steps = k or experiment.k
        cfg.custom_hooks = [*cfg.custom_hooks, *([hook] if hook else [])]
        return cfg.train_cfg.disc_steps

    return configure


def settings_file(experiment: Experiment, method: str) -> Path:
    """The file of a tuned method's settings, which experiments on one config share."""
    return BEST / experiment.networks / f"{method}.json"


def gda(k: int | None = None) -> Configure:
    def configure(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
        cfg.train_cfg.disc_steps = k or experiment.k
        return cfg.train_cfg.disc_steps

    return configure


def matched_ascent(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
    mean = max(1.0, rates["kept_ascent"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="RandomAscent", mean=mean)]
    return mean


def random_acceptance(base: Configure) -> Configure:
    """The ``base`` with random acceptance at the rate of its test; the rate varies over time if the rule does."""

    def configure(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        per_cycle = base(cfg, experiment, rates)
        hook: Any = minmax_settings(cfg)
        changes = hook["acceptance"]["type"] == "annealed"
        rate = dict(rate=rates["accepted_over_time"], window=WINDOW) if changes else dict(rate=rates["accepted"])
        hook["acceptance"] = dict(type="random", **rate)
        return per_cycle

    return configure


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
    """The algorithm with the unrolled method's steps as its proposals. It keeps half of the worse ones."""
    minmax(1, acceptance=dict(type="constant", rate=0.5), estimator="fresh")(cfg, experiment, rates)
    return unrolled(cfg, experiment, rates)


def unrolled(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.model.type = "UnrolledGAN"
    cfg.train_cfg.disc_steps = 1
    cfg.train_cfg.unrolled_steps = 6
    return 1
