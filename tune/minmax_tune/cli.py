"""The command line: ``python tune/search.py [CONFIG ...]`` in a clone, ``minmax-search`` where it is installed."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from minmax_plugin.errors import ConfigError, SpaceError
from minmax_plugin.secrets import hide, show_traceback
from minmax_tune.addresses import absolute, home
from minmax_tune.options import LAYOUTS, MUTABLE, PROG, RESOURCES, SAMPLERS, SCHEDULERS, Command, flag


def parse(argv: Sequence[str] | None = None) -> Command:
    """Read a command line.

    Raises:
        ConfigError: If options exclude each other.
        SystemExit: If argparse cannot read the line.

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
    # A search may be resumed from another directory.
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
    return Command(action, given, Path(home(folder)).absolute() if folder else None, extend, retry)


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


def build_parser() -> argparse.ArgumentParser:
    """Build the command line. The namespace has only the given options; :class:`Options` has the defaults."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Search hyper-parameters of GAN configs in parallel.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is searched")
    what.add_argument("configs", nargs="*", metavar="CONFIG", help="configs of the toolkit (default: the demo's two)")
    what.add_argument(
        "--space",
        metavar="FILE",
        help="search space, YAML or Python, yours or one that ships: minmax.yaml (default), gan.yaml",
    )
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code: 2 if an input is wrong."""
    sys.excepthook = show_traceback
    try:
        request = parse(argv)

        from minmax_tune import search  # with Ray, Optuna and torch, which --help does not wait for

        actions = {"resume": search.resume, "report": search.report, "dry-run": search.rehearse}
        return actions.get(request.action, search.search)(request)
    except (ConfigError, SpaceError, FileNotFoundError) as error:
        print(f"{PROG}: error: {hide(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"{PROG}: error: the disk is full ({error}): make room, then --resume", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
