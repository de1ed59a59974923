"""The methods: those that are compared, those of the ablation, and the exploratory ones."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from mmcv import Config

from experiments.configure import (
    Configure,
    exploratory,
    extragradient,
    gda,
    lookahead,
    matched_ascent,
    minmax,
    omd,
    practical,
    random_acceptance,
    released,
    settings_file,
    tuned,
    unrolled,
    unrolled_proposals,
)
from experiments.experiment import ABLATION, EXPLORATORY, GROUPS, Experiment

UNROLLED_GRADIENTS = 2 + 2 * 6  # twice for each imagined step, whose gradient is differentiated too
ALGORITHM, CONTROLS, BASELINES, TUNED = GROUPS
TEST, RANDOM, WITHOUT = ABLATION


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of training.

    Args:
        group: of methods, for tables.
        title: for tables.
        configure: changes a config to train by it.
        gradients: of both players in one cycle; None for one in each iteration and one for the generator.
        after: the method whose acceptance rate it needs.
        tuned: the method whose settings, as a search has found them, it needs.
        first: seed of its runs; None for that of the experiment.
    """

    group: str
    title: str
    configure: Configure
    gradients: int | None = None
    after: str | None = None
    tuned: str | None = None
    first: int | None = None

    def config(self, experiment: Experiment, rates: dict[str, Any]) -> Config:
        """The config of a run.

        Args:
            experiment: what is trained on.
            rates: of the method that this one comes after: see :meth:`~experiments.collect.Result.rates`.
        """
        cfg = experiment.plain()
        per_cycle = self.configure(cfg, experiment, rates)
        # Methods are compared after as many gradients too, so that one of cheaper cycles has more cycles.
        longer = (experiment.k + 1) / (self.gradients or per_cycle + 1)
        interval = round(experiment.every * per_cycle)
        cfg.total_iters = round(max(1.0, longer) * experiment.cycles / experiment.every) * interval
        cfg.iterations_per_cycle = interval / experiment.every  # for readers of the results
        for hook in cfg.custom_hooks:
            if hook["type"] == "SampleMetrics":
                hook["interval"] = interval
        return cfg

    def has_settings(self, experiment: Experiment) -> bool:
        """Whether a search has found the settings that it needs, or it needs none."""
        return self.tuned is None or settings_file(experiment, self.tuned).exists()


METHODS = {
    "theory": Method(ALGORITHM, "MinMax, theory's rule", minmax(preset="paper")),
    "practical": Method(ALGORITHM, "MinMax, practical rule", practical()),
    "released": Method(ALGORITHM, "MinMax, as released", released),
    "best": Method(ALGORITHM, "MinMax, our best setting", tuned(practical(), "practical"), tuned="practical"),
    "best-unrolled": Method(
        ALGORITHM,
        "MinMax, unrolled proposals",
        tuned(unrolled_proposals, "unrolled"),
        UNROLLED_GRADIENTS,
        tuned="unrolled",
    ),
    "random-released": Method(
        CONTROLS, "random acceptance, as released", random_acceptance(released), after="released"
    ),
    "gda-matched": Method(CONTROLS, "GDA, ascent as what survives as released", matched_ascent, after="released"),
    "random-best": Method(
        CONTROLS,
        "random acceptance, our best setting",
        random_acceptance(tuned(practical(), "practical")),
        after="best",
        tuned="practical",
    ),
    "gda-best": Method(
        CONTROLS, "GDA, our best setting without the test", tuned(gda(), "practical"), tuned="practical"
    ),
    "random-unrolled": Method(
        CONTROLS,
        "random acceptance, unrolled proposals",
        random_acceptance(tuned(unrolled_proposals, "unrolled")),
        UNROLLED_GRADIENTS,
        after="best-unrolled",
        tuned="unrolled",
    ),
    "gda-1": Method(BASELINES, "GDA, k = 1", gda(1)),
    "gda-6": Method(BASELINES, "GDA, k = 6", gda(6)),
    "omd": Method(BASELINES, "OMD, Wasserstein loss, weights clipped", omd),
    "extragradient": Method(BASELINES, "extragradient Adam, alternating", extragradient, 4),
    "lookahead": Method(BASELINES, "Lookahead-Minmax, period 5, α = 0.5", lookahead),
    "unrolled": Method(BASELINES, "Unrolled, 6 steps", unrolled, UNROLLED_GRADIENTS),
}
TUNABLE = ("practical", "gda-1", "gda-6", "omd", "extragradient", "lookahead", "unrolled")
METHODS |= {
    f"{name}-tuned": dataclasses.replace(
        METHODS[name],
        group=TUNED,
        title=f"{METHODS[name].title}, tuned",
        configure=tuned(METHODS[name].configure, name),
        tuned=name,
    )
    for name in TUNABLE
    if METHODS[name].group == BASELINES
}

# The ablation: the test, random acceptance at its rate, or neither × what is restored × what f is read from × k.
for k in (1, 6):
    METHODS[f"off-k{k}"] = Method(WITHOUT, f"k = {k}: every proposal kept (GDA)", gda(k))
    for restore in ("both", "generator"):
        for value in ("last", "fresh", "paired"):
            if (k, value) != (1, "last"):  # its f would be read before the discriminator's answer
                METHODS[f"on-{restore}-{value}-k{k}"] = Method(
                    TEST,
                    f"k = {k}: {restore} restored, f {value}",
                    practical(k, restore=restore, estimator=value),
                )
        METHODS[f"random-{restore}-k{k}"] = Method(
            RANDOM,
            f"k = {k}: {restore} restored, random acceptance",
            random_acceptance(practical(k, restore=restore, estimator="fresh")),
            after=f"on-{restore}-fresh-k{k}",
        )


