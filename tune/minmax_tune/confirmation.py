"""The confirmation of a search: its best settings and the unmodified config, trained again on fresh seeds."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from minmax_plugin.settings import SEEDS
from minmax_tune.queue import enqueue
from minmax_tune.report import tables
from minmax_tune.report.tables import Row
from minmax_tune.study import Search

FOLDER = "confirm"  # in the search's


class Confirmation(Search):
    """The runs that confirm a search, as a search within it: one seed a trial, and nothing is sampled.

    The best of many trials has been lucky too. Seeds that the search has not used tell what it is worth. The trials
    are in studies of their own, ``STUDY.confirm`` in the search's storage, so that no sampler and no table of the
    search sees them. Their user attribute ``confirms`` has the ``trial`` of the search, or ``None`` for the unmodified
    config, with the ``seed`` and the ``settings``.

    Args:
        search: The search, which was begun with ``--confirm``.
    """

    competes = False

    def __init__(self, search: Search) -> None:
        options = dataclasses.replace(
            search.options,
            seeds=1,
            race=False,
            sampler="random",
            scheduler="none",
            grace=None,
            resource="images",
            collapse_below=None,
            time_budget=None,
            trial_time=None,
        )
        studies = {
            name: optuna.create_study(
                storage=search.storage,
                study_name=f"{study.study_name}.confirm",
                directions=study.directions,
                load_if_exists=True,
            )
            for name, study in search.studies.items()
        }
        super().__init__(search.folder / FOLDER, options, None, search.bases, studies, search.storage)
        self.search = search

    @property
    def name(self) -> str:
        return f"{self.search.name}.{FOLDER}"

    def fresh_seeds(self, rows: Iterable[Row]) -> list[int]:
        """Return the first seeds, counted from the search's own, that none of these trials of a study has had."""
        options = self.search.options
        firsts = {options.seed, *(row.settings.get("seed", options.seed) for row in rows)}
        used = {first + i for first in firsts for i in range(options.seeds)}
        numbers = ((options.seed + i) % SEEDS for i in itertools.count())
        return list(itertools.islice((seed for seed in numbers if seed not in used), options.confirm or 0))

    def plan(self) -> None:
        """Queue the runs that are missing. Those of an earlier best trial stay in the study."""
        for name, ranked in tables.read_rows(self.search).items():
            best = tables.best(ranked)
            if best is None:
                continue
            sides: list[tuple[int | None, dict[str, Any]]] = [(None, {})]
            if not best.baseline:
                sides.append((best.number, best.settings))
            known = [confirms(trial) for trial in self.studies[name].get_trials(deepcopy=False)]
            for seed, (number, settings) in itertools.product(self.fresh_seeds(ranked), sides):
                if (number, seed) not in known:
                    kept = {"trial": number, "seed": seed, "settings": {**settings, "seed": seed}}
                    enqueue(self.studies[name], {}, confirms=kept, source=FOLDER)

    def _remaining(self, counts: Counter[TrialState]) -> int:
        return counts[TrialState.WAITING]

    def any_succeeded(self) -> bool:
        return True  # the best trial of the search has

    def rows(self) -> dict[str, dict[tuple[int | None, int], Row]]:
        """Read the runs of each study, by the trial of the search (``None``: the unmodified config) and the seed."""
        found = {}
        for name, rows in tables.read_rows(self).items():
            kept = {trial.number: confirms(trial) for trial in self.counted(name)}
            found[name] = {kept[row.number]: row for row in rows if row.number in kept}
        return found

    def title(self, study: str, number: int) -> str:
        trial, seed = confirms(self.studies[study].get_trials(deepcopy=False)[number])
        return f"{'unmodified config' if trial is None else f'trial {trial}'} on fresh seed {seed}"

    def log(self, line: str) -> None:
        self.search.log(f"confirmation: {line}")


def confirms(trial: FrozenTrial) -> tuple[int | None, int]:
    """Return the trial of the search, or ``None`` for the unmodified config, and the seed."""
    kept = trial.user_attrs["confirms"]
    return kept["trial"], kept["seed"]
