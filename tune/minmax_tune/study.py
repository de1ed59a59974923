"""The record of a search in its folder and its Optuna storage: enough to resume it and to report on it."""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from minmax_plugin.errors import ConfigError
from minmax_plugin.hosts import TOOLKITS, Config, load_config
from minmax_plugin.installed import installed
from minmax_plugin.secrets import hide
from minmax_tune.addresses import take_out
from minmax_tune.commit import code_commit
from minmax_tune.files import write_text, writing
from minmax_tune.folders import LOCK, new_folder
from minmax_tune.memory import HeldStorage, Tally, counted
from minmax_tune.options import ADDRESSES, Options
from minmax_tune.outages import Outages
from minmax_tune.pickling import EmptyPickle
from minmax_tune.space.changed import Kind, kinds_of
from minmax_tune.space.paths import trial_config
from minmax_tune.space.renamed import present_space, use_present_names
from minmax_tune.space.space import Space
from minmax_tune.storage import open_storage

NO_PASSWORD = "holds_no_password"  # in search.json, where no earlier version has written a part of the folder
REPORTS = "reports.jsonl"  # in a trial's folder: all that it measured, so that it can resume after a restart
STOP = "stop"  # in a trial's folder: who asked for its end
TRIALS = "trials"  # folder of the trials within that of their search
SHARED = "shared"  # name of the one study over all data sets


class Run(NamedTuple):
    """One training of a trial. A trial has one for each seed, and in a shared study for each data set too.

    Args:
        base: The name of the base config that it trains.
        seed: The seed of the training.
        folder: The folder of its files.
    """

    base: str
    seed: int
    folder: Path


