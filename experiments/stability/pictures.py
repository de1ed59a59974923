"""The heat maps and the tables of bad steps, drawn from the committed tables alone."""

from __future__ import annotations

from pathlib import Path

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
from experiments.stats import share, student

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
    others = runs[~runs["trained"]].groupby(["lr_g", "lr_d"])["outcome"].agg(lambda o: o.mode()[0])
    axes.imshow(trained, cmap=COLOURS, vmin=0, vmax=1, origin="lower")
    for (g, d), outcome in others.items():
        i, j = trained.index.get_loc(g), trained.columns.get_loc(d)
        colour = "black" if trained.iloc[i, j] > 0.6 else "white"
        axes.text(j, i, MARKS[outcome], ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(trained.columns)), [f"{lr:.0e}".replace("e-0", "e-") for lr in trained.columns])
    axes.set_yticks(range(len(trained.index)), [f"{lr:.0e}".replace("e-0", "e-") for lr in trained.index])
    axes.tick_params(labelsize=6)


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
    lines = frame.groupby(["remedy", "trouble"]).agg(
        hits=("survived", "sum"), runs=("survived", "size"), lost=("lost", "mean"), modes=("modes", "mean")
    )
    remedies = [name for name in REMEDIES if name in lines.index.levels[0]]
    troubles = [name for name in TROUBLES if name in lines.index.levels[1]]
    shares = (lines["hits"] / lines["runs"]).unstack().reindex(index=remedies, columns=troubles)
    figure = Figure(
        figsize=(2.6 + 0.95 * len(troubles), 1.6 + 0.42 * len(remedies)), layout="constrained", facecolor="white"
    )
    axes = figure.subplots()
    axes.imshow(shares.astype(float), cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    for (remedy, trouble), line in lines.iterrows():
        i, j = remedies.index(remedy), troubles.index(trouble)
        colour = "black" if shares.iloc[i, j] > 0.6 else "white"
        text = f"{line['hits']:.0f}/{line['runs']:.0f}\n{line['lost']:.0f} lost"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(troubles)), [TROUBLES[name][0] for name in troubles], rotation=30, ha="left")
    axes.set_yticks(range(len(remedies)), [REMEDIES[name].title for name in remedies])
    axes.tick_params(labelsize=8, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel(f"runs that survived, of {int(lines['runs'].max())}, and cycles lost; {TITLES[losses]}", fontsize=9)
    figure.savefig(images / f"stability_bad_steps_{losses}.png", dpi=100)
    cells = {
        key: f"{share(int(line['hits']), int(line['runs']))}; {line['modes']:.1f} modes; {line['lost']:.0f} lost"
        for key, line in lines.iterrows()
    }
    rows = [[REMEDIES[r].title, *(cells.get((r, t), "–") for t in troubles)] for r in remedies]
    return markdown(["remedy", *(TROUBLES[name][0] for name in troubles)], rows)


def draw_all(source: Path, images: Path = IMAGES) -> None:
    """Draw everything that there are results of, and print the tables."""
    images.mkdir(parents=True, exist_ok=True)
    tables = [draw_map(source, task, images) for task in TASKS]
    tables += [draw_bad_steps(source, losses, images) for losses in LOSSES]
    print("\n\n".join(table for table in tables if table))
