"""The page of results and its pictures, from the tables of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas

from benchmarks.tables import between, markdown
from experiments import stats
from experiments.collect import read_results
from experiments.cost import read_costs
from experiments.experiment import EXPERIMENTS, Experiment
from experiments.methods import METHODS, TUNED, methods_of
from experiments.pictures import draw_decisions, strips_of
from minmax_tune.scores import student

NAMES = {
    "modes": "modes",
    "digits": "digits",
    "modes_by_eye": "modes by eye",
    "modes_3sigma": "modes, 3σ",
    "hq": "high quality",
    "share_1": "ones",
    "share_other": "no wanted digit",
    "kid": "KID",
    "fd": "FD",
}
LEFT_OUT = ("theory", "omd", "extragradient", "lookahead", "unrolled")  # of the conclusions' table
# The columns of the conclusions' table: experiment, title, cycle, what is counted (None for what is wanted).
SUMMARY: tuple[tuple[str, str, int, str | None], ...] = (
    ("four_gaussians", "four Gaussians: all 4 modes", 1500, None),
    ("four_gaussians", "by eye", 1500, "modes_by_eye"),
    ("four_gaussians", "samples near a mode", 1500, "hq"),
    ("eight_gaussians", "eight Gaussians: all 8", 1500, None),
    ("mnist01", "0-1 MNIST: both digits at cycle 1,000", 1000, None),
    ("mnist01", "at cycle 2,000", 2000, None),
)
FEW = 5  # runs below which an interval of their mean says nothing
FEWEST = 3  # runs of a result that the conclusions show
HEAVY = ("kid", "fd")  # measurements in which a single run can outweigh all others
DIFFERENT = 0.05  # share by which the cost of a run may exceed that of plain descent-ascent


def middle(values: pandas.Series, name: str) -> str:
    """Mean with its 95 % interval over runs; median and range of few runs, or of a distance."""
    values = values.dropna()
    if len(values) < 2:
        return "–" if values.empty else f"{values.mean():.3g}"
    if len(values) < FEW or name in HEAVY:
        return f"{values.median():.3g} ({values.min():.3g} to {values.max():.3g})"
    return f"{values.mean():.2f} ± {student(values):.2f}"


def at_cycle(frame: pandas.DataFrame, cycle: int) -> pandas.DataFrame:
    """Each run's measurement at a cycle."""
    return frame[frame["cycle"] == cycle]


def at_end(experiment: Experiment, frame: pandas.DataFrame, cycle: int) -> pandas.DataFrame:
    """Each run's measurement at a cycle. Tuned methods with cheaper cycles are measured at their end instead.

    They were tuned for that end.
    """
    tuned = frame["method"].isin([name for name, method in METHODS.items() if method.group == TUNED])
    ends = tuned & (frame.groupby("method")["cycle"].transform("max") > experiment.cycles)
    last = frame[ends].sort_values("cycle").groupby(["method", "seed"]).tail(1)
    return pandas.concat([at_cycle(frame[~ends], cycle), last])


def at_cost(frame: pandas.DataFrame, costs: pandas.DataFrame, cycles: int) -> pandas.DataFrame:
    """Each run's last measurement within the cost of so many cycles of plain descent-ascent."""
    within = frame[frame["cycle"] * frame["method"].map(costs["ratio"]) <= cycles * (1 + DIFFERENT)]
    return within.sort_values("cycle").groupby(["method", "seed"]).tail(1)


def price(cost: pandas.Series) -> str:
    """The cost of a cycle with its 95 % interval; 1 for plain descent-ascent."""
    ratio, low, high, _ = cost
    return f"{ratio:.2f} ({low:.2f}–{high:.2f})" if low < high else "1"


def memory(cost: pandas.Series) -> str:
    """How much more memory it takes, in MiB."""
    return "–" if pandas.isna(cost["more_mib"]) else str(round(cost["more_mib"]))


def table(
    experiment: Experiment, batches: list[dict[str, Any]], chosen: pandas.DataFrame, costs: pandas.DataFrame
) -> str:
    """A line for each method: success, and means over its runs. A run that failed counts as no success.

    Args:
        experiment: what is wanted.
        batches: of all methods that are to have a line.
        chosen: a measurement of each run; those of failed runs may be missing.
        costs: see :func:`~experiments.cost.read_costs`.
    """
    wanted, least = experiment.wanted
    counted = experiment.counted
    successes = [name for name in ("modes_by_eye",) if name in experiment.shown]  # counted in two ways
    names = ["method", *([f"all {least:.0f} {wanted}, runs", wanted] if counted else ["runs"])]
    names += [f"all {least:.0f} by eye, runs" for _ in successes]
    names += [NAMES.get(name, name) for name in experiment.shown] + ["cycles", "cost of a cycle", "memory more, MiB"]
    rows = []
    for method, recipe in methods_of(experiment).items():
        runs = chosen[chosen["method"] == method]
        if not (seeds := seeds_of(method, batches)):
            continue
        row = [recipe.title]
        if counted:
            row += [succeeded(experiment, method, runs, batches), middle(runs[wanted], wanted)]
            row += [succeeded(experiment, method, runs, batches, name) for name in successes]
        else:
            row.append(str(len(seeds)))
        row += [middle(runs[name], name) if name in runs else "–" for name in experiment.shown]
        row.append(f"{runs['cycle'].median():.0f}" if len(runs) else "–")
        row += [f(costs.T[method]) if method in costs.index else "–" for f in (price, memory)]
        rows.append(row)
    return markdown(names, rows)