class Search(EmptyPickle):
    """A stored search.

    The folder holds ``search.json`` (options, versions, the code's commit, start), ``space.json``, ``base/*.py`` (the
    merged base configs), ``search.log`` and ``trials/``. The Optuna studies are in its ``optuna.db``, unless
    ``--storage`` names another place. Each study stores its ``folder``. The search adds user attributes to an Optuna
    trial:

    - ``commit``: the commit of the code that it began with, because a search may be resumed with another;
    - ``baseline``: whether it is the unmodified config;
    - ``settings``: the settings that override the base, by path;
    - ``source``: ``baseline``, ``point``, ``grid``, ``warm start: STUDY trial N``, ``retry`` or ``sampler``;
    - ``retry_of``: the number of the trial that it runs again;
    - ``queued``: the parameters that it was to have, where its sampler was not asked for all;
    - ``reason``: why it was not finished;
    - ``skipped``: whether it was not to be trained, so that it does not count;
    - ``scores``: the primary objective's value for each seed (the mean over data sets);
    - ``interval``: the 95 % Student-t interval of the scores, if there are two seeds or more;
    - ``metrics``: the last metrics, averaged over runs, with the ``images`` and ``seconds`` of all of them together;
    - ``runs``: each run's ``base``, ``seed`` and ``metrics``;
    - ``history``: with several objectives, ``[images, primary value]`` pairs. Optuna keeps intermediate values of
      single-objective trials only. Their steps are images too.

    Args:
        folder: The search's folder.
        options: The options as given, with the later changes of a resumed search.
        space: The space that is sampled. With ``None`` it is read when it is needed, because reading runs a Python
            space.
        bases: The file of each base config, by name.
        studies: The studies by name: those of ``bases``, or one named ``shared``.
        storage: The storage of the studies.

    Examples:
        >>> Search.open("nowhere")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: 'nowhere' holds no search: it has no search.json.
    """

    competes = True  # whether its trials are ranked

    def __init__(
        self,
        folder: Path,
        options: Options,
        space: Space | None,
        bases: Mapping[str, str],
        studies: Mapping[str, optuna.Study],
        storage: BaseStorage,
    ) -> None:
        self.folder, self.options, self._space = folder, options, space
        self.bases, self.studies, self.storage = dict(bases), dict(studies), storage
        self._tallies = {name: Tally(study) for name, study in self.studies.items()}
        self.is_rehearsal = False  # kept in memory alone

    @classmethod
    def create(cls, folder: Path, options: Options, space: Space, configs: Mapping[str, Config]) -> Search:
        """Write a new search down.

        Args:
            folder: A folder that does not exist yet, or was left before the search was written down.
            options: The options of the search.
            space: The space that is sampled.
            configs: The merged base configs, by name.

        Raises:
            ConfigError: If the folder holds something else or cannot be written, or the storage cannot be used.
        """
        names = list(configs) if options.layout == "per-dataset" else [SHARED]
        prefix = f"{folder.name}-" if options.storage else ""  # others may keep their studies there too
        new_folder(folder, options)  # checked again, now that its lock keeps others out
        with writing(f"--storage-path={options.storage_path!r}: {folder}"):
            for path in folder.iterdir():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            storage = open_storage(options.storage, folder)
            (folder / "base").mkdir()
        bases = {name: str(folder / "base" / f"{name}.py") for name in configs}
        for name, cfg in configs.items():
            cfg.dump(bases[name])
        (folder / "space.json").write_text(json.dumps(space.content, indent=2) + "\n")
        studies = {name: _new_study(storage, prefix + name, folder, options) for name in names}
        record = cls(folder, options, space, bases, studies, storage)
        record.write(
            started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
            commit=code_commit(),
            platform=platform.platform(),
            versions=installed(("torch", *TOOLKITS, "ray", "optuna", "numpy")),
            studies={name: study.study_name for name, study in studies.items()},
            bases=bases,
            points=space.points,
            **{NO_PASSWORD: True},
        )
        record.log("started")
        record.hold()
        return record

    @classmethod
    def rehearse(cls, options: Options, space: Space, configs: Mapping[str, Config]) -> Search:
        """Make a search in memory alone."""
        names = list(configs) if options.layout == "per-dataset" else [SHARED]
        storage, directions = InMemoryStorage(), _directions(options)
        studies = {n: optuna.create_study(storage=storage, study_name=n, directions=directions) for n in names}
        record = cls(Path(options.storage_path), options, space, dict.fromkeys(configs, ""), studies, storage)
        record.configs, record.is_rehearsal = dict(configs), True
        return record

    @classmethod
    def open(cls, folder: str | Path) -> Search:
        """Read a stored search.

        Raises:
            ConfigError: If there is none, or its storage cannot be read.
        """
        folder = Path(folder)
        if not (folder / "search.json").is_file():
            raise ConfigError(f"{str(folder)!r} holds no search: it has no search.json.")
        folder = folder.absolute()
        stored = json.loads((folder / "search.json").read_text())
        kept = stored["options"]  # an earlier version's may have a password in it
        options = Options.from_dict(kept | {f: take_out(f, kept[f]) for f in ADDRESSES if kept.get(f)})
        storage = open_storage(options.storage, folder)
        try:
            studies = {
                name: optuna.load_study(study_name=study_name, storage=storage)
                for name, study_name in stored["studies"].items()
            }
        except KeyError as error:
            names = ", ".join(stored["studies"].values())
            raise ConfigError(f"{folder}: its storage {options.storage} lacks its studies, {names}.") from error
        # By its place in the folder, which may have been moved or copied.
        bases = {name: str(folder / "base" / f"{name}.py") for name in stored["bases"]}
        return cls(folder, options, None, bases, studies, storage)

    def hold(self) -> InMemoryStorage:
        """Read the studies into memory, once. Only the process that runs the search may: it alone writes to them.

        Returns:
            Their storage in memory.
        """
        if isinstance(self.storage, InMemoryStorage):
            return self.storage
        self.storage = HeldStorage(self.storage, Outages(self.options.storage_timeout, self._warn))
        for name, study in self.studies.items():
            self.studies[name] = optuna.load_study(study_name=study.study_name, storage=self.storage)
            self._tallies[name] = Tally(self.studies[name])
        return self.storage

    def _warn(self, line: str) -> None:
        self.log(line)
        tqdm.write(hide(line), file=sys.stderr)  # above the line that shows the progress

    def written_whole(self) -> AbstractContextManager[None]:
        """Have the trials that are asked for meanwhile written at the end, each as a whole."""
        return self.storage.whole() if isinstance(self.storage, HeldStorage) else nullcontext()

    def set_attribute(self, study: str, number: int, name: str, value: Any) -> None:
        """Set a user attribute of a trial that has not ended."""
        self.storage.set_trial_user_attr(self._trial_id(study, number), name, value)

    def skip(self, study: str, number: int, reason: str) -> None:
        """End a trial that is not to be trained, and does not count."""
        self.set_attribute(study, number, "skipped", True)
        self.set_attribute(study, number, "reason", reason)
        self.storage.set_trial_state_values(self._trial_id(study, number), TrialState.FAIL)

    def _trial_id(self, study: str, number: int) -> int:
        study_id = self.storage.get_study_id_from_name(self.studies[study].study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    @property
    def name(self) -> str:
        """The name of the search: its folder's."""
        return self.folder.name

    @property
    def space(self) -> Space:
        """The space that is sampled."""
        if self._space is None:
            self._space = Space.load(present_space(json.loads((self.folder / "space.json").read_text())))
            self._space.points = json.loads((self.folder / "search.json").read_text())["points"]
        return self._space

    def change_space(self, space: Space) -> None:
        """Sample another space from here on, in which each changed entry has a new name."""
        kinds = {**self.kinds, **kinds_of(space.content)}
        write_text(self.folder / "space.json", json.dumps(space.content, indent=2) + "\n")
        self.write(points=space.points, kinds=kinds)
        self._space = space

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each parameter of its YAML spaces so far."""
        return self.stored().get("kinds") or kinds_of(self.space.content)

    def stored(self) -> dict[str, Any]:
        """Read ``search.json``. It has the ``kinds`` where the space is not the first one."""
        path = self.folder / "search.json"  # a rehearsal and a confirmation have none
        return json.loads(path.read_text()) if path.exists() else {}

    @functools.cached_property
    def configs(self) -> dict[str, Config]:
        """The merged base configs, by name."""
        return {name: use_present_names(load_config(path)) for name, path in self.bases.items()}

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """The objectives as (metric, ``min`` or ``max``). The first is the primary one."""
        return self.options.directions

    @property
    def seeds(self) -> int:
        """The number of trainings of each configuration (on each data set)."""
        return self.options.seeds

    def title(self, study: str, number: int) -> str:
        """Name a trial of a study, for people."""
        return f"trial {number}"

    def trial_folder(self, study: str, number: int) -> Path:
        """Return the folder of a trial."""
        return self.folder / TRIALS / f"{study}_{number}"

    def runs(self, study: str, number: int, settings: Mapping[str, Any] | None = None) -> list[Run]:
        """List a trial's trainings, in their order: seed by seed, and in a shared study data set by data set.

        The first seed is the search's, unless the space sets ``seed``. A trial of a single run has its files in its
        folder itself.

        Args:
            study: The study of the trial.
            number: The number of the trial.
            settings: Its settings. If not given, they are read from the study.
        """
        shared, folder = self.options.layout == "shared", self.trial_folder(study, number)
        if settings is None:
            trials = self.studies[study].get_trials(deepcopy=False)
            settings = trials[number].user_attrs.get("settings", {}) if number < len(trials) else {}
        first = settings.get("seed", self.options.seed)
        return [
            Run(base, first + i, folder / (base * shared) / (f"seed_{self.options.seed + i}" * (self.seeds > 1)))
            for i in range(self.seeds)
            for base in (self.bases if shared else [study])
        ]

    def config(self, base: str, trial: FrozenTrial) -> Config:
        """Rebuild the config that ``trial`` trains on ``base``, from the stored settings."""
        return self.merged(base, trial.user_attrs.get("settings", {}))

    def merged(self, base: str, settings: Mapping[str, Any]) -> Config:
        """Make the config that a trial with these settings, by path, trains on a base."""
        return trial_config(self.configs[base], settings)

    def counted(self, study: str) -> list[FrozenTrial]:
        """List the trials of a study that were begun, except those that a retry replaced or that were skipped."""
        return counted(self.studies[study].get_trials(deepcopy=False))

    def any_succeeded(self) -> bool:
        """Whether a trial of any study has ended without failing."""
        return any(counts[TrialState.COMPLETE] or counts[TrialState.PRUNED] for counts in self._counts().values())

    def remaining(self, study: str) -> int:
        """Count the trials of a study that have not been begun."""
        return self._remaining(self._tallies[study].read())

    def state(self) -> dict[str, dict[str, int]]:
        """Count each study's trials in each state, and those that are left."""
        begun = [state for state in TrialState if state != TrialState.WAITING]
        return {
            name: {**{state.name: counts[state] for state in begun}, "left": self._remaining(counts)}
            for name, counts in self._counts().items()
        }

    def _counts(self) -> dict[str, Counter[TrialState]]:
        return {name: tally.read() for name, tally in self._tallies.items()}

    def _remaining(self, counts: Counter[TrialState]) -> int:
        return max(0, self.options.num_samples - counts.total() + counts[TrialState.WAITING])

    def delete_unbegun(self) -> None:
        """Delete the search where no trial has begun, so that the corrected line may have its name."""
        if any(counts.total() > counts[TrialState.WAITING] for counts in self._counts().values()):
            return
        for study in self.studies.values():
            optuna.delete_study(study_name=study.study_name, storage=self.storage)
        shutil.rmtree(self.folder)

    def log(self, line: str) -> None:
        """Add a line, with the time, to ``search.log``."""
        if self.is_rehearsal:
            return
        with open(self.folder / "search.log", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {hide(line)}\n")

    def lines(self) -> list[str]:
        """The lines that :meth:`log` wrote."""
        log = self.folder / "search.log"
        return log.read_text().splitlines() if log.exists() else []

    def update(self, options: Options, extend: int = 0) -> None:
        """Take over the options of a resumed search, and add ``extend`` trials to each study."""
        self.options = dataclasses.replace(options, num_samples=options.num_samples + extend)
        self.write()

    def write(self, **more: Any) -> None:
        """Write ``search.json``: the options, its earlier contents, and ``more``."""
        path = self.folder / "search.json"
        write_text(path, json.dumps({**self.stored(), **more, "options": self.options.to_dict()}, indent=2) + "\n")


def source(attributes: Mapping[str, Any]) -> str | None:
    """Return where a trial comes from, by its user attributes. Version 0.1.0 named it ``origin``."""
    return attributes.get("source", attributes.get("origin"))


def _new_study(storage: BaseStorage, name: str, folder: Path, options: Options) -> optuna.Study:
    """Make a study for a new search, or take one that was left before the search was written down.

    Raises:
        ConfigError: If another search has such a study.
    """
    directions = _directions(options)
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    owner = study.user_attrs.get("folder", str(folder))
    if owner != str(folder) or study.directions != directions or study.get_trials(deepcopy=False):
        raise ConfigError(
            f"--storage={options.storage!r} has a study {name!r} already, of another search: give --name."
        )
    study.set_user_attr("folder", str(folder))
    study.set_metric_names([metric for metric, _ in options.directions])
    return study


def _directions(options: Options) -> list[StudyDirection]:
    kinds = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
    return [kinds[mode] for _, mode in options.directions]
