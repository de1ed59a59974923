"""The columns of the evidence: the methods that are compared, and those of the ablation and of the tries by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.evidence.experiments import Experiment
from benchmarks.evidence.methods import (
    Method,
    extragradient,
    gda,
    lookahead,
    matched_ascent,
    minmax,
    omd,
    practical,
    random_rejection,
    released,
    tried,
    tuned,
    unrolled,
    unrolled_proposals,
)

UNROLLED_GRADIENTS = 2 + 2 * 6  # twice for each imagined step, whose gradient is differentiated too
ALGORITHM, CONTROLS, BASELINES, TUNED = "this algorithm", "controls", "baselines", "tuned baselines"

METHODS = {
    "theory": Method(ALGORITHM, "MinMax, theory's rule", minmax(preset="paper")),
    "practical": Method(ALGORITHM, "MinMax, practical rule", practical()),
    "released": Method(ALGORITHM, "MinMax, as released", released()),
    "best": Method(ALGORITHM, "MinMax, our best setting", tuned(practical(), "practical"), tuned="practical"),
    "best-unrolled": Method(
        ALGORITHM,
        "MinMax, unrolled proposals",
        tuned(unrolled_proposals, "unrolled"),
        UNROLLED_GRADIENTS,
        tuned="unrolled",
    ),
    "random-released": Method(
        CONTROLS, "coin in place of the test, as released", random_rejection(released()), after="released"
    ),
    "gda-matched": Method(CONTROLS, "GDA, ascent as what survives as released", matched_ascent, after="released"),
    "random-best": Method(
        CONTROLS,
        "coin in place of the test, our best setting",
        random_rejection(tuned(practical(), "practical")),
        after="best",
        tuned="practical",
    ),
    "gda-best": Method(
        CONTROLS, "GDA, our best setting without the test", tuned(gda(), "practical"), tuned="practical"
    ),
    "random-unrolled": Method(
        CONTROLS,
        "coin in place of the test, unrolled proposals",
        random_rejection(tuned(unrolled_proposals, "unrolled")),
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
        lay=tuned(METHODS[name].lay, name),
        tuned=name,
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


def _second_moments(decay: float) -> dict[str, Any]:
    return {"optimizer.generator.betas.1": decay, "optimizer.discriminator.betas.1": decay}


def _warm(player: str, iterations: int, start: float, policy: str, **settings: Any) -> dict[str, Any]:
    rise = dict(warmup="linear", warmup_iters=iterations, warmup_ratio=start)
    return dict(player=player, schedule=dict(policy=policy, **settings, **rise))


def _late_generator(iterations: int) -> dict[str, Any]:
    schedule = _warm("generator", iterations, 0.01, "CosineAnnealing", min_lr=0)
    return {"lr_config": dict(policy="OfPlayer", **schedule)}


_NEARLY_ALL = {"minmax.acceptance": dict(type="annealed", tau1=3000)}  # at first, and 61 % of the worse at the end
_BOTH_ANNEALED = {"lr_config": dict(policy="CosineAnnealing", min_lr=0)}
_FAST, _FOUND, _FAR = _lr(2.5e-3, 3e-4), _lr(1.7e-3, 2e-4), _lr(3e-3, 4.2e-4)
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
        ("theory", "the theory's rule, τ₁ = 3000", tried(_NEARLY_ALL)),
        (
            "theory-faster",
            "the theory's rule, τ₁ = 3000, rates 2.5e-3, 3e-4, both annealed",
            tried(_FAST | _NEARLY_ALL | _BOTH_ANNEALED),
        ),
        ("loss-equal", "rates 1e-3, non-saturating loss", tried(_lr(1e-3, 1e-3) | _OTHER_LOSS)),
        ("memory", "Adam's second moments over 100 steps (β₂ = 0.99)", tried(_second_moments(0.99))),
        ("short-memory", "Adam's second moments over 10 steps (β₂ = 0.9)", tried(_second_moments(0.9))),
    )
}
_UNROLLED = {"model.type": "UnrolledGAN"}
METHODS |= {
    f"tried-{name}": Method("tried", title, tried(settings, k=1), UNROLLED_GRADIENTS, tuned="practical")
    for name, title, settings in (
        ("unrolled", "unrolled proposals, k = 1, rates 3e-3, 4.2e-4", _FAR | _UNROLLED),
        (
            "unrolled-steady",
            "unrolled proposals, k = 1, rates 3e-3, 4.2e-4, not annealed",
            _FAR | _UNROLLED | {"lr_config": None},
        ),
        ("not-unrolled", "k = 1, rates 3e-3, 4.2e-4", _FAR),  # with as many cycles, and no more
    )
}
METHODS["tried-again"] = dataclasses.replace(
    METHODS["tried-faster"], title="rates 2.5e-3, 3e-4, on the seeds that are reported", first=1
)


def columns(experiment: Experiment) -> dict[str, Method]:
    """The methods that an experiment has as its columns, by group."""
    return {name: m for group in experiment.groups for name, m in METHODS.items() if m.group == group}
