"""The page of results and its pictures, from the tables of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
from scipy import stats

from benchmarks.evidence.collect import read_results
from benchmarks.evidence.columns import METHODS, TUNED, columns
from benchmarks.evidence.cost import read_costs
from benchmarks.evidence.experiments import EXPERIMENTS, Experiment
from benchmarks.evidence.methods import has_settings
from benchmarks.evidence.pictures import draw_decisions, strips_of

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
SHORT = (
    "practical",
    "released",
    "best",
    "best-unrolled",
    "random-released",
    "gda-matched",
    "random-best",
    "gda-best",
    "random-unrolled",
    "gda-1",
    "gda-6",
    "gda-1-tuned",
    "gda-6-tuned",
    "omd-tuned",
    "extragradient-tuned",
    "lookahead-tuned",
    "unrolled-tuned",
)  # the README's
# The README's columns: experiment, title, cycle, what is counted (or None for what is wanted).
SUMMARY: tuple[tuple[str, str, int, str | None], ...] = (
    ("four_gaussians", "four Gaussians: all 4 modes", 1500, None),
    ("four_gaussians", "by eye", 1500, "modes_by_eye"),
    ("four_gaussians", "samples near a mode", 1500, "hq"),
    ("eight_gaussians", "eight Gaussians: all 8", 1500, None),
    ("mnist01", "0-1 MNIST: both digits at cycle 1,000", 1000, None),
    ("mnist01", "at cycle 2,000", 2000, None),
)
FEW = 5  # runs below which an interval of their mean says nothing
FEWEST = 3  # runs of a cell that the README shows
HEAVY = ("kid", "fd")  # measurements of which a single run can outweigh all others
DIFFERENT = 0.05  # share by which the cost of a run may pass the anchor's


def share(hits: pandas.Series) -> str:
    """How many runs hit, with the 95 % interval of their share (Wilson)."""
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{int(hits.sum())}/{len(hits)} ({interval.low:.0%}–{interval.high:.0%})"


def middle(values: pandas.Series, name: str) -> str:
    """Mean with its 95 % interval (Student's t) over runs; of few runs, or of a distance, median and range."""
    values = values.dropna()
    if len(values) < 2:
        return "–" if values.empty else f"{values.mean():.3g}"
    if len(values) < FEW or name in HEAVY:
        return f"{values.median():.3g} ({values.min():.3g} to {values.max():.3g})"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.2f} ± {half:.2f}"


def at_cycle(frame: pandas.DataFrame, cycle: int) -> pandas.DataFrame:
    """Each run's measurement at a cycle."""
    return frame[frame["cycle"] == cycle]


def at_end(experiment: Experiment, frame: pandas.DataFrame, cycle: int) -> pandas.DataFrame:
    """Each run's measurement at a cycle; of a tuned method with cheaper cycles at its end, for which it was tuned."""
    tuned = frame["method"].isin([name for name, method in METHODS.items() if method.group == TUNED])
    ends = tuned & (frame.groupby("method")["cycle"].transform("max") > experiment.cycles)
    last = frame[ends].sort_values("cycle").groupby(["method", "seed"]).tail(1)
    return pandas.concat([at_cycle(frame[~ends], cycle), last])


def at_cost(frame: pandas.DataFrame, costs: pandas.DataFrame, cycles: int) -> pandas.DataFrame:
    """Each run's last measurement within the cost of so many cycles of plain descent-ascent."""
    within = frame[frame["cycle"] * frame["method"].map(costs["ratio"]) <= cycles * (1 + DIFFERENT)]
    return within.sort_values("cycle").groupby(["method", "seed"]).tail(1)


