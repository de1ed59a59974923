"""What a search is asked for: the options, their defaults and the command line that gives them."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minmax_plugin.errors import ConfigError
from minmax_plugin.settings import SEEDS
from tune.places import absolute, check_no_secret, home

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIGS = ("configs/four_gaussians_minmax.py", "configs/mnist01_minmax_short.py")
SAMPLERS = ("tpe", "gp", "cmaes", "random", "qmc", "nsga2", "grid")
SCHEDULERS = ("asha", "median", "none")
LAYOUTS = ("per-dataset", "shared")
RESOURCES = ("images", "seconds")
ADDRESSES = ("storage", "mlflow")  # options that may have a password in them
PLACES = ("configs", "space", "datasets", "points", "warm_start", "storage_path", *ADDRESSES)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a search; :func:`build_parser` says what each means.

    Raises:
        ConfigError: for a value that is out of range, or two that exclude each other.

    Examples:
        >>> Options(objectives=("balance:max", "seconds:min")).directions
        [('balance', 'max'), ('seconds', 'min')]
    """

    # what is searched: fixed once the search has begun
    configs: tuple[str, ...] = tuple(str(ROOT / config) for config in DEFAULT_CONFIGS)
    space: str = str(ROOT / "tune/spaces/minmax.yaml")
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
        """The objectives as (metric, ``min`` or ``max``), the first being the one that early stopping looks at."""
        return [(o.split(":")[0], o.split(":")[1]) for o in self.objectives]

    @property
    def processes(self) -> int:
        """That each training runs in: one, or one for each of several GPUs."""
        return max(1, int(self.gpus_per_trial or 0))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Options:
        """Read back what :meth:`to_dict` gave, after a way through JSON."""
        known = {field.name for field in dataclasses.fields(cls)}
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k in known}
        return cls(**given)


# What may be given with --resume: how the search is run, not what is searched.
MUTABLE = (
    *("time_budget", "cpus_per_trial", "gpus_per_trial", "max_concurrent", "max_failures", "fresh_workers"),
    *("address", "export_best", "mlflow"),
)


@dataclasses.dataclass(frozen=True)
class Request:
    """What one command line asks for.

    Args:
        action: ``search``, ``dry-run``, ``resume`` or ``report``.
        folder: of an earlier search, for ``resume`` and ``report``.
        given: the options on the command line, by the field's name.
        extend: trials to add to each study.
        retry_errored: whether failed trials are run again.
    """

    action: str
    given: dict[str, Any]
    folder: Path | None = None
    extend: int = 0
    retry_errored: bool = False

    def options(self, stored: Options | None = None) -> Options:
        """The options: what was given, over what was ``stored`` or the defaults.

        Raises:
            ConfigError: if they do not go with what was ``stored``.
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


def parse(argv: Sequence[str] | None = None) -> Request:
    """Read a command line.

    Raises:
        ConfigError: for options that exclude each other.
        SystemExit: from argparse, for a line that it cannot read.

    Examples:
        >>> parse(["a.py", "--num-samples", "3"]).options().num_samples
        3
    """
    given = vars(build_parser().parse_args(argv))
    if not given.get("configs"):
        given.pop("configs", None)
    actions = [name for name in ("resume", "report", "dry_run") if name in given]
    if len(actions) > 1:
        raise ConfigError(f"{flag(actions[0])} and {flag(actions[1])} exclude each other.")
    resume, report = given.pop("resume", None), given.pop("report", None)
    dry_run = given.pop("dry_run", False)
    extend, retry = given.pop("extend", 0), given.pop("retry_errored", False)
    if resume is None and (extend or retry):
        raise ConfigError(f"{'--extend' if extend else '--retry-errored'} needs --resume DIR: the search it is for.")
    if extend < 0:
        raise ConfigError(f"--extend must be 1 or more, but got {extend}.")
    if "objectives" in given and ("metric" in given or "mode" in given):
        raise ConfigError("--objective METRIC:MODE takes the place of --metric and --mode: give one or the other.")
    if "metric" in given or "mode" in given:
        given["objectives"] = (f"{given.pop('metric', 'balance')}:{given.pop('mode', 'max')}",)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    # A search may be gone on with from another directory.
    if "warm_start" in given:
        given["warm_start"] = str(Path(home(given["warm_start"])).absolute())
    if "storage" in given:
        given["storage"] = absolute(given["storage"])
    folder = resume or report
    if folder is not None:
        allowed = MUTABLE if resume else ("export_best",)
        fixed = sorted(set(given) - set(allowed))
        if fixed:
            raise ConfigError(
                f"{flag(fixed[0])} cannot be given with --{'resume' if resume else 'report'}: it was settled when the "
                f"search began. What may be: {', '.join(map(flag, allowed))}."
            )
    action = "resume" if resume else "report" if report else "dry-run" if dry_run else "search"
    return Request(action, given, Path(home(folder)).absolute() if folder else None, extend, retry)


def flag(field: str) -> str:
    """A field's name on the command line."""
    named = {"configs": "CONFIG", "objectives": "--objective", "baseline": "--no-baseline"}
    return named.get(field, "--" + field.replace("_", "-"))


