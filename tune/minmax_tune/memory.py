"""The studies of a running search in memory: read from there, and written to their storage too."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class HeldStorage(InMemoryStorage):
    """Studies that are read from memory. Each change goes to their storage first, and then to memory.

    A search is the only writer of its studies. So it reads them once. From then on, the statements for a trial do not
    depend on the number of other trials. A change that the storage refuses is not made in memory either.

    Args:
        storage: The storage of the studies.

    Examples:
        >>> storage = InMemoryStorage()
        >>> there = optuna.create_study(storage=storage, study_name="a")
        >>> here = optuna.load_study(storage=HeldStorage(storage), study_name="a")
        >>> here.tell(here.ask(), 0.5).value, there.best_value
        (0.5, 0.5)
    """

    def __init__(self, storage: BaseStorage) -> None:
        super().__init__()
        self._storage = storage
        self._study_ids: dict[int, int] = {}  # in the storage, by those in memory
        self._trial_ids: dict[int, int] = {}  # likewise, of those that have not ended
        self._asked: dict[int, int] = {}  # the studies of trials that are in memory alone, until they are whole
        self._whole = False
        self._distributions: dict[str, BaseDistribution] = {}  # the last of each parameter

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._read(self._storage.create_new_study(directions, study_name))

    def get_study_id_from_name(self, study_name: str) -> int:
        with contextlib.suppress(KeyError):
            return super().get_study_id_from_name(study_name)
        return self._read(self._storage.get_study_id_from_name(study_name))

    def _read(self, there: int) -> int:
        name = self._storage.get_study_name_from_id(there)
        here = super().create_new_study(self._storage.get_study_directions(there), name)
        for key, value in self._storage.get_study_user_attrs(there).items():
            super().set_study_user_attr(here, key, value)
        for key, value in self._storage.get_study_system_attrs(there).items():
            super().set_study_system_attr(here, key, value)
        for trial in self._storage.get_all_trials(there, deepcopy=False):
            trial_id = super().create_new_trial(here, trial)
            held = self.get_trial(trial_id)
            held.distributions = {name: self._one(name, kind) for name, kind in held.distributions.items()}
            if not trial.state.is_finished():
                self._trial_ids[trial_id] = self._storage.get_trial_id_from_study_id_trial_number(there, trial.number)
        self._study_ids[here] = there
        return here

    def delete_study(self, study_id: int) -> None:
        self._storage.delete_study(self._study_ids.pop(study_id))
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._storage.set_study_user_attr(self._study_ids[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._storage.set_study_system_attr(self._study_ids[study_id], key, value)
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
                other = self._storage.get_trial_id_from_study_id_trial_number(there, number)
                self._trial_ids[super().create_new_trial(study_id, self._storage.get_trial(other))] = other
        trial_id = super().create_new_trial(study_id, template_trial)
        self._asked[trial_id] = study_id
        if not self._whole:
            self._write(trial_id)
        return trial_id

    def _write(self, trial_id: int) -> None:
        trial = self.get_trial(trial_id)
        study = self._study_ids[self._asked.pop(trial_id)]
        self._trial_ids[trial_id] = self._storage.create_new_trial(study, trial)
        at_its_number = self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
        if at_its_number != self._trial_ids[trial_id]:
            raise RuntimeError(f"another program added trial {trial.number} to the study at the same moment")

    def _set(self, method: Callable[..., Any], trial_id: int, *arguments: Any) -> Any:
        """Change a trial in the storage, if it is there already."""
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        return True if trial_id in self._asked else method(self._trial_ids[trial_id], *arguments)

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
        changed = self._set(self._storage.set_trial_state_values, trial_id, state, values)
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
    """Counts the trials of a study by state, except those that a retry replaced.

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
        return [trial.state for trial in trials if trial.number not in self._replaced]


def replaced_by(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that are run again by some of ``trials``."""
    return {number for trial in trials if (number := trial.user_attrs.get("retry_of")) is not None}


def counted(trials: Collection[FrozenTrial]) -> list[FrozenTrial]:
    """List the trials that were begun, except those that a retry replaced."""
    replaced = replaced_by(trials)
    return [t for t in trials if t.state != TrialState.WAITING and t.number not in replaced]
