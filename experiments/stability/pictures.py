"""The heat maps and the tables of bad steps, drawn from the committed tables alone."""

from __future__ import annotations

from pathlib import Path

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
COLUMNS = 4  # maps in a row
COLOURS = "viridis"
MARKS = dict(zip(OUTCOMES, ("", "slow", "coll.", "div."), strict=True))
TITLES = {"r1": "both players with R1", "plain": "plain descent-ascent"}


def draw_map(source: Path, task: str, images: Path) -> str | None:
    """Draw the map of each method side by side, and return a table of the shares in Markdown.

    A cell's colour is the share of its runs that trained. Its mark is what most of the others did.
    """
    file = source / f"map_{task}.csv"
    if not file.exists():
        return None
    frame = pandas.read_csv(file)
    frame["trained"] = frame["outcome"] == "trained"
    methods = [name for name in METHODS if (frame["method"] == name).any()]
    rows = -(-len(methods) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS + 0.6, 2.9 * rows), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes, name in zip(grid, methods, strict=False):
        runs = frame[frame["method"] == name]
        _draw_cells(axes, runs)
        axes.set_title(f"{METHODS[name].title}\n{share(int(runs['trained'].sum()), len(runs))}", fontsize=8)
    for axes in figure.axes[len(methods) :]:
        axes.set_axis_off()
    figure.suptitle(f"{TASKS[task].title}: share of runs that train, with its 95 % interval", fontsize=10)
    figure.supxlabel("learning rate of the discriminator", fontsize=9)
    figure.supylabel("learning rate of the generator", fontsize=9)
    figure.savefig(images / f"stability_map_{task}.png", dpi=100)
    return markdown(
        ["method", "trained", "minus the same without the rule, paired by seed", *OUTCOMES[1:], "accepted"],
        [_summary(frame, name) for name in methods],
    )


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
    if len(differences) < 2:
        return "–"
    return f"{differences.mean():+.3f} ± {student(differences):.3f} ({len(differences)} seeds)"


def draw_bad_steps(source: Path, losses: str, images: Path) -> str | None:
    """Draw the table of bad steps, and return it in Markdown: runs that survived, and cycles lost."""
    file = source / "bad_steps.csv"
    frame = pandas.read_csv(file) if file.exists() else pandas.DataFrame(columns=["losses"])
    frame = frame[frame["losses"] == losses]
    if frame.empty:
        return None
    frame["survived"] = survived(frame)
    lines = dict(iter(frame.groupby(["remedy", "trouble"])))
    remedies = [name for name in REMEDIES if (frame["remedy"] == name).any()]
    troubles = [name for name in TROUBLES if (frame["trouble"] == name).any()]
    cells = {
        (i, j): lines[remedy, trouble]
        for i, remedy in enumerate(remedies)
        for j, trouble in enumerate(troubles)
        if (remedy, trouble) in lines
    }
    size = (2.6 + 0.95 * len(troubles), 1.6 + 0.42 * len(remedies))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots()
    shares = numpy.full((len(remedies), len(troubles)), numpy.nan)
    for (i, j), line in cells.items():
        shares[i, j] = line["survived"].mean()
        text = f"{line['survived'].sum()}/{len(line)}\n{line['lost'].mean():.0f} lost"
        _write(axes, i, j, text, shares[i, j], 7)
    axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(troubles)), [TROUBLES[name][0] for name in troubles], rotation=30, ha="left")
    axes.set_yticks(range(len(remedies)), [REMEDIES[name].title for name in remedies])
    axes.tick_params(labelsize=8, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel(f"runs that survived, and cycles lost; {TITLES[losses]}", fontsize=9)
    figure.savefig(images / f"stability_bad_steps_{losses}.png", dpi=100)
    rows = [
        [REMEDIES[remedy].title, *(_cell(cells.get((i, j))) for j in range(len(troubles)))]
        for i, remedy in enumerate(remedies)
    ]
    return markdown(["remedy", *(TROUBLES[name][0] for name in troubles)], rows)


def _cell(line: pandas.DataFrame | None) -> str:
    if line is None:
        return "–"
    hits = share(int(line["survived"].sum()), len(line))
    return f"{hits}; {line['modes'].mean():.1f} modes; {line['lost'].mean():.0f} lost"


def draw_all(source: Path, images: Path = IMAGES) -> None:
    """Draw everything that there are results of, and print the tables."""
    images.mkdir(parents=True, exist_ok=True)
    tables = [draw_map(source, task, images) for task in TASKS]
    tables += [draw_bad_steps(source, losses, images) for losses in LOSSES]
    print("\n\n".join(table for table in tables if table))
