"""The studies of a running search in memory: read from there, and written to their storage too."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from minmax_tune.outages import Outages

P = ParamSpec("P")
Result = TypeVar("Result")


class HeldStorage(InMemoryStorage):
    """Studies that are read from memory. Each change goes to their storage first, and then to memory.

    A search is the only writer of its studies. So it reads them once. From then on, the statements for a trial do not
    depend on the number of other trials. A change that the storage refuses is not made in memory either.

    While the storage is unreachable, a change waits. Its connection may be lost after the change was made, and before
    the answer came. Then the change is found there, and counts once.

    Args:
        storage: The storage of the studies.
        outages: What waits for it.

    Examples:
        >>> storage = InMemoryStorage()
        >>> there = optuna.create_study(storage=storage, study_name="a")
        >>> held = HeldStorage(storage, Outages(60, say=print))
        >>> here = optuna.load_study(storage=held, study_name="a")
        >>> here.tell(here.ask(), 0.5).value, there.best_value
        (0.5, 0.5)
    """

    def __init__(self, storage: BaseStorage, outages: Outages) -> None:
        super().__init__()
        self._storage, self.outages = storage, outages
        self._study_ids: dict[int, int] = {}  # in the storage, by those in memory
        self._trial_ids: dict[int, int] = {}  # likewise, of those that have not ended
        self._asked: dict[int, int] = {}  # the studies of trials that are in memory alone, until they are whole
        self._whole = False
        self._distributions: dict[str, BaseDistribution] = {}  # the last of each parameter

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._read(self._do(self._storage.create_new_study, directions, study_name))

    def get_study_id_from_name(self, study_name: str) -> int:
        with contextlib.suppress(KeyError):
            return super().get_study_id_from_name(study_name)
        return self._read(self._do(self._storage.get_study_id_from_name, study_name))

    def _do(self, operation: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Do an operation of the storage that may be repeated."""
        return self.outages.outlast(partial(operation, *args, **kwargs))

    def _read(self, there: int) -> int:
        name = self._do(self._storage.get_study_name_from_id, there)
        here = super().create_new_study(self._do(self._storage.get_study_directions, there), name)
        for key, value in self._do(self._storage.get_study_user_attrs, there).items():
            super().set_study_user_attr(here, key, value)
        for key, value in self._do(self._storage.get_study_system_attrs, there).items():
            super().set_study_system_attr(here, key, value)
        for trial in self._do(self._storage.get_all_trials, there, deepcopy=False):
            trial_id = super().create_new_trial(here, trial)
            held = self.get_trial(trial_id)
            held.distributions = {name: self._one(name, kind) for name, kind in held.distributions.items()}
            if not trial.state.is_finished():
                self._trial_ids[trial_id] = self._there(there, trial.number)
        self._study_ids[here] = there
        return here

    def delete_study(self, study_id: int) -> None:
        self._storage.delete_study(self._study_ids.pop(study_id))
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._do(self._storage.set_study_user_attr, self._study_ids[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._do(self._storage.set_study_system_attr, self._study_ids[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Write the trials that are asked for meanwhile at the end, each as a whole.

        That takes far fewer statements and transactions than part by part.
        """
        self._whole = True
        try:
            yield
        finally:
            self._whole = False
            for trial_id in list(self._asked):
                self._write(trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        there, known = self._study_ids[study_id], len(super().get_all_trials(study_id, deepcopy=False))
        with contextlib.suppress(KeyError):  # of the number that comes next
            for number in itertools.count(known):  # another program may have queued some
                other = self._there(there, number)
                trial = self._do(self._storage.get_trial, other)
                self._trial_ids[super().create_new_trial(study_id, trial)] = other
        trial_id = super().create_new_trial(study_id, template_trial)
        self._asked[trial_id] = study_id
        if not self._whole:
            self._write(trial_id)
        return trial_id

    def _write(self, trial_id: int) -> None:
        trial = self.get_trial(trial_id)
        study = self._study_ids[self._asked.pop(trial_id)]
        create = partial(self._storage.create_new_trial, study, trial)

        def find_or_create() -> int:
            with contextlib.suppress(KeyError):  # of the number
                there = self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
                if _content(self._storage.get_trial(there)) == _content(trial):
                    return there
            return create()

        self._trial_ids[trial_id] = self.outages.outlast(create, find_or_create)
        if self._there(study, trial.number) != self._trial_ids[trial_id]:
            raise RuntimeError(f"another program added trial {trial.number} to the study at the same moment")

    def _there(self, study: int, number: int) -> int:
        return self._do(self._storage.get_trial_id_from_study_id_trial_number, study, number)

    def _set(self, method: Callable[..., None], trial_id: int, *arguments: Any) -> None:
        """Change a trial in the storage, if it is there already."""
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        if trial_id not in self._asked:
            self._do(method, self._trial_ids[trial_id], *arguments)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        distribution = self._one(param_name, distribution)
        self._set(self._storage.set_trial_param, trial_id, param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def _one(self, param: str, distribution: BaseDistribution) -> BaseDistribution:
        """Return the last equal distribution of a parameter, so that all trials share one object."""
        if self._distributions.get(param) != distribution:
            self._distributions[param] = distribution
        return self._distributions[param]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if trial_id in self._asked:
            self._write(trial_id)
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        there = self._trial_ids[trial_id]
        change = partial(self._storage.set_trial_state_values, there, state, values)

        def find_or_change() -> bool:
            trial = self._storage.get_trial(there)
            return (trial.state == state and (values is None or trial.values == list(values))) or change()

        changed = self.outages.outlast(change, find_or_change)
        return changed and super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._set(self._storage.set_trial_intermediate_value, trial_id, step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set(self._storage.set_trial_user_attr, trial_id, key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set(self._storage.set_trial_system_attr, trial_id, key, value)
        super().set_trial_system_attr(trial_id, key, value)


def _content(trial: FrozenTrial) -> str:
    """Return what a trial is made of, as a storage keeps it."""
    return json.dumps([trial.state.name, trial.params, trial.user_attrs, trial.system_attrs], sort_keys=True)


class Ended:
    """Finds the trials of a study that have ended since it last looked, without a look at all earlier ones."""

    def __init__(self) -> None:
        self._seen = 0
        self.open: list[FrozenTrial] = []  # those that wait or run

    def update(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Take over the trials of the study, by number, and return those that have ended since."""
        changed = [*(trials[trial.number] for trial in self.open), *trials[self._seen :]]
        self._seen = len(trials)
        self.open = [trial for trial in changed if not trial.state.is_finished()]
        return [trial for trial in changed if trial.state.is_finished()]


class Tally:
    """Counts the trials of a study by state, except those that a retry replaced or that were skipped.

    Args:
        study: The study.

    Examples:
        >>> study = optuna.create_study()
        >>> tally = Tally(study)
        >>> study.tell(study.ask(), 0.5).number, study.ask().number
        (0, 1)
        >>> counts = tally.read()
        >>> counts[TrialState.COMPLETE], counts[TrialState.RUNNING], counts[TrialState.FAIL]
        (1, 1, 0)
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._ended = study, Ended()
        self._counts: Counter[TrialState] = Counter()
        self._replaced: set[int] = set()
        self._seen = 0
        self._lock = threading.Lock()  # results are written by another thread

    def read(self) -> Counter[TrialState]:
        """Count, by what has changed since the last time."""
        with self._lock:
            trials = self._study.get_trials(deepcopy=False)
            replaced = replaced_by(trials[self._seen :])
            # Those that ended earlier were counted before their retries were queued.
            begun = {trial.number for trial in self._ended.open}
            before = {number for number in replaced if number < self._seen} - begun
            self._counts.subtract(trials[number].state for number in before)
            self._replaced |= replaced
            self._seen = len(trials)
            self._counts.update(self._states(self._ended.update(trials)))
            return self._counts + Counter(self._states(self._ended.open))

    def _states(self, trials: Iterable[FrozenTrial]) -> list[TrialState]:
        return [trial.state for trial in trials if trial.number not in self._replaced and not is_skipped(trial)]


def is_skipped(trial: FrozenTrial) -> bool:
    """Whether a trial was not to be trained, so that it does not count. Its ``reason`` says why."""
    return bool(trial.user_attrs.get("skipped"))


def replaced_by(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that are run again by some of ``trials``."""
    return {number for trial in trials if (number := trial.user_attrs.get("retry_of")) is not None}


def counted(trials: Collection[FrozenTrial]) -> list[FrozenTrial]:
    """List the trials that were begun, except those that a retry replaced or that were skipped."""
    replaced = replaced_by(trials)
    return [t for t in trials if t.state != TrialState.WAITING and t.number not in replaced and not is_skipped(t)]
