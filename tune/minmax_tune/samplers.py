"""Samplers by name, and the study that they see."""

from __future__ import annotations

from typing import Any

import numpy
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from minmax_tune.options import Options


def make_sampler(options: Options, index: int, trials: int) -> BaseSampler:
    """Make the sampler of a study.

    Args:
        options: The options of the search, with the sampler's name and the seed.
        index: The study's number, so that studies draw different points.
        trials: The number of its trials so far. An extended study does not draw its first points again.

    Examples:
        >>> type(make_sampler(Options(sampler="tpe"), index=0, trials=0)).__name__
        'TPESampler'
    """
    entropy = [options.seed, index] if options.sampler == "qmc" else [options.seed, index, trials]
    seed = int(numpy.random.SeedSequence(entropy).generate_state(1)[0])
    match options.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "qmc":  # it continues its sequence by itself, if its seed stays
            return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        case "nsga2":
            population = max(4, min(50, options.num_samples // 4))
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are queued: nothing is left to it


def as_sampled(study: optuna.Study) -> optuna.Study:
    """Return a study as its sampler is to see it. Samplers that model each parameter alone see all of it."""
    models_each = isinstance(study.sampler, (optuna.samplers.TPESampler, optuna.samplers.RandomSampler))
    return study if models_each else _WholeStudy(study)


class _WholeStudy(optuna.Study):
    """A study without the unmodified config, where the space cannot express all of it.

    Most samplers model the parameters that all trials share. One trial without parameters would leave none, and they
    would draw at random for ever.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.__dict__ = study.__dict__

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        trials = super()._get_trials(*args, **kwargs)
        return [t for t in trials if t.state == TrialState.WAITING or not t.user_attrs.get("partial")]
