"""The command line: ``python tune/search.py [CONFIG ...]`` in a clone, ``minmax-search`` where it is installed."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from minmax_plugin.errors import ConfigError, SpaceError, is_full_disk, one_line
from minmax_plugin.secrets import hide, show_traceback
from minmax_tune.addresses import home
from minmax_tune.options import MUTABLE, PROG, Command, Options, flag
from minmax_tune.outages import Unreachable

ACTIONS = {
    "resume": MUTABLE,
    "report": ("export_best",),
    "stop_trial": (),
    "dry_run": None,
}  # with the options that each allows


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
    for name, value in given.items():
        if "" in (value if isinstance(value, (list, tuple)) else [value]):  # of a variable that is not set, mostly
            raise ConfigError(f"{flag(name)} is empty: give it a value, or leave it out.")
    extend, retry = given.pop("extend", 0), given.pop("retry_errored", False)
    action = next((name for name in ACTIONS if name in given), "search")
    folder, trial = given.pop(action, None), None
    if action == "stop_trial":
        trial, folder = folder
    if action != "resume" and (extend or retry):
        raise ConfigError(f"{'--extend' if extend else '--retry-errored'} needs --resume DIR: the search it is for.")
    if extend < 0:
        raise ConfigError(f"--extend must be 1 or more, but got {extend}.")
    if "objectives" in given and ("metric" in given or "mode" in given):
        raise ConfigError("--objective METRIC:MODE takes the place of --metric and --mode: give one or the other.")
    if "metric" in given or "mode" in given:
        given["objectives"] = (f"{given.pop('metric', 'balance')}:{given.pop('mode', 'max')}",)
    if "warm_start" in given:  # a search may be resumed from another directory
        given["warm_start"] = str(Path(home(given["warm_start"])).absolute())
    allowed = ACTIONS.get(action)
    if allowed is None:
        return Command(action, given)
    if fixed := sorted(set(given) - set(allowed)):
        raise ConfigError(
            f"{flag(fixed[0])} cannot be given with {flag(action)}: it was settled when the search began. "
            f"What may be: {', '.join(map(flag, allowed)) or 'nothing'}."
        )
    return Command(action, given, Path(home(folder)).absolute(), extend, retry, trial)


def build_parser() -> argparse.ArgumentParser:
    """Build the command line from :class:`Options`. The namespace has only the options that were given."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage="%(prog)s [CONFIG ...] [OPTION ...]",
        description="Search hyper-parameters of GAN configs in parallel.",
        argument_default=argparse.SUPPRESS,
    )
    group = functools.cache(parser.add_argument_group)
    types, help_texts = get_type_hints(Options), help_of(Options)
    for field in dataclasses.fields(Options):
        kind = (get_args(types[field.name]) or [types[field.name]])[
            0
        ]  # of ``float | None`` and ``tuple[str, ...]`` too
        argument = {"help": help_texts.get(field.name, ""), **field.metadata["argument"]}
        if kind is bool:
            argument["action"] = argparse.BooleanOptionalAction
        else:
            argument.setdefault("type", kind)
            if isinstance(field.default, (str, int, float)) and "(default" not in argument["help"]:
                argument["help"] += f" (default: {field.default})"
        if field.name == "configs":
            group(field.metadata["group"]).add_argument("configs", nargs="*", **argument)
            continue
        if isinstance(field.default, tuple):
            argument = {"action": "extend", "nargs": "+", **argument}
        group(field.metadata["group"]).add_argument(flag(field.name), dest=field.name, **argument)
    what, later = group("what is searched"), group("before and afterwards")
    what.add_argument("--metric", metavar="METRIC", help="the objective, where there is one (default: balance)")
    what.add_argument("--mode", choices=["max", "min"], help="its direction (default: max)")
    only_one = later.add_mutually_exclusive_group()
    only_one.add_argument("--dry-run", action="store_true", help="show what the first trials would change, and stop")
    only_one.add_argument("--resume", metavar="DIR", help="go on with a search that was ended or killed")
    only_one.add_argument("--report", metavar="DIR", help="write all results of a search again, from its storage")
    stop = "end one trial of a running search at its next measurement: TRIAL is its number, or STUDY_NUMBER"
    only_one.add_argument("--stop-trial", nargs=2, metavar=("TRIAL", "DIR"), help=stop)
    later.add_argument("--extend", type=int, metavar="N", help="with --resume: N more trials for each study")
    later.add_argument("--retry-errored", action="store_true", help="with --resume: run failed trials again")
    return parser


def help_of(described: type) -> dict[str, str]:
    """Read what the docstring of a class says of each argument, in a line.

    Examples:
        >>> help_of(Options)["seed"]
        'seed of trainings and sampler'
    """
    arguments = (inspect.getdoc(described) or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code: 2 if an input is wrong."""
    sys.excepthook = show_traceback
    try:
        request = parse(argv)

        from minmax_tune import search  # with Ray, Optuna and torch, which --help does not wait for

        actions = {
            "resume": search.resume,
            "report": search.report,
            "dry_run": search.rehearse,
            "stop_trial": search.stop_trial,
        }
        return actions.get(request.action, search.search)(request)
    except (ConfigError, SpaceError, FileNotFoundError) as error:
        print(f"{PROG}: error: {hide(str(error))}", file=sys.stderr)
        return 2
    except Unreachable as error:
        print(f"{PROG}: error: the search's storage failed: {error}; then --resume", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not is_full_disk(error):
            raise
        said = f" ({one_line(error)})" if isinstance(error, OSError) else ""  # a database says something else
        print(f"{PROG}: error: the disk is full{said}: make room, then --resume", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