def _optimizers(setting: str, generator: float, discriminator: float) -> dict[str, Any]:
    return {f"optimizer.generator.{setting}": generator, f"optimizer.discriminator.{setting}": discriminator}


_lr, _momenta, _second_moments = (partial(_optimizers, name) for name in ("lr", "betas.0", "betas.1"))


def _warm(player: str, iterations: int, start: float, policy: str, **settings: Any) -> dict[str, Any]:
    rise = dict(warmup="linear", warmup_iters=iterations, warmup_ratio=start)
    return dict(player=player, schedule=dict(policy=policy, **settings, **rise))


def _late_generator(iterations: int) -> dict[str, Any]:
    schedule = _warm("generator", iterations, 0.01, "CosineAnnealing", min_lr=0)
    return {"lr_config": dict(policy="OfPlayer", **schedule)}


def _exploratory(
    title: str, settings: dict[str, Any], *, gradients: int | None = None, first: int | None = None, **more: Any
) -> Method:
    return Method(EXPLORATORY, title, exploratory(settings, **more), gradients, tuned="practical", first=first)


_NEARLY_ALL = {"minmax.acceptance": dict(type="annealed", tau1=3000)}  # at first, and 61 % of the worse at the end
_BOTH_ANNEALED = {"lr_config": dict(policy="CosineAnnealing", min_lr=0)}
_FAST, _FOUND, _FAR = _lr(2.5e-3, 3e-4), _lr(1.7e-3, 2e-4), _lr(3e-3, 4.2e-4)
_OTHER_LOSS = {"model.gan_loss": dict(type="GANLoss", gan_type="vanilla")}
_LATE_DISCRIMINATOR = dict(type="OfPlayerLrUpdaterHook", **_warm("discriminator", 1800, 0.1, "fixed"))
_UNROLLED = {"model.type": "UnrolledGAN"}

# Chosen by hand for a better setting on four Gaussians. The rates are the generator's and the discriminator's.
METHODS |= {
    f"exploratory-{name}": method
    for name, method in {
        "kept": _exploratory("p = 0.8", {"minmax.acceptance.rate": 0.8}),
        "slower": _exploratory(
            "p = 0.8, discriminator 1.4e-4", {"minmax.acceptance.rate": 0.8, "optimizer.discriminator.lr": 1.4e-4}
        ),
        "ascent": _exploratory("k = 12", {}, k=12),
        "gentle": _exploratory("k = 12, rates 1.7e-3, 1e-4", _lr(1.7e-3, 1e-4), k=12),
        "faster": _exploratory("rates 2.5e-3, 3e-4", _FAST),
        "fastest": _exploratory("rates 3.4e-3, 4.2e-4", _lr(3.4e-3, 4.2e-4)),
        "apart": _exploratory("rates 3e-3, 2e-4", _lr(3e-3, 2e-4)),
        "half": _exploratory(
            "rates 2.5e-3, 3e-4, discriminator without momentum", _FAST | {"optimizer.discriminator.betas.0": 0.0}
        ),
        "none": _exploratory("rates 2e-3, 2.5e-4, neither with momentum", _lr(2e-3, 2.5e-4) | _momenta(0.0, 0.0)),
        "heavy": _exploratory("rates 1.2e-3, 2e-4, momenta 0.9", _lr(1.2e-3, 2e-4) | _momenta(0.9, 0.9)),
        "late": _exploratory("rates 2.5e-3, 3e-4, generator's rising for 100 cycles", _FAST | _late_generator(600)),
        "later": _exploratory("rates 1.7e-3, 2e-4, generator's rising for 300 cycles", _FOUND | _late_generator(1800)),
        "early": _exploratory(
            "rates 2.5e-3, 3e-4, discriminator's rising for 300 cycles", _FAST, hook=_LATE_DISCRIMINATOR
        ),
        "loss": _exploratory("rates 1.7e-3, 2e-4, non-saturating loss", _FOUND | _OTHER_LOSS),
        "theory": _exploratory("the theory's rule, τ₁ = 3000", _NEARLY_ALL),
        "theory-faster": _exploratory(
            "the theory's rule, τ₁ = 3000, rates 2.5e-3, 3e-4, both annealed", _FAST | _NEARLY_ALL | _BOTH_ANNEALED
        ),
        "loss-equal": _exploratory("rates 1e-3, non-saturating loss", _lr(1e-3, 1e-3) | _OTHER_LOSS),
        "memory": _exploratory("Adam's second moments over 100 steps (β₂ = 0.99)", _second_moments(0.99, 0.99)),
        "short-memory": _exploratory("Adam's second moments over 10 steps (β₂ = 0.9)", _second_moments(0.9, 0.9)),
        "unrolled": _exploratory(
            "unrolled proposals, k = 1, rates 3e-3, 4.2e-4", _FAR | _UNROLLED, k=1, gradients=UNROLLED_GRADIENTS
        ),
        "unrolled-steady": _exploratory(
            "unrolled proposals, k = 1, rates 3e-3, 4.2e-4, not annealed",
            _FAR | _UNROLLED | {"lr_config": None},
            k=1,
            gradients=UNROLLED_GRADIENTS,
        ),
        # with as many cycles as these two, and no more
        "not-unrolled": _exploratory("k = 1, rates 3e-3, 4.2e-4", _FAR, k=1, gradients=UNROLLED_GRADIENTS),
        "again": _exploratory("rates 2.5e-3, 3e-4, on the seeds that are reported", _FAST, first=1),
    }.items()
}


def methods_of(experiment: Experiment) -> dict[str, Method]:
    """The methods that an experiment compares, by group."""
    return {name: m for group in experiment.groups for name, m in METHODS.items() if m.group == group}
