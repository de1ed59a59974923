"""The heat maps and the tables of bad steps, drawn from the committed tables alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import ROOT, markdown
from experiments.stability.bad_steps import LOSSES, survived
from experiments.stability.methods import METHODS, R1
from experiments.stability.outcomes import OUTCOMES
from experiments.stability.remedies import REMEDIES
from experiments.stability.tasks import TASKS
from experiments.stability.troubles import TROUBLES
from experiments.stats import share
from minmax_tune.scores import student

IMAGES = ROOT / "docs" / "images"
COLUMNS = 3  # maps in a row, so that a phone shows their numbers
COLOURS = "viridis"
MARKS = dict(zip(OUTCOMES, ("", "slow", "coll.", "div."), strict=True))
SUMMARY = {"gda": "GDA", "r1": "GDA + R1", "default-r1": "default + R1", "random-default-r1": "control + R1"}
SHOWN = {"none": "undisturbed", "weight": "weight\nof ±100", "sign": "wrong\nsign", "nan-batch": "NaN\nbatch"}
MAIN = {
    "none": "nothing done",
    "default": "MinMax's default",
    "random": "control: random rejections",
    "practical": "the paper's rule for GANs",
    "clip": "clipped gradients",
    "skip-loss": "skipped outliers of the loss",
}  # of the README's picture: maps, kinds of bad steps and remedies
TITLES = {"r1": "both players with R1", "plain": "plain descent-ascent"}


def draw_map(source: Path, task: str, images: Path) -> None:
    """Draw the map of each method side by side, if there are results.

    A cell's colour is the share of its runs that trained. Its mark is what most of the others did.
    """
    frame = read_map(source, task)
    methods = [name for name in METHODS if (frame["method"] == name).any()]
    if not methods:
        return
    rows = -(-len(methods) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS + 0.4, 2.7 * rows), layout="constrained", facecolor="white")
    _draw_maps(list(figure.subplots(rows, COLUMNS, squeeze=False).flat), frame, methods)
    figure.suptitle(f"{TASKS[task].title}: share of runs that train, with its 95 % interval", fontsize=10)
    figure.supxlabel("learning rate of the discriminator", fontsize=9)
    figure.supylabel("learning rate of the generator", fontsize=9)
    figure.savefig(images / f"stability_map_{task}.png", dpi=200)


def map_table(source: Path, task: str) -> str:
    """Make the table of a map's shares, in Markdown."""
    frame = read_map(source, task)
    return markdown(
        ["method", "trained", "minus the same without the rule, paired by seed", *OUTCOMES[1:], "accepted"],
        [_summary(frame, name) for name in METHODS if (frame["method"] == name).any()],
    )


def read_map(source: Path, task: str) -> pandas.DataFrame:
    """Read the runs of a task's map, and whether each one trained."""
    file = source / f"map_{task}.csv"
    frame = pandas.read_csv(file) if file.exists() else pandas.DataFrame(columns=["method", "outcome"])
    frame["trained"] = frame["outcome"] == "trained"
    return frame


def _draw_maps(grid: Sequence[Axes], frame: pandas.DataFrame, methods: Sequence[str]) -> None:
    for axes, name in zip(grid, methods, strict=False):
        runs = frame[frame["method"] == name]
        _draw_cells(axes, runs)
        axes.set_title(f"{fill(METHODS[name].title, 24)}\n{share(int(runs['trained'].sum()), len(runs))}", fontsize=8)
    for axes in grid[len(methods) :]:
        axes.set_axis_off()


def _draw_cells(axes: Axes, runs: pandas.DataFrame) -> None:
    trained = runs.pivot_table("trained", "lr_g", "lr_d")
    rates = [[f"{lr:.0e}".replace("e-0", "e-") for lr in of_player] for of_player in (trained.index, trained.columns)]
    axes.imshow(trained, cmap=COLOURS, vmin=0, vmax=1, origin="lower")
    for (i, j), value in numpy.ndenumerate(trained.to_numpy(float)):
        cell = runs[(runs["lr_g"] == trained.index[i]) & (runs["lr_d"] == trained.columns[j]) & ~runs["trained"]]
        if len(cell):
            _write(axes, i, j, MARKS[cell["outcome"].mode()[0]], value, 6)
    axes.set_yticks(range(len(rates[0])), rates[0])
    axes.set_xticks(range(len(rates[1])), rates[1])
    axes.tick_params(labelsize=6)


def _write(axes: Axes, row: int, column: int, text: str, value: float, size: int) -> None:
    """Write on a cell, so that it can be read on the colour of its value."""
    colour = "black" if value > 0.6 else "white"
    axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _summary(frame: pandas.DataFrame, name: str) -> list[str]:
    runs = frame[frame["method"] == name]
    counts = [f"{(runs['outcome'] == outcome).mean():.0%}" for outcome in OUTCOMES[1:]]
    return [
        METHODS[name].title,
        share(int(runs["trained"].sum()), len(runs)),
        _difference(frame, name),
        *counts,
        f"{runs['accepted'].mean():.1%}",
    ]


def _difference(frame: pandas.DataFrame, name: str) -> str:
    """The share of a rule's map less that of the same losses without it, seed by seed, with Student's interval."""
    if METHODS[name].rule is None:
        return ""
    plain = "r1" if METHODS[name].losses == R1 else "gda"
    of_seed = frame.pivot_table("trained", "seed", "method")
    differences = (of_seed[name] - of_seed[plain]).dropna() if plain in of_seed else pandas.Series(dtype=float)
    if len(differences) < 3:
        return "–"
    return f"{differences.mean():+.3f} ± {student(differences):.3f} ({len(differences)} seeds)"