def seeds_of(method: str, batches: list[dict[str, Any]]) -> list[int]:
    """The seeds that a method was trained with."""
    mine = [batch for batch in batches if batch["method"] == method]
    return sorted({int(seed) for batch in mine for seed in (*batch["seeds"], *batch["failed"])})


def succeeded(
    experiment: Experiment,
    method: str,
    runs: pandas.DataFrame,
    batches: list[dict[str, Any]],
    measured: str | None = None,
) -> str:
    """The number of runs with success, and its share. A run that failed counts as no success.

    Args:
        experiment: what is wanted.
        method: of the runs.
        runs: a measurement of each of the method's runs; those of failed runs may be missing.
        batches: of all methods.
        measured: the measurement that is counted; what is wanted itself if None.
    """
    wanted, least = experiment.wanted
    failed = [int(seed) for batch in batches if batch["method"] == method for seed in batch["failed"]]
    had = runs.set_index("seed")[measured or wanted].ge(least).reindex(seeds_of(method, batches), fill_value=False)
    return stats.share(int((had & ~had.index.isin(failed)).sum()), len(had))


def draw(experiment: Experiment, frame: pandas.DataFrame, path: Path) -> None:
    """Draw two measurements over cycles, by group of methods: means over runs with 95 % intervals."""
    import seaborn

    methods, rows = methods_of(experiment), [experiment.wanted[0], experiment.drawn]
    shown = frame[frame["cycle"] <= experiment.cycles].copy()
    shown["kind"] = shown["method"].map({name: method.group for name, method in methods.items()})
    shown["method"] = shown["method"].map({name: method.title for name, method in methods.items()})
    shown = shown.melt(["kind", "method", "seed", "cycle"], rows, "measure", "value")
    kinds = [group for group in experiment.groups if (shown["kind"] == group).any()]
    grid = seaborn.FacetGrid(shown, row="measure", col="kind", col_order=kinds, height=2.6, aspect=1.5, sharey="row")
    for (measure, kind), axes in grid.axes_dict.items():
        some = shown[(shown["kind"] == kind) & (shown["measure"] == measure)]
        seaborn.lineplot(
            some, x="cycle", y="value", hue="method", errorbar=("ci", 95), seed=0, ax=axes, legend=measure == rows[0]
        )
        axes.set_title(kind if measure == rows[0] else "")
        axes.set_ylabel(NAMES.get(measure, measure))
        if measure == rows[0]:
            axes.legend(fontsize=6, title=None, loc="lower left", bbox_to_anchor=(0, 1.12))
    path.parent.mkdir(exist_ok=True)
    grid.figure.savefig(path, dpi=110, bbox_inches="tight")


def section(name: str, experiment: Experiment, source: Path, images: Path) -> str:
    """All of one experiment, from the files that :func:`~experiments.collect.write_results` wrote."""
    lines = [f"## {experiment.title}", ""]
    if not (source / f"{name}.csv").exists():
        why = f"Empty {experiment.empty(searched=True)} a method. `python -m experiments {name}` fills it"
        why += f" (tuned methods after `python -m experiments {experiment.networks} --tune`)"
        need = f", where `{experiment.data}` names its data" if experiment.data else ""
        return "\n".join([*lines, f"{why}{need}.", ""])
    frame, batches = read_results(source, name)
    costs = read_costs(source, name)
    if experiment.drawn:
        draw(experiment, frame, images / f"results_{name}.png")
        lines += [f"![{experiment.wanted[0]} over cycles]({images.name}/results_{name}.png)", ""]
    for cycle in experiment.reported:
        lines += [f"**At cycle {cycle}** (one generator proposal or step each):", ""]
        lines += [table(experiment, batches, at_cycle(frame, cycle), costs), ""]
    if set(costs.index) & set(frame["method"]):
        cycles = experiment.reported[-1]
        lines += [f"**At equal time**, that of {cycles} cycles of GDA with k = {experiment.k}:", ""]
        known = [batch for batch in batches if batch["method"] in costs.index]
        lines += [table(experiment, known, at_cost(frame, costs, cycles), costs), ""]
        unknown = set(frame["method"]) - set(costs.index)
        if left := [method.title for name, method in methods_of(experiment).items() if name in unknown]:
            lines += [f"Left out here, since what their cycles cost is not measured: {'; '.join(left)}.", ""]
    if strips := strips_of(name, images):
        lines += ["Samples over the training, always of seed 1:", ""]
        lines += [line for alt, strip in strips.items() for line in (f"![{alt}]({images.name}/{strip})", "")]
    if picture := draw_decisions(source, name, images):
        lines += ["f and the share of proposals that were kept, over one run (seed 1):", ""]
        lines += [f"![f and kept proposals over a run]({images.name}/{picture})", ""]
    lines += ["<details><summary>The runs</summary>", "", table_of_runs(name, batches), ""]
    where = {f"{b['machine']}; " + ", ".join(f"{p} {v}" for p, v in b["versions"].items()) for b in batches}
    return "\n".join([*lines, *(f"{place}." for place in sorted(where)), "", "</details>", ""])


