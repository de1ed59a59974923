"""The options of a search, of which the command line is made, and the request of one command line."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minmax_plugin.errors import ConfigError
from minmax_plugin.settings import SEEDS
from minmax_tune.addresses import absolute, check_no_secret, home

PROG = "tune/search.py" if Path(sys.argv[0]).name == "search.py" else "minmax-search"
ADDRESSES = ("storage", "mlflow")  # options that may have a password in them
# How a place is kept, by the metavar of its option. A search may be resumed from another directory.
PLACES = {"CONFIG": home, "FILE": home, "DIR": home, "URL": absolute, "URI": home}

# What is searched where no config is given: from plain descent-ascent that collapses to a setting that trains.
DEMO: dict[str, Any] = dict(configs=("four_gaussians_demo.py",), space="gan.yaml", num_samples=8, confirm=3)

RACE_SEEDS = 3  # that two trials have in common, before a race judges them

Rule = tuple[str, Callable[[Any], bool]]  # what a value must be, in words, and the check
NOT_NEGATIVE: Rule = ("0 or more", lambda value: value >= 0)
AT_LEAST_2: Rule = ("2 or more", lambda value: value >= 2)
AT_LEAST_1: Rule = ("1 or more", lambda value: value >= 1)
POSITIVE: Rule = ("above 0 and finite", lambda value: 0 < value < math.inf)
FINITE: Rule = ("finite", math.isfinite)
SHARE: Rule = ("0.01 or more and finite", lambda value: 0.01 <= value < math.inf)
SAMPLERS = ("tpe", "gp", "cmaes", "random", "qmc", "nsga2", "grid")
SAMPLER: Rule = (
    f"one of {', '.join(SAMPLERS)}, or MODULE:CLASS of an Optuna sampler",
    lambda value: value in SAMPLERS or bool(re.fullmatch(r"[\w.]+:\w+", value)),
)
PROJECT: Rule = ("a name without / \\ # ? % :", lambda value: bool(re.fullmatch(r"[^/\\#?%:]+", value)))
GPUS: Rule = (
    "a share of one GPU, 0.01 or more, or a whole number of them",
    lambda value: value == 0 or 0.01 <= value <= 1 or (value > 1 and not value % 1),
)


def duration(text: str) -> float:
    """Read the seconds in ``8h``, ``30m``, ``90s``, ``90`` or ``1h30m``.

    Examples:
        >>> duration("1h30m")
        5400.0
    """
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text)
    if not match or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 8h, 30m, 90s or 1h30m.")
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))


def _option(
    group: str, default: Any, metavar: str | None = None, rule: Rule | None = None, mutable: bool = False, **more: Any
) -> Any:
    """Make a field of :class:`Options`, which is an option of the command line too.

    Args:
        group: Its group in the help.
        default: Its default.
        metavar: The name of its value in the help.
        rule: What a value must be.
        mutable: Whether ``--resume`` allows it: it says how the search is run, not what is searched.
        more: Further arguments of ``add_argument``.
    """
    argument = {**more, "metavar": metavar} if metavar else more
    return dataclasses.field(default=default, metadata=dict(group=group, rule=rule, mutable=mutable, argument=argument))


_what = functools.partial(_option, "what is searched")
_how = functools.partial(_option, "how it is searched")
_use = functools.partial(_option, "what it may use", mutable=True)
_kept = functools.partial(_option, "where it is kept")
_later = functools.partial(_option, "before and afterwards")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a search. The command line is made of the fields, and its help of these lines.

    Args:
        configs: configs of the toolkit (default: the demo's, with 8 trials, --space gan.yaml and --confirm 3)
        space: search space, YAML or Python, yours or one that ships: minmax.yaml (default), gan.yaml
        datasets: config files laid over each CONFIG, in turn
        layout: a study for each data set (default), or one study scored by their mean
        objectives: an objective; repeat it for several, the first being the one that early stopping looks at
            (default: balance:max)
        num_samples: trials for each study
        seed: seed of trainings and sampler
        seeds: trainings for each trial; its score is their mean
        confirm: at the end, train the best and the unmodified config on K fresh seeds, and say what was gained
        points: YAML list of points to try first, after the unmodified config
        baseline: whether trial 0 is the unmodified config (default: yes)
        warm_start: first try the best of each study of another search
        sampler: how Optuna proposes; MODULE:CLASS is any sampler of Optuna's that can be imported
        scheduler: how weak trials are stopped early
        resource: what early stopping counts, so that trials compare
        race: after each round of seeds, whether a trial that is worse than the best one trains no more of them
        grace: what a trial may use before it is stopped: a share of all images (default: 0.25), or seconds
        collapse_below: end a trial when its objective is worse than V in three measurements in a row
        time_budget: end the search after so long (8h, 30m, 90s)
        trial_time: end a trial at its first measurement after so long
        duplicates: whether a trial with the settings of a finished one gets its results, or is trained again
        cpus_per_trial: CPU cores a trial uses
        gpus_per_trial: GPUs a trial uses: a fraction of one, several, or 0 (default: 1 where there are any)
        max_concurrent: most trials at once (default: what there is)
        max_failures: restarts of a trial whose worker or node died
        fresh_workers: whether each trial gets a new process (default: no)
        address: Ray: local (default, started here), auto, or HOST:PORT of a cluster
        storage_path: where searches are kept
        name: name of the search's folder (default: the date and time)
        storage: Optuna's storage (default: SQLite in the folder): a database's URL, or journal:FILE for network file
            systems; write a password as '$VARIABLE', which is filled in and not stored
        storage_timeout: how long the search waits for a database that does not answer (default: 1h)
        mlflow: also log to this MLflow tracking server or folder; a password as in --storage
        wandb: also log to this project of Weights & Biases
        export_best: how many of the best configs to write
        keep_checkpoints: how many trials of each study keep their checkpoints, the best ones (default: all)

    Raises:
        ConfigError: If a value is out of range, or two exclude each other.

    Examples:
        >>> Options(objectives=("balance:max", "seconds:min")).directions
        [('balance', 'max'), ('seconds', 'min')]
    """

    # By name, as minmax-train finds them.
    configs: tuple[str, ...] = _what(DEMO["configs"], "CONFIG")
    space: str = _what("minmax.yaml", "FILE", mutable=True)
    datasets: tuple[str, ...] = _what((), "FILE")
    layout: str = _what("per-dataset", choices=("per-dataset", "shared"))
    objectives: tuple[str, ...] = _what(("balance:max",), "METRIC:MODE", action="append", nargs=None)
    num_samples: int = _what(5, "N", AT_LEAST_1)
    seed: int = _what(1, "N", NOT_NEGATIVE)
    seeds: int = _what(1, "K", AT_LEAST_1)
    confirm: int | None = _what(None, "K", AT_LEAST_2)
    points: str | None = _what(None, "FILE")
    baseline: bool = _what(True)
    warm_start: str | None = _what(None, "DIR")

    sampler: str = _how("tpe", "|".join((*SAMPLERS, "MODULE:CLASS")), SAMPLER, mutable=True)
    scheduler: str = _how("none", choices=("asha", "median", "none"), mutable=True)
    race: bool = _how(False, mutable=True)
    resource: str = _how("images", choices=("images", "seconds"), mutable=True)
    grace: float | None = _how(None, "X", POSITIVE, mutable=True)
    collapse_below: float | None = _how(None, "V", FINITE)
    time_budget: float | None = _how(None, "TIME", POSITIVE, mutable=True, type=duration)
    trial_time: float | None = _how(None, "TIME", POSITIVE, mutable=True, type=duration)
    duplicates: str = _how("copy", choices=("copy", "train"))

    cpus_per_trial: float = _use(1, "X", SHARE)
    gpus_per_trial: float | None = _use(None, "X", GPUS)
    max_concurrent: int | None = _use(None, "N", POSITIVE)
    max_failures: int = _use(2, "N", NOT_NEGATIVE)
    fresh_workers: bool = _use(False)
    address: str = _use("local", "ADDRESS")

    storage_path: str = _kept("results", "DIR")
    name: str | None = _kept(None, "NAME")
    storage: str | None = _kept(None, "URL")
    storage_timeout: float = _kept(3600.0, "TIME", POSITIVE, mutable=True, type=duration)
    mlflow: str | None = _kept(None, "URI", mutable=True)
    wandb: str | None = _kept(None, "PROJECT", PROJECT, mutable=True)

    export_best: int = _later(1, "K", AT_LEAST_1, mutable=True)
    keep_checkpoints: int | None = _later(None, "K", AT_LEAST_1, mutable=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, rule = getattr(self, field.name), field.metadata["rule"]
            if value is None:
                continue
            if rule is not None and not rule[1](value):
                raise ConfigError(f"{flag(field.name)} must be {rule[0]}, but got {value}.")
            place = PLACES.get(field.metadata["argument"].get("metavar"), lambda given: given)
            found = tuple(map(place, value)) if isinstance(value, (list, tuple)) else place(value)
            object.__setattr__(self, field.name, found)  # once and for all: the fields are frozen
        for name in ADDRESSES:
            check_no_secret(flag(name), getattr(self, name) or "")
        if self.seed + self.seeds > SEEDS:
            raise ConfigError(
                f"--seed must be {SEEDS - self.seeds} or less, so that --seeds={self.seeds} from there on are below "
                f"2**32, but got {self.seed}."
            )
        for objective in self.objectives:
            if not re.fullmatch(r"[^:]+:(min|max)", objective):
                raise ConfigError(f"--objective={objective!r} must be METRIC:max or METRIC:min.")
        names = [name for name, _ in self.directions]
        if len(set(names)) < len(names):
            raise ConfigError(f"--objective names a metric twice: {names}.")
        if names[0] in ("images", "seconds"):
            raise ConfigError(
                f"--objective={self.objectives[0]!r} cannot be the first: put one that is measured there."
            )
        self._check_combinations()

    def _check_combinations(self) -> None:
        several = len(self.objectives) > 1
        if several and self.sampler in ("gp", "cmaes"):
            raise ConfigError(
                f"--sampler={self.sampler} knows one objective only, but {len(self.objectives)} were given: "
                "choose tpe, nsga2, random, qmc or grid."
            )
        if self.race and (several or self.seeds <= RACE_SEEDS):
            raise ConfigError(
                f"--race needs one --objective and --seeds {RACE_SEEDS + 1} or more, because it compares after "
                f"{RACE_SEEDS} seeds, but got {len(self.objectives)} and {self.seeds}."
            )
        if self.scheduler == "none" and (self.grace is not None or self.resource != "images"):
            raise ConfigError("--grace and --resource belong to a scheduler: add --scheduler asha or median.")
        if self.resource == "seconds" and self.grace is None:
            raise ConfigError("--resource seconds needs --grace SECONDS: how long a trial trains before it may stop.")
        if self.resource == "images" and self.grace is not None and self.grace >= 1:
            raise ConfigError(
                f"--grace={self.grace} is the share of a full training before a trial may stop: between 0 and 1 "
                "(seconds need --resource seconds)."
            )

    @property
    def directions(self) -> list[tuple[str, str]]:
        """The objectives as (metric, ``min`` or ``max``). Early stopping looks at the first."""
        return [(o.split(":")[0], o.split(":")[1]) for o in self.objectives]

    @property
    def processes(self) -> int:
        """The number of processes of each training: one, or one for each of several GPUs."""
        return max(1, int(self.gpus_per_trial or 0))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Options:
        """Read the result of :meth:`to_dict`, also after a way through JSON."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})


# The options that --resume allows.
MUTABLE = tuple(field.name for field in dataclasses.fields(Options) if field.metadata["mutable"])


@dataclasses.dataclass(frozen=True)
class Command:
    """The request of one command line.

    Args:
        action: The action: ``search``, ``dry_run``, ``resume``, ``report`` or ``stop_trial``.
        folder: The folder of an earlier search, for ``resume``, ``report`` and ``stop_trial``.
        given: The options on the command line, by the field's name.
        extend: The number of trials to add to each study.
        retry_errored: Whether failed trials are run again.
        trial: The trial that is stopped, as its number or ``STUDY_NUMBER``.
    """

    action: str
    given: dict[str, Any]
    folder: Path | None = None
    extend: int = 0
    retry_errored: bool = False
    trial: str | None = None

    def options(self, stored: Options | None = None) -> Options:
        """Merge the options: the given ones override the ``stored`` ones, the demo's or the defaults.

        Raises:
            ConfigError: If they do not fit the ``stored`` ones.
        """
        if stored is None:
            return Options(**(self.given if self.given.get("configs") else DEMO | self.given))
        given = dict(self.given)
        if given.get("scheduler") == "none":  # with it go the options that belong to one
            given = {"grace": None, "resource": "images", **given}
        options = dataclasses.replace(stored, **given)
        if options.processes != stored.processes:
            raise ConfigError(
                f"--gpus-per-trial={options.gpus_per_trial} would give the trials {options.processes} processes, each "
                f"with a batch of its own, and others had {stored.processes}: they could not be compared."
            )
        return options


def flag(field: str) -> str:
    """Return a field's name on the command line."""
    return {"configs": "CONFIG", "objectives": "--objective"}.get(field, "--" + field.replace("_", "-"))
