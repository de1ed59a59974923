"""Samplers by name, and the study that they see."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Container, Sequence

import numpy
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from minmax_plugin.errors import ConfigError
from minmax_tune.memory import Ended
from minmax_tune.options import Options
from minmax_tune.space.changed import express
from minmax_tune.space.space import Space

HISTORY = 1000  # trials that TPE sees
BEST = 100  # of them, whenever they ended; TPE itself calls at most 25 trials good
SPARE = 100  # trials more, until some are dropped


def make_sampler(options: Options, index: int, trials: int) -> BaseSampler:
    """Make the sampler of a study.

    Args:
        options: The options of the search, with the sampler's name and the seed.
        index: The study's number, so that studies draw different points.
        trials: The number of its trials so far. An extended study does not draw its first points again.

    Raises:
        ConfigError: If ``options`` name a class that cannot be used.

    Examples:
        >>> type(make_sampler(Options(sampler="tpe"), index=0, trials=0)).__name__
        'TPESampler'
    """
    entropy = [options.seed, index] if options.sampler == "qmc" else [options.seed, index, trials]
    seed = int(numpy.random.SeedSequence(entropy).generate_state(1)[0])
    if ":" in options.sampler:
        return _import_sampler(options.sampler, seed)
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


def _import_sampler(name: str, seed: int) -> BaseSampler:
    module, _, class_name = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), class_name)
        sampler = make(seed=seed) if "seed" in inspect.signature(make).parameters else make()
    except Exception as error:  # of anyone's code
        raise ConfigError(f"--sampler={name!r} cannot be used: {type(error).__name__}: {error}") from error
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(f"--sampler={name!r} is no sampler of Optuna's: derive it from optuna.samplers.BaseSampler.")
    return sampler


def as_sampled(study: optuna.Study, storage: InMemoryStorage, space: Space | None = None) -> optuna.Study:
    """Return a study as its sampler is to see it. What is asked of it is asked of the study.

    TPE sees its best and its latest trials, because its time grows with each. It would give the older ones little
    weight anyway. Most other samplers model the parameters that all trials share. One trial without parameters would
    leave none, and they would draw at random for ever. So they do not see an unmodified config that the space cannot
    express.

    A search whose space has changed has trials of earlier spaces. They are seen as if the present space had drawn them.
    TPE sees the others as they are, and takes the parameters that it knows. Other samplers do not see them.

    Args:
        study: The study.
        storage: Its storage, in memory.
        space: The present space, where it is not the first one.
    """
    if isinstance(study.sampler, optuna.samplers.RandomSampler):
        return study
    tpe = isinstance(study.sampler, optuna.samplers.TPESampler)
    choose = Recent(study.directions) if tpe else _whole
    finished = study.get_trials(deepcopy=False) if space else []
    earlier = {trial.number: express(space, trial) for trial in finished if space and trial.state.is_finished()}
    if tpe:
        earlier = {number: shown for number, shown in earlier.items() if shown}

    class View(type(storage)):  # type: ignore[misc, valid-type]
        def get_all_trials(
            self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            trials: Sequence[FrozenTrial] = super().get_all_trials(study_id, deepcopy=False)
            if earlier:
                trials = [shown for trial in trials if (shown := earlier.get(trial.number, trial))]
            trials = choose(trials)
            chosen = [t for t in trials if states is None or t.state in states]
            return copy.deepcopy(chosen) if deepcopy else chosen

    view = View.__new__(View)
    view.__dict__ = storage.__dict__  # the same storage, except for what is seen of it
    return optuna.load_study(study_name=study.study_name, storage=view, sampler=study.sampler)


class Recent:
    """Chooses :data:`HISTORY` trials of a study: the best ones by each objective, and the latest ones.

    Trials that wait or run come in addition.

    Args:
        directions: The directions of the objectives.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._signs = [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in directions]
        self._ended = Ended()
        self._kept: list[FrozenTrial] = []  # the latest last

    def __call__(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        self._kept += self._ended.update(trials)
        if len(self._kept) > HISTORY + SPARE:
            best = self._best()
            others = [trial for trial in self._kept if trial.number not in best]
            self._kept = [*best.values(), *others[len(best) - HISTORY :]]
        return sorted([*self._kept, *self._ended.open], key=lambda trial: trial.number)

    def _best(self) -> dict[int, FrozenTrial]:
        done = [trial for trial in self._kept if trial.state == TrialState.COMPLETE]
        best: dict[int, FrozenTrial] = {}
        for i, sign in enumerate(self._signs):
            ranked = sorted(done, key=lambda trial: sign * trial.values[i])
            best |= {trial.number: trial for trial in ranked[: BEST // len(self._signs)]}
        return best


def _whole(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.WAITING or not t.user_attrs.get("partial")]