def table_of_runs(name: str, batches: list[dict[str, Any]]) -> str:
    """The command and commit of all runs, and why the missing ones are missing."""
    experiment, rows = EXPERIMENTS[name], []
    for method, recipe in methods_of(experiment).items():
        mine = [batch for batch in batches if batch["method"] == method]
        if not mine:
            searched = recipe.has_settings(experiment)
            why, command = f"none, {experiment.empty(searched=searched)}", f"`python -m experiments {name} {method}`"
            if not searched:
                command = f"`python -m experiments {experiment.networks} {recipe.tuned} --tune`, then {command}"
            if method in experiment.skipped:
                why, command = experiment.skipped[method], "–"
            rows.append([recipe.title, why, command, "–", "–", "–"])
        for batch in mine:
            seeds = f"{min(batch['seeds'])} to {max(batch['seeds'])}"
            kept = f"{batch['accepted']:.0%}" if "accepted" in batch else "–"
            if given := batch.get("given"):  # to a control: an acceptance rate, or ascent steps
                kept = (
                    f"{kept}, given {given['accepted']:.1%}" if "accepted" in batch else f"k = {given['kept_ascent']}"
                )
            failed = "; ".join(f"{seed}: {why}" for seed, why in batch["failed"].items()) or "–"
            rows.append([recipe.title, seeds, f"`{batch['command']}`", batch["commit"], kept, failed])
    return markdown(["method", "seeds", "command", "commit", "kept", "failed"], rows)


def summary(source: Path) -> str:
    """The table of the conclusions: in how many runs the main methods had success."""
    results = {name: read_results(source, name) for name, *_ in SUMMARY}
    costs, rows = read_costs(source, SUMMARY[0][0]), []
    for method, recipe in methods_of(EXPERIMENTS[SUMMARY[0][0]]).items():
        if method in LEFT_OUT:
            continue
        row = [recipe.title]
        for name, _, cycle, measured in SUMMARY:
            frame, batches = results[name]
            runs = at_end(EXPERIMENTS[name], frame[frame["method"] == method], cycle)
            row.append(summary_entry(EXPERIMENTS[name], method, runs, batches, cycle, measured))
        row.append(f"{costs['ratio'][method]:.2f}" if method in costs.index else "–")
        if set(row[1:]) != {"–"}:
            rows.append(row)
    return markdown(["method", *(title for _, title, _, _ in SUMMARY), "cost of a cycle"], rows) + "\n"


def summary_entry(
    experiment: Experiment,
    method: str,
    runs: pandas.DataFrame,
    batches: list[dict[str, Any]],
    cycle: int,
    measured: str | None,
) -> str:
    """An entry of the conclusions' table, with its cycle if that differs from the column's."""
    if len(seeds_of(method, batches)) < FEWEST:
        return "–"
    if measured == "hq":
        return f"{runs[measured].mean():.0%}"
    of = "".join(f" at {end}" for end in runs["cycle"].unique().tolist() if end != cycle)
    return succeeded(experiment, method, runs, batches, measured) + of


def write_page(source: Path, page: Path) -> None:
    """Write the sections that a page has marks for, between these. A missing page is made, with all sections.

    Args:
        source: folder of the tables of results.
        page: the page; its pictures are written to ``images`` beside it.
    """
    empty = "\n".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in EXPERIMENTS)
    text = page.read_text() if page.exists() else empty
    for name, experiment in EXPERIMENTS.items():
        if f"<!-- {name} -->\n" in text:
            text = between(text, name, section(name, experiment, source, page.parent / "images"))
    page.write_text(text)
