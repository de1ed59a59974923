"""The options of a search and their defaults, and the request of a command line."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minmax_plugin.errors import ConfigError
from minmax_plugin.settings import SEEDS
from minmax_tune.addresses import check_no_secret, home

DEFAULT_CONFIGS = ("four_gaussians_minmax.py", "mnist01_minmax_short.py")  # by name, as minmax-train finds them
PROG = "tune/search.py" if Path(sys.argv[0]).name == "search.py" else "minmax-search"
SAMPLERS = ("tpe", "gp", "cmaes", "random", "qmc", "nsga2", "grid")
SCHEDULERS = ("asha", "median", "none")
LAYOUTS = ("per-dataset", "shared")
RESOURCES = ("images", "seconds")
ADDRESSES = ("storage", "mlflow")  # options that may have a password in them
PLACES = ("configs", "space", "datasets", "points", "warm_start", "storage_path", *ADDRESSES)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a search. :func:`~minmax_tune.cli.build_parser` describes each.

    Raises:
        ConfigError: If a value is out of range, or two exclude each other.

    Examples:
        >>> Options(objectives=("balance:max", "seconds:min")).directions
        [('balance', 'max'), ('seconds', 'min')]
    """

    # what is searched: fixed once the search has begun
    configs: tuple[str, ...] = DEFAULT_CONFIGS
    space: str = "minmax.yaml"
    datasets: tuple[str, ...] = ()
    layout: str = "per-dataset"
    objectives: tuple[str, ...] = ("balance:max",)
    num_samples: int = 5
    sampler: str = "tpe"
    scheduler: str = "none"
    resource: str = "images"
    grace: float | None = None
    seed: int = 1
    seeds: int = 1
    points: str | None = None
    baseline: bool = True
    warm_start: str | None = None
    collapse_below: float | None = None
    storage_path: str = "results"
    storage: str | None = None
    name: str | None = None
    # how it is run: may change when it is resumed
    time_budget: float | None = None
    cpus_per_trial: float = 1
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None
    max_failures: int = 2
    fresh_workers: bool = False
    address: str = "local"
    export_best: int = 1
    mlflow: str | None = None

    def __post_init__(self) -> None:
        for name in PLACES:
            value = getattr(self, name)
            found = tuple(map(home, value)) if isinstance(value, tuple) else value and home(value)
            object.__setattr__(self, name, found)  # once and for all: the fields are frozen
        for name in ADDRESSES:
            check_no_secret(flag(name), getattr(self, name) or "")
        for name, least in (("num_samples", 1), ("seeds", 1), ("max_failures", 0), ("export_best", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{flag(name)} must be {least} or more, but got {getattr(self, name)}.")
        if self.seed + self.seeds > SEEDS:
            raise ConfigError(
                f"--seed must be {SEEDS - self.seeds} or less, so that --seeds={self.seeds} from there on are below "
                f"2**32, but got {self.seed}."
            )
        for name in ("cpus_per_trial", "max_concurrent", "time_budget"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{flag(name)} must be above 0, but got {value}.")
        gpus = self.gpus_per_trial or 0
        if gpus < 0 or (gpus > 1 and gpus % 1):
            raise ConfigError(
                f"--gpus-per-trial must be a share of one GPU or a whole number of them, but got {self.gpus_per_trial}."
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
        if self.scheduler == "none" and (self.grace is not None or self.resource != "images"):
            raise ConfigError("--grace and --resource belong to a scheduler: add --scheduler asha or median.")
        if self.resource == "seconds" and self.grace is None:
            raise ConfigError("--resource seconds needs --grace SECONDS: how long a trial trains before it may stop.")
        if self.grace is not None and self.grace <= 0:
            raise ConfigError(f"--grace must be above 0, but got {self.grace}.")
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
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k in known}
        return cls(**given)


# The options that --resume allows: they say how the search is run, not what is searched.
MUTABLE = (
    *("time_budget", "cpus_per_trial", "gpus_per_trial", "max_concurrent", "max_failures", "fresh_workers"),
    *("address", "export_best", "mlflow"),
)


@dataclasses.dataclass(frozen=True)
class Command:
    """The request of one command line.

    Args:
        action: The action: ``search``, ``dry-run``, ``resume`` or ``report``.
        folder: The folder of an earlier search, for ``resume`` and ``report``.
        given: The options on the command line, by the field's name.
        extend: The number of trials to add to each study.
        retry_errored: Whether failed trials are run again.
    """

    action: str
    given: dict[str, Any]
    folder: Path | None = None
    extend: int = 0
    retry_errored: bool = False

    def options(self, stored: Options | None = None) -> Options:
        """Merge the options: the given ones override the ``stored`` ones or the defaults.

        Raises:
            ConfigError: If they do not fit the ``stored`` ones.
        """
        if stored is None:
            return Options(**self.given)
        options = dataclasses.replace(stored, **self.given)
        if options.processes != stored.processes:
            raise ConfigError(
                f"--gpus-per-trial={options.gpus_per_trial} would give the trials {options.processes} processes, each "
                f"with a batch of its own, and others had {stored.processes}: they could not be compared."
            )
        return options


def flag(field: str) -> str:
    """Return a field's name on the command line."""
    named = {"configs": "CONFIG", "objectives": "--objective", "baseline": "--no-baseline"}
    return named.get(field, "--" + field.replace("_", "-"))
