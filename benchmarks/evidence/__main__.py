"""Run cells of the evidence, and write down what they gave.

``python -m benchmarks.evidence`` runs all that is missing; ``python -m benchmarks.evidence four_gaussians gda-6``
one cell. A cell is a search of ``tune/search.py`` whose trials are seeds, in ``results/evidence/EXPERIMENT/METHOD``:
the same command goes on where it was interrupted, and with a larger ``--seeds`` adds to it. Tables are written after
each cell, the page ``results/evidence/results.md`` at the end; ``--publish`` makes them those of the documentation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import yaml

from benchmarks.evidence.collect import Cell, merge_results, rates_file, read_results, write_results
from benchmarks.evidence.columns import METHODS, TUNABLE, columns
from benchmarks.evidence.cost import measure_cost, merge_costs
from benchmarks.evidence.experiments import EXPERIMENTS, ROOT, RUNS, TUNING
from benchmarks.evidence.methods import has_settings, settings_file
from benchmarks.evidence.page import between, summary, write_page
from benchmarks.evidence.pictures import draw_samples, write_decisions
from benchmarks.evidence.tuning import tune
from minmax_plugin.mmgen.config import load_config
from tune.record import SearchRecord

PLACE = ROOT / "results" / "evidence"
RESULTS = ROOT / "benchmarks" / "results" / "evidence"
SEEDS = 100  # that a cell could have
RATES = ("accepted", "accepted_over_time", "kept_ascent")


def run_cell(
    experiment: str, method: str, seeds: int, at_once: int, place: Path, first: int | None = None
) -> str | None:
    """Run a cell's seeds that are missing, from the ``first`` on; give the reason if it cannot be run.

    Args:
        experiment: the row.
        method: the column.
        seeds: that it is to have, from the ``first`` on.
        at_once: trainings.
        place: the folder of the runs.
        first: of the seeds; the method's or experiment's if None.
    """
    row, column = EXPERIMENTS[experiment], METHODS[method]
    first = first or first_seed(experiment, method)
    if row.missing or method in row.skipped:
        return row.missing or row.skipped[method]
    if column.tuned and not has_settings(row, column):
        return f"no settings in {settings_file(row, column.tuned).relative_to(ROOT)}: --tune finds them"
    rates = rates_given(method, experiment, place, range(first, first + seeds))
    if column.after and not rates:
        return f"needs {column.after} first"
    folder = place / experiment / method
    configs = place / experiment / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    config, space = configs / f"{method}.py", configs / f"{method}_seeds.yaml"
    rates_file(place, experiment, method).write_text(json.dumps(rates))
    column.config(row, rates).dump(str(config))
    command = [sys.executable, str(ROOT / "tune/search.py")]
    if (folder / "search.json").exists():
        ((_, begun),) = (record := SearchRecord.open(folder)).configs.items()
        if begun._cfg_dict != load_config(config)._cfg_dict:
            return f"its runs in {folder} were begun with other settings than {config} has now: remove that folder"
        one = record.space.points[0]["seed"]
        following = one + record.options.num_samples
        if not one <= first <= following:
            return f"its runs in {folder} are of the seeds from {one}: give a --first from that to {following}"
        if (most := one + SEEDS - first) < seeds:
            return (
                f"its runs in {folder} are of the seeds from {one}, and can be no more than {SEEDS}: "
                f"ask for {most} at most"
            )
        more = first + seeds - following
        command += ["--resume", str(folder)] + (["--extend", str(more)] if more > 0 else [])
    else:
        points = [{"seed": seed} for seed in range(first, first + SEEDS)]
        entry = {"seed": {"type": "int", "low": first, "high": first + SEEDS - 1}}
        space.write_text(yaml.safe_dump({"space": entry, "points": points}))
        command += [str(config), "--space", str(space), "--no-baseline", "--sampler", "random"]
        command += ["--metric", row.wanted[0], "--num-samples", str(seeds)]
        command += ["--storage-path", str(folder.parent), "--name", method]
    ended = subprocess.run([*command, "--max-concurrent", str(at_once)], cwd=ROOT).returncode
    if ended == 1:
        return "all of its trainings failed: see error.txt in the folders of its trials"
    if ended:
        return f"the search ended with exit code {ended}"
    measure_cost(place, experiment, method, rates)
    return None


def first_seed(experiment: str, method: str) -> int:
    return METHODS[method].first or EXPERIMENTS[experiment].first


def rates_given(control: str, experiment: str, place: Path, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """The rates that a control goes by: what these seeds had, or else its other runs; else its method's own.

    Of any other method: none.

    Args:
        control: the method.
        experiment: the row.
        place: the folder of the runs; what the repository holds counts too.
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
    """How often a method kept its proposals, on average over its runs: those that are here, and those committed."""
    here = place / experiment / method
    cell = Cell.read(here) if (here / "search.json").exists() else None
    found = [(len(cell.runs), cell.rates())] if cell else []
    fresh = {run.seed for run in cell.runs} if cell else set()
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
    """The batches of a cell that the repository holds."""
    if not (RESULTS / f"{experiment}.json").exists():
        return []
    return [batch for batch in read_results(RESULTS, experiment)[1] if batch["method"] == method]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", help=f"of {', '.join(EXPERIMENTS)}; all if not given")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}; all if not given")
    parser.add_argument("--seeds", type=int, default=RUNS, help="runs of each cell (default: %(default)s)")
    parser.add_argument(
        "--first", type=int, help="first seed, where others ran those before (default: the method's or experiment's)"
    )
    parser.add_argument("--at-once", type=int, default=2, help="trainings at a time, one thread each (default: 2)")
    parser.add_argument(
        "--tune", action="store_true", help="search the methods' settings instead, on seeds that are not reported"
    )
    parser.add_argument("--trials", type=int, help="of each search with --tune (default: as many as for all methods)")
    parser.add_argument("--publish", action="store_true", help="train nothing: write what is there to the docs")
    args = parser.parse_args(argv)
    if args.experiment and args.experiment not in EXPERIMENTS:
        parser.error(f"no such experiment: {args.experiment!r}; there are {list(EXPERIMENTS)}")
    known = list(TUNABLE) if args.tune else list(columns(EXPERIMENTS[args.experiment])) if args.experiment else []
    if unknown := [method for method in args.methods if method not in known]:
        what = "to tune" if args.tune else f"of {args.experiment}"
        parser.error(f"no such method {what}: {unknown[0]!r}; there are {known}")
    for name, least, most in (("seeds", 1, SEEDS), ("first", 1, None), ("at_once", 1, None), ("trials", 1, None)):
        number = getattr(args, name)
        if number is not None and not least <= number <= (most or number):
            flag = f"--{name.replace('_', '-')}"
            parser.error(f"{flag} must be {least} {f'to {most}' if most else 'or more'}, but got {number}")
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
            for method in args.methods or (TUNABLE if args.tune else columns(EXPERIMENTS[experiment])):
                if args.tune:
                    reason = tune(experiment, method, args.trials, args.at_once, PLACE)
                else:
                    try:
                        reason = run_cell(experiment, method, args.seeds, args.at_once, PLACE, args.first)
                    finally:
                        write_results(PLACE, experiment)  # of seeds that have ended, whatever became of the others
                if reason:
                    missed = True
                    print(f"{experiment}, {method}: not {'tuned' if args.tune else 'run'}: {reason}", flush=True)
    finally:
        if not args.tune and PLACE.exists():
            write_page(PLACE, PLACE / "results.md")
    return int(missed and bool(args.methods))  # where all are asked for, those that cannot be run are passed over


def publish(experiments: list[str]) -> None:
    """Make the results that are there those of the documentation."""
    for experiment in experiments:
        if write_results(PLACE, experiment):
            merge_results(PLACE, RESULTS, experiment)
            merge_costs(PLACE, RESULTS, experiment)
            write_decisions(PLACE, RESULTS, experiment)
            draw_samples(PLACE, experiment, ROOT / "docs" / "images")
    for page in ("results.md", "accept-test.md"):
        write_page(RESULTS, ROOT / "docs" / page)
    readme = ROOT / "README.md"
    readme.write_text(between(readme.read_text(), "results", summary(RESULTS)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the search that was running has kept what it has
        sys.exit(130)
