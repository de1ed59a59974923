"""The columns of the evidence: what each method lays over an experiment's config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcv import Config

from benchmarks.evidence.collect import WINDOW
from benchmarks.evidence.experiments import ROOT, Experiment
from minmax_plugin.mmgen.optin import opt_in
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


def tuned(method: str, test: bool = True) -> Lay:
    """As another method, with the settings that a search has found for it.

    Args:
        method: the other one.
        test: whether the algorithm is used, where it is what was tuned; else what remains is plain GDA.
    """

    def lay(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> float:
        settings = json.loads(settings_file(experiment, method).read_text())["settings"]
        if not test:
            settings = {path: v for path, v in settings.items() if path.split(".")[0] != MINMAX}
        per_cycle = (METHODS[method].lay if test else gda())(cfg, experiment, rates)
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
        tuned("practical")(cfg, experiment, rates)
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
        hook = next(h for h in cfg.custom_hooks if h["type"] == "MinMaxHook")
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


def unrolled(cfg: Config, experiment: Experiment, rates: dict[str, Any]) -> int:
    cfg.model.type = "UnrolledGAN"
    cfg.train_cfg.disc_steps = 1
    cfg.train_cfg.unrolled_steps = 6
    return 1


ALGORITHM, CONTROLS, BASELINES, TUNED = "this algorithm", "controls", "baselines", "tuned baselines"

METHODS = {
    "theory": Method(ALGORITHM, "MinMax, theory's rule", minmax(preset="paper")),
    "practical": Method(ALGORITHM, "MinMax, practical rule", practical()),
    "released": Method(ALGORITHM, "MinMax, as released", released()),
    "best": Method(ALGORITHM, "MinMax, our best setting", tuned("practical"), tuned="practical"),
    "random-released": Method(
        CONTROLS, "coin in place of the test, as released", random_rejection(released()), after="released"
    ),
    "gda-matched": Method(CONTROLS, "GDA, ascent as what survives as released", matched_ascent, after="released"),
    "random-best": Method(
        CONTROLS,
        "coin in place of the test, our best setting",
        random_rejection(tuned("practical")),
        after="best",
        tuned="practical",
    ),
    "gda-best": Method(
        CONTROLS, "GDA, our best setting without the test", tuned("practical", test=False), tuned="practical"
    ),
    "gda-1": Method(BASELINES, "GDA, k = 1", gda(1)),
    "gda-6": Method(BASELINES, "GDA, k = 6", gda(6)),
    "omd": Method(BASELINES, "OMD, Wasserstein loss, weights clipped", omd),
    "extragradient": Method(BASELINES, "extragradient Adam, alternating", extragradient, 4),
    "lookahead": Method(BASELINES, "Lookahead-Minmax, period 5, α = 0.5", lookahead),
    # Twice each imagined step, for its gradient is differentiated too.
    "unrolled": Method(BASELINES, "Unrolled, 6 steps", unrolled, 2 + 2 * 6),
}
TUNABLE = ("practical", "gda-1", "gda-6", "omd", "extragradient", "lookahead", "unrolled")
METHODS |= {
    f"{name}-tuned": dataclasses.replace(
        METHODS[name], group=TUNED, title=f"{METHODS[name].title}, tuned", lay=tuned(name), tuned=name
    )
    for name in TUNABLE
    if METHODS[name].group == BASELINES
}

# The ablation: the test, a coin of the same rate, or neither × what goes back × what f is read from × k.
for k in (1, 6):
    METHODS[f"off-k{k}"] = Method("without", f"k = {k}: every proposal kept (GDA)", gda(k))
    for restore in ("both", "generator"):
        for value in ("last", "fresh", "paired"):
            if (k, value) != (1, "last"):  # that would be read before the discriminator has answered
                METHODS[f"on-{restore}-{value}-k{k}"] = Method(
                    "with the test",
                    f"k = {k}: {restore} restored, f {value}",
                    practical(k, restore=restore, value=value),
                )
        METHODS[f"coin-{restore}-k{k}"] = Method(
            "with a coin",
            f"k = {k}: {restore} restored, coin",
            random_rejection(practical(k, restore=restore, value="fresh")),
            after=f"on-{restore}-fresh-k{k}",
        )


def _lr(generator: float, discriminator: float) -> dict[str, Any]:
    return {"optimizer.generator.lr": generator, "optimizer.discriminator.lr": discriminator}


def _momenta(generator: float, discriminator: float) -> dict[str, Any]:
    return {"optimizer.generator.betas.0": generator, "optimizer.discriminator.betas.0": discriminator}


def _warm(player: str, iterations: int, start: float, policy: str, **settings: Any) -> dict[str, Any]:
    rise = dict(warmup="linear", warmup_iters=iterations, warmup_ratio=start)
    return dict(player=player, schedule=dict(policy=policy, **settings, **rise))


def _late_generator(iterations: int) -> dict[str, Any]:
    schedule = _warm("generator", iterations, 0.01, "CosineAnnealing", min_lr=0)
    return {"lr_config": dict(policy="OfPlayer", **schedule)}


_FAST, _FOUND = _lr(2.5e-3, 3e-4), _lr(1.7e-3, 2e-4)
_OTHER_LOSS = {"model.gan_loss": dict(type="GANLoss", gan_type="vanilla")}
_LATE_DISCRIMINATOR = dict(type="OfPlayerLrUpdaterHook", **_warm("discriminator", 1800, 0.1, "fixed"))

# By hand, towards a better setting on four Gaussians; rates are the generator's and the discriminator's.
METHODS |= {
    f"tried-{name}": Method("tried", title, lay, tuned="practical")
    for name, title, lay in (
        ("kept", "p = 0.8", tried({"minmax.acceptance.rate": 0.8})),
        (
            "slower",
            "p = 0.8, discriminator 1.4e-4",
            tried({"minmax.acceptance.rate": 0.8, "optimizer.discriminator.lr": 1.4e-4}),
        ),
        ("ascent", "k = 12", tried({}, k=12)),
        ("gentle", "k = 12, rates 1.7e-3, 1e-4", tried(_lr(1.7e-3, 1e-4), k=12)),
        ("faster", "rates 2.5e-3, 3e-4", tried(_FAST)),
        ("fastest", "rates 3.4e-3, 4.2e-4", tried(_lr(3.4e-3, 4.2e-4))),
        ("apart", "rates 3e-3, 2e-4", tried(_lr(3e-3, 2e-4))),
        (
            "half",
            "rates 2.5e-3, 3e-4, discriminator without momentum",
            tried(_FAST | {"optimizer.discriminator.betas.0": 0.0}),
        ),
        ("none", "rates 2e-3, 2.5e-4, neither with momentum", tried(_lr(2e-3, 2.5e-4) | _momenta(0.0, 0.0))),
        ("heavy", "rates 1.2e-3, 2e-4, momenta 0.9", tried(_lr(1.2e-3, 2e-4) | _momenta(0.9, 0.9))),
        ("late", "rates 2.5e-3, 3e-4, generator's rising for 100 cycles", tried(_FAST | _late_generator(600))),
        ("later", "rates 1.7e-3, 2e-4, generator's rising for 300 cycles", tried(_FOUND | _late_generator(1800))),
        ("early", "rates 2.5e-3, 3e-4, discriminator's rising for 300 cycles", tried(_FAST, hook=_LATE_DISCRIMINATOR)),
        ("loss", "rates 1.7e-3, 2e-4, non-saturating loss", tried(_FOUND | _OTHER_LOSS)),
        ("loss-equal", "rates 1e-3, non-saturating loss", tried(_lr(1e-3, 1e-3) | _OTHER_LOSS)),
    )
}
METHODS["tried-again"] = dataclasses.replace(
    METHODS["tried-faster"], title="rates 2.5e-3, 3e-4, on the seeds that are reported", first=1
)


def columns(experiment: Experiment) -> dict[str, Method]:
    """The methods that an experiment has as its columns, by group."""
    return {name: m for group in experiment.groups for name, m in METHODS.items() if m.group == group}
