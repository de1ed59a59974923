"""Samplers by name, and a filter that lets Optuna's samplers see a whole study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import optuna
from optuna.distributions import BaseDistribution
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
            return _WholeTrials(optuna.samplers.GPSampler(seed=seed))
        case "cmaes":
            return _WholeTrials(optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False))
        case "qmc":  # it continues its sequence by itself, if its seed stays
            sampler = optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
            return _WholeTrials(sampler)
        case "nsga2":
            population = max(4, min(50, options.num_samples // 4))
            return _WholeTrials(optuna.samplers.NSGAIISampler(seed=seed, population_size=population))
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are queued: nothing is left to it


class _WholeTrials(BaseSampler):
    """Hides the unmodified config from a sampler where the space cannot express all of it.

    These samplers model the parameters that all trials share. One trial without parameters would leave none, and they
    would draw at random for ever.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(_WholeStudy(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(_WholeStudy(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(_WholeStudy(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(_WholeStudy(study), trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        if not trial.user_attrs.get("partial"):
            self._sampler.after_trial(_WholeStudy(study), trial, state, values)


class _WholeStudy(optuna.Study):
    def __init__(self, study: optuna.Study) -> None:
        self.__dict__ = study.__dict__

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [t for t in super()._get_trials(*args, **kwargs) if not t.user_attrs.get("partial")]