def duration(text: str) -> float:
    """Seconds in ``8h``, ``30m``, ``90s``, ``90`` or ``1h30m``.

    Examples:
        >>> duration("1h30m")
        5400.0
    """
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text)
    if not match or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 8h, 30m, 90s or 1h30m.")
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))


def build_parser() -> argparse.ArgumentParser:
    """The command line. Only what is given ends up in the namespace: defaults are those of :class:`Options`."""
    parser = argparse.ArgumentParser(
        prog="tune/search.py",
        description="Search hyper-parameters of GAN configs in parallel.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is searched")
    what.add_argument("configs", nargs="*", metavar="CONFIG", help="configs of the toolkit (default: the demo's two)")
    what.add_argument("--space", metavar="FILE", help="search space, YAML or Python (default: tune/spaces/minmax.yaml)")
    what.add_argument("--datasets", nargs="+", metavar="FILE", help="config files laid over each CONFIG, in turn")
    what.add_argument(
        "--layout", choices=LAYOUTS, help="a study for each data set (default), or one study scored by their mean"
    )
    what.add_argument("--metric", help="objective (default: balance)")
    what.add_argument("--mode", choices=["max", "min"], help="its direction (default: max)")
    what.add_argument(
        "--objective",
        dest="objectives",
        action="append",
        metavar="METRIC:MODE",
        help="an objective; repeat it for several, the first being the one that early stopping looks at",
    )
    what.add_argument("--num-samples", type=int, metavar="N", help="trials for each study (default: 5)")
    what.add_argument("--seed", type=int, metavar="N", help="seed of trainings and sampler (default: 1)")
    what.add_argument(
        "--seeds", type=int, metavar="K", help="trainings for each trial; its score is their mean (default: 1)"
    )
    what.add_argument("--points", metavar="FILE", help="YAML list of points to try first, after the unmodified config")
    what.add_argument(
        "--no-baseline", dest="baseline", action="store_false", help="leave out trial 0, the unmodified config"
    )
    what.add_argument("--warm-start", metavar="DIR", help="first try the best of each study of another search")

    how = parser.add_argument_group("how it is searched")
    how.add_argument("--sampler", choices=SAMPLERS, help="how Optuna proposes (default: tpe)")
    how.add_argument("--scheduler", choices=SCHEDULERS, help="how weak trials are stopped early (default: none)")
    how.add_argument(
        "--resource", choices=RESOURCES, help="what early stopping counts, so that trials compare (default: images)"
    )
    how.add_argument(
        "--grace",
        type=float,
        metavar="X",
        help="what a trial may use before it is stopped: a share of all images (default: 0.25), or seconds",
    )
    how.add_argument(
        "--collapse-below",
        type=float,
        metavar="V",
        help="end a trial when its objective is worse than V in three measurements in a row",
    )
    how.add_argument("--time-budget", type=duration, metavar="TIME", help="end the search after so long (8h, 30m, 90s)")

    where = parser.add_argument_group("what it may use")
    where.add_argument("--cpus-per-trial", type=float, metavar="X", help="CPU cores a trial uses (default: 1)")
    where.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs a trial uses: a fraction of one, several, or 0 (default: 1 where there are any)",
    )
    where.add_argument("--max-concurrent", type=int, metavar="N", help="most trials at once (default: what there is)")
    where.add_argument(
        "--max-failures", type=int, metavar="N", help="restarts of a trial whose worker or node died (default: 2)"
    )
    where.add_argument("--fresh-workers", action="store_true", help="a new process for each trial")
    where.add_argument(
        "--address", metavar="ADDRESS", help="Ray: local (default, started here), auto, or HOST:PORT of a cluster"
    )

    kept = parser.add_argument_group("where it is kept")
    kept.add_argument("--storage-path", metavar="DIR", help="where searches are kept (default: results)")
    kept.add_argument("--name", help="name of the search's folder (default: the date and time)")
    kept.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna's storage (default: SQLite in the folder): a database's URL, or journal:FILE for network file "
        "systems; write a password as '$VARIABLE', which is filled in and not stored",
    )
    kept.add_argument(
        "--mlflow", metavar="URI", help="also log to this MLflow tracking server or folder; a password as in --storage"
    )

    later = parser.add_argument_group("before and afterwards")
    later.add_argument("--dry-run", action="store_true", help="show what the first trials would change, and stop")
    later.add_argument("--resume", metavar="DIR", help="go on with a search that was ended or killed")
    later.add_argument("--extend", type=int, metavar="N", help="with --resume: N more trials for each study")
    later.add_argument("--retry-errored", action="store_true", help="with --resume: run failed trials again")
    later.add_argument("--report", metavar="DIR", help="write all results of a search again, from its storage")
    later.add_argument(
        "--export-best", type=int, metavar="K", help="how many of the best configs to write (default: 1)"
    )
    return parser
