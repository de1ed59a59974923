"""Run experiments, and write down the results.

``python -m experiments`` runs all that is missing; ``python -m experiments four_gaussians gda-6`` runs one method on
one experiment. Each is a search of ``tune/search.py`` whose trials are seeds, in ``results/experiments/EXPERIMENT/
METHOD``. The same command resumes an interrupted search, and adds seeds with a larger ``--seeds``. Tables are written
after each method, and the page ``results/experiments/results.md`` at the end. ``--publish`` updates the documentation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from benchmarks.tables import ROOT
from experiments.collect import Result, merge_results, rates_file, read_results, write_results
from experiments.configure import settings_file
from experiments.cost import measure_cost, merge_costs
from experiments.experiment import EXPERIMENTS, RUNS, TUNING
from experiments.methods import METHODS, TUNABLE, methods_of
from experiments.page import write_page
from experiments.pictures import draw_samples, write_decisions
from experiments.search import search
from experiments.tuning import tune
from minmax_tune.study import Search

PLACE = ROOT / "results" / "experiments"
RESULTS = ROOT / "experiments" / "results"
SEEDS = 100  # of a method, at most
RATES = ("accepted", "accepted_over_time", "kept_ascent")


def run(experiment: str, method: str, seeds: int, at_once: int, place: Path, first: int | None = None) -> str | None:
    """Train the missing seeds of a method, from ``first`` on; give the reason if it cannot be done.

    Args:
        experiment: its name.
        method: its name.
        seeds: number of seeds that it is to have, from ``first`` on.
        at_once: trainings at a time.
        place: the folder of the runs.
        first: of the seeds; the method's or experiment's if None.
    """
    task, recipe = EXPERIMENTS[experiment], METHODS[method]
    first = first or first_seed(experiment, method)
    if reason := task.reason_to_skip(method):
        return reason
    if recipe.tuned and not recipe.has_settings(task):
        return f"no settings in {settings_file(task, recipe.tuned).relative_to(ROOT)}: --tune finds them"
    rates = rates_given(method, experiment, place, range(first, first + seeds))
    if recipe.after and not rates:
        return f"needs {recipe.after} first"
    folder, begin = place / experiment / method, first
    if (folder / "search.json").exists():
        record = Search.open(folder)
        begin = record.space.points[0]["seed"]
        following = begin + record.options.num_samples
        has = f"its runs in {folder} are of the seeds from {begin}"
        if not begin <= first <= following:
            return f"{has}: give a --first from that to {following}"
        if (most := begin + SEEDS - first) < seeds:
            return f"{has}, and can be no more than {SEEDS}: ask for {most} at most"
    rates_file(place, experiment, method).parent.mkdir(parents=True, exist_ok=True)
    rates_file(place, experiment, method).write_text(json.dumps(rates))
    space = {
        "space": {"seed": {"type": "int", "low": begin, "high": begin + SEEDS - 1}},
        "points": [{"seed": seed} for seed in range(begin, begin + SEEDS)],
    }
    options = ["--no-baseline", "--sampler", "random", "--metric", task.wanted[0]]
    config = place / experiment / "configs" / f"{method}.py"
    if reason := search(folder, config, recipe.config(task, rates), space, options, first + seeds - begin, at_once):
        return reason
    measure_cost(place, experiment, method, rates)
    return None


def first_seed(experiment: str, method: str) -> int:
    return METHODS[method].first or EXPERIMENTS[experiment].first


def rates_given(control: str, experiment: str, place: Path, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """The rates of a control: those of these seeds, else of its other runs, else of the method it controls for.

    Other methods have none.

    Args:
        control: the method.
        experiment: its name.
        place: the folder of the runs; committed results count too.
        seeds: that are to be trained.
    """
    if (after := METHODS[control].after) is None:
        return {}
    given = rates_file(place, experiment, control)
    if given.exists() and (place / experiment / control / "search.json").exists():
        return json.loads(given.read_text())
    earlier = [batch for batch in committed(experiment, control) if batch.get("given")]
    earlier.sort(key=lambda batch: len(set(batch["seeds"]) & set(seeds)))
    return earlier[-1]["given"] if earlier else rates_of(after, experiment, place)


def rates_of(method: str, experiment: str, place: Path) -> dict[str, Any]:
    """How often a method kept its proposals, on average over its runs, both those in ``place`` and those committed."""
    here = place / experiment / method
    result = Result.read(here) if (here / "search.json").exists() else None
    found = [(len(result.runs), result.rates())] if result else []
    fresh = {run.seed for run in result.runs} if result else set()
    found += [(len(set(b["seeds"]) - fresh), b) for b in committed(experiment, method)]
    found = [(runs, rates) for runs, rates in found if runs and "accepted" in rates]
    return {
        name: numpy.average([rates[name] for _, rates in found], axis=0, weights=[n for n, _ in found])
        .round(4)
        .tolist()
        for name in RATES
        if found and all(name in rates for _, rates in found)
    }


def committed(experiment: str, method: str) -> list[dict[str, Any]]:
    """The batches of runs that the repository holds."""
    if not (RESULTS / f"{experiment}.json").exists():
        return []
    return [batch for batch in read_results(RESULTS, experiment)[1] if batch["method"] == method]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", help=f"of {', '.join(EXPERIMENTS)}; all if not given")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}; all if not given")
    parser.add_argument("--seeds", type=int, default=RUNS, help="runs of each method (default: %(default)s)")
    parser.add_argument(
        "--first", type=int, help="first seed, where others ran those before (default: the method's or experiment's)"
    )
    parser.add_argument("--at-once", type=int, default=2, help="trainings at a time, one thread each (default: 2)")
    parser.add_argument(
        "--tune", action="store_true", help="search the methods' settings instead, on seeds that are not reported"
    )
    parser.add_argument("--trials", type=int, help="of each search with --tune (default: as many as for all methods)")
    parser.add_argument("--publish", action="store_true", help="train nothing: write the results to the docs")
    args = parser.parse_args(argv)
    if args.experiment and args.experiment not in EXPERIMENTS:
        parser.error(f"no such experiment: {args.experiment!r}; there are {list(EXPERIMENTS)}")
    known = list(TUNABLE) if args.tune else list(methods_of(EXPERIMENTS[args.experiment])) if args.experiment else []
    if unknown := [method for method in args.methods if method not in known]:
        what = "to tune" if args.tune else f"of {args.experiment}"
        parser.error(f"no such method {what}: {unknown[0]!r}; there are {known}")
    for name, most in (("seeds", SEEDS), ("first", None), ("at_once", None), ("trials", None)):
        number = getattr(args, name)
        if number is not None and not 1 <= number <= (most or number):
            flag = f"--{name.replace('_', '-')}"
            parser.error(f"{flag} must be 1 {f'to {most}' if most else 'or more'}, but got {number}")
    if args.trials and not args.tune:
        parser.error("--trials is for --tune")
    if args.publish and (args.tune or args.methods):
        parser.error("--publish trains nothing, and takes an experiment at most")
    for method in args.methods if not args.tune else ():
        begin = args.first or first_seed(args.experiment, method)
        if first_seed(args.experiment, method) < TUNING <= begin + args.seeds - 1:
            parser.error(f"--first={begin}: seeds from {TUNING} have chosen settings, and are not reported")
    return args


def main() -> int:
    args = parse()
    experiments = [args.experiment] if args.experiment else list(EXPERIMENTS)
    if args.publish:
        publish(experiments)
        return 0
    missed = False
    try:
        for experiment in experiments:
            for method in args.methods or (TUNABLE if args.tune else methods_of(EXPERIMENTS[experiment])):
                if args.tune:
                    reason = tune(experiment, method, args.trials, args.at_once, PLACE)
                else:
                    try:
                        reason = run(experiment, method, args.seeds, args.at_once, PLACE, args.first)
                    finally:
                        write_results(PLACE, experiment)  # of the seeds that ended, even after an error
                if reason:
                    missed = True
                    print(f"{experiment}, {method}: not {'tuned' if args.tune else 'run'}: {reason}", flush=True)
    finally:
        if not args.tune and PLACE.exists():
            write_page(PLACE, PLACE / "results.md")
    return int(missed and bool(args.methods))  # without METHOD, those that cannot be run are passed over


def publish(experiments: list[str]) -> None:
    """Write the results to the documentation."""
    for experiment in experiments:
        if write_results(PLACE, experiment):
            merge_results(PLACE, RESULTS, experiment)
            merge_costs(PLACE, RESULTS, experiment)
            write_decisions(PLACE, RESULTS, experiment)
            draw_samples(PLACE, experiment, ROOT / "docs" / "images")
    write_page(RESULTS, ROOT / "docs" / "results.md")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the search has kept its finished trials
        sys.exit(130)