def price(cost: pandas.Series) -> str:
    """The cost of a cycle with its 95 % interval; 1 for what it is a ratio to."""
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
        chosen: a measurement of each run; one that failed before it may be missing.
        costs: see :func:`~benchmarks.evidence.cost.read_costs`.
    """
    wanted, least = experiment.wanted
    counted = experiment.counted
    successes = [name for name in ("modes_by_eye",) if name in experiment.shown]  # counted in two ways
    names = ["method", *([f"all {least:.0f} {wanted}, runs", wanted] if counted else ["runs"])]
    names += [f"all {least:.0f} by eye, runs" for _ in successes]
    names += [NAMES.get(name, name) for name in experiment.shown] + ["cycles", "cost of a cycle", "memory more, MiB"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for method, column in columns(experiment).items():
        runs = chosen[chosen["method"] == method]
        if not (seeds := seeds_of(method, batches)):
            continue
        cells = [column.title]
        if counted:
            cells += [share(succeeded(experiment, method, runs, batches)), middle(runs[wanted], wanted)]
            cells += [share(succeeded(experiment, method, runs, batches, name)) for name in successes]
        else:
            cells.append(str(len(seeds)))
        cells += [middle(runs[name], name) if name in runs else "–" for name in experiment.shown]
        cells.append(f"{runs['cycle'].median():.0f}" if len(runs) else "–")
        cells += [f(costs.T[method]) if method in costs.index else "–" for f in (price, memory)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
) -> pandas.Series:
    """Whether each run of a method had what is wanted, as it is ``measured``; one that failed had not.

    Args:
        experiment: what is wanted.
        method: of the runs.
        runs: a measurement of each of the method's runs; one that failed before it may be missing.
        batches: of all methods.
        measured: the measurement that is counted; what is wanted itself if None.
    """
    wanted, least = experiment.wanted
    failed = [int(seed) for batch in batches if batch["method"] == method for seed in batch["failed"]]
    had = runs.set_index("seed")[measured or wanted].ge(least).reindex(seeds_of(method, batches), fill_value=False)
    return had & ~had.index.isin(failed)


def draw(experiment: Experiment, frame: pandas.DataFrame, path: Path) -> None:
    """What is wanted, and one measurement more, over cycles: means over runs with 95 % intervals, by kind of method."""
    import matplotlib

    matplotlib.use("Agg")
    import seaborn

    methods, rows = columns(experiment), [experiment.wanted[0], experiment.drawn]
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
    """All of one experiment, from the files that :func:`~benchmarks.evidence.collect.write_results` wrote."""
    lines = [f"## {experiment.title}", ""]
    if not (source / f"{name}.csv").exists():
        why = f"Empty {experiment.empty(searched=True)} a method. `python -m benchmarks.evidence {name}` fills it"
        why += f" (tuned methods after `python -m benchmarks.evidence {experiment.networks} --tune`)"
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
        if left := [method.title for name, method in columns(experiment).items() if name in unknown]:
            lines += [f"Left out here, since what their cycles cost is not measured: {'; '.join(left)}.", ""]
    if strips := strips_of(name, images):
        lines += ["Samples of seed 1 as the training goes, whatever that seed is like:", ""]
        lines += [line for alt, strip in strips.items() for line in (f"![{alt}]({images.name}/{strip})", "")]
    if picture := draw_decisions(source, name, images):
        lines += ["f and the share of proposals that were kept, over one run (seed 1):", ""]
        lines += [f"![f and kept proposals over a run]({images.name}/{picture})", ""]
    lines += [cells(name, batches), ""]
    return "\n".join(lines)


def cells(name: str, batches: list[dict[str, Any]]) -> str:
    """How each cell came about, and why the empty ones are."""
    lines = ["<details><summary>The runs</summary>", "", "| method | seeds | command | commit | kept | failed |"]
    lines.append("|---|---|---|---|---|---|")
    for method, column in columns(EXPERIMENTS[name]).items():
        mine = [batch for batch in batches if batch["method"] == method]
        if not mine:
            if why := EXPERIMENTS[name].skipped.get(method):
                lines.append(f"| {column.title} | {why} | – | – | – | – |")
                continue
            searched = has_settings(EXPERIMENTS[name], column)
            why = f"none, {EXPERIMENTS[name].empty(searched=searched)}"
            commands = [f"`python -m benchmarks.evidence {name} {method}`"]
            if not searched:
                on = EXPERIMENTS[name].networks
                commands.insert(0, f"`python -m benchmarks.evidence {on} {column.tuned} --tune`, then")
            lines.append(f"| {column.title} | {why} | {' '.join(commands)} | – | – | – |")
        for batch in mine:
            seeds = f"{min(batch['seeds'])} to {max(batch['seeds'])}"
            kept = f"{batch['accepted']:.0%}" if "accepted" in batch else "–"
            if given := batch.get("given"):  # a control's own: a coin's rate, or ascent steps
                kept = (
                    f"{kept}, given {given['accepted']:.1%}" if "accepted" in batch else f"k = {given['kept_ascent']}"
                )
            failed = "; ".join(f"{seed}: {why}" for seed, why in batch["failed"].items()) or "–"
            lines.append(f"| {column.title} | {seeds} | `{batch['command']}` | {batch['commit']} | {kept} | {failed} |")
    where = {f"{b['machine']}; " + ", ".join(f"{p} {v}" for p, v in b["versions"].items()) for b in batches}
    return "\n".join([*lines, "", *(f"{place}." for place in sorted(where)), "", "</details>"])


def summary(source: Path) -> str:
    """The main methods in short, for the README: in how many runs each had what is wanted."""
    names = ["method", *(title for _, title, _, _ in SUMMARY), "cost of a cycle"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    results = {name: read_results(source, name) for name, *_ in SUMMARY}
    costs = read_costs(source, SUMMARY[0][0])
    for method in SHORT:
        cells = [METHODS[method].title]
        for name, _, cycle, measured in SUMMARY:
            frame, batches = results[name]
            runs = at_end(EXPERIMENTS[name], frame[frame["method"] == method], cycle)
            cells.append(cell(EXPERIMENTS[name], method, runs, batches, cycle, measured))
        cells.append(f"{costs['ratio'][method]:.2f}" if method in costs.index else "–")
        if set(cells[1:]) != {"–"}:
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(
    experiment: Experiment,
    method: str,
    runs: pandas.DataFrame,
    batches: list[dict[str, Any]],
    cycle: int,
    measured: str | None,
) -> str:
    """A cell of the README's table, with the cycle that it is of if that is another than the column's."""
    if len(seeds_of(method, batches)) < FEWEST:
        return "–"
    if measured == "hq":
        return f"{runs[measured].mean():.0%}"
    of = "".join(f" at {end}" for end in runs["cycle"].unique().tolist() if end != cycle)
    return share(succeeded(experiment, method, runs, batches, measured)) + of


def between(text: str, name: str, new: str) -> str:
    """A page with what is between the marks of ``name`` replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = text.split(start)
    return head + start + new + rest[rest.index(end) :]


def write_page(source: Path, page: Path) -> None:
    """Write the sections that a page has marks for, between these; a page that is not there is made, with all.

    Args:
        source: folder of the tables of results.
        page: the page; its pictures go to ``images`` beside it.
    """
    empty = "\n".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in EXPERIMENTS)
    text = page.read_text() if page.exists() else empty
    for name, experiment in EXPERIMENTS.items():
        if f"<!-- {name} -->\n" not in text:
            continue
        text = between(text, name, section(name, experiment, source, page.parent / "images"))
    page.write_text(text)