def draw_bad_steps(source: Path, losses: str, images: Path) -> None:
    """Draw the table of bad steps: runs that survived, and cycles lost."""
    frame = read_bad_steps(source, losses)
    remedies, troubles = _lines(frame)
    if not remedies:
        return
    figure = Figure(figsize=(2.2 + 0.9 * len(troubles), 1.2 + 0.5 * len(remedies)), layout="constrained")
    figure.set_facecolor("white")
    axes = figure.subplots()
    _draw_steps(axes, frame, remedies, troubles)
    axes.set_xlabel(f"runs that survived, and cycles lost; {TITLES[losses]}", fontsize=9)
    figure.savefig(images / f"stability_bad_steps_{losses}.png", dpi=200)


def bad_steps_table(source: Path, losses: str) -> str:
    """Make the table of bad steps, in Markdown: runs that survived, and cycles lost."""
    frame = read_bad_steps(source, losses)
    remedies, troubles = _lines(frame)
    cells = dict(iter(frame.groupby(["remedy", "trouble"])))
    rows = [[REMEDIES[remedy].title, *(_cell(cells.get((remedy, name))) for name in troubles)] for remedy in remedies]
    return markdown(["remedy", *(TROUBLES[name][0] for name in troubles)], rows)


def read_bad_steps(source: Path, losses: str) -> pandas.DataFrame:
    """Read the runs with bad steps, and whether each one survived."""
    file = source / "bad_steps.csv"
    frame = pandas.read_csv(file) if file.exists() else pandas.DataFrame(columns=["losses", "remedy", "trouble"])
    frame = frame[frame["losses"] == losses]
    return frame if frame.empty else frame.assign(survived=survived(frame))


def draw_summary(source: Path, images: Path) -> None:
    """Draw the README's picture, to be read on a phone: some maps, and the main remedies."""
    cells, steps = read_map(source, "ring8"), read_bad_steps(source, "r1")
    methods = [name for name in SUMMARY if (cells["method"] == name).any()]
    remedies, troubles = _lines(steps)
    remedies, troubles = [name for name in MAIN if name in remedies], [name for name in SHOWN if name in troubles]
    if not (methods and remedies):
        return
    figure = Figure(figsize=(6.4, 6.0), layout="constrained", facecolor="white")
    top, bottom = numpy.ravel(figure.subfigures(2, 1, height_ratios=(1, 1.25)))  # type: ignore[arg-type]
    for axes, name in zip(top.subplots(1, len(methods), squeeze=False).flat, methods, strict=True):
        runs = cells[cells["method"] == name]
        axes.imshow(runs.pivot_table("trained", "lr_g", "lr_d"), cmap=COLOURS, vmin=0, vmax=1, origin="lower")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{SUMMARY[name]}\n{runs['trained'].mean():.0%} train", fontsize=10)
    top.suptitle("Where GANs train (yellow: all runs do)", fontsize=11)
    top.supxlabel("discriminator's learning rate, 3e-4 to 3e-2", fontsize=10)
    top.supylabel("generator's", fontsize=10)
    axes = bottom.subplots()
    _draw_steps(axes, steps, remedies, troubles, lost=False)
    axes.set_xticks(range(len(troubles)), [SHOWN[name] for name in troubles])
    axes.set_yticks(range(len(remedies)), [MAIN[name] for name in remedies])
    axes.tick_params(labelsize=10)
    bottom.suptitle("Runs with R1 that survive bad steps", fontsize=11)
    figure.savefig(images / "stability.png", dpi=200)


def _lines(frame: pandas.DataFrame) -> tuple[list[str], list[str]]:
    """List the remedies and the troubles that there are results of."""
    remedies = [name for name in REMEDIES if (frame["remedy"] == name).any()]
    return remedies, [name for name in TROUBLES if (frame["trouble"] == name).any()]


def _draw_steps(
    axes: Axes, frame: pandas.DataFrame, remedies: Sequence[str], troubles: Sequence[str], lost: bool = True
) -> None:
    lines = dict(iter(frame.groupby(["remedy", "trouble"])))
    shares = numpy.full((len(remedies), len(troubles)), numpy.nan)
    for i, j in numpy.ndindex(shares.shape):
        line = lines.get((remedies[i], troubles[j]))
        if line is not None:
            shares[i, j] = alive = float(line["survived"].mean())
            text = f"{line['survived'].sum()}/{len(line)}"
            _write(axes, i, j, f"{text}\n{line['lost'].mean():.0f} lost" if lost else text, alive, 9 if lost else 10)
    axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(troubles)), [fill(TROUBLES[name][0], 11) for name in troubles])
    axes.set_yticks(range(len(remedies)), [fill(REMEDIES[name].title, 22) for name in remedies])
    axes.tick_params(labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)


def _cell(line: pandas.DataFrame | None) -> str:
    if line is None:
        return "–"
    hits = share(int(line["survived"].sum()), len(line))
    return f"{hits}; {line['modes'].mean():.1f} modes; {line['lost'].mean():.0f} lost"


def draw_all(source: Path, images: Path = IMAGES) -> None:
    """Draw everything that there are results of."""
    images.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        draw_map(source, task, images)
    for losses in LOSSES:
        draw_bad_steps(source, losses, images)
    draw_summary(source, images)
