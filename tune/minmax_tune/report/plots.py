"""Plots of a study, as figures for a light and a dark page alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from minmax_tune.confirmation import Confirmation
from minmax_tune.files import replaced
from minmax_tune.report.best_configs import row_samples
from minmax_tune.report.confirmed import Confirmed
from minmax_tune.report.tables import Row, best, number, setting
from minmax_tune.study import Search

# Readable on white and on near-black; the page recolours INK with its own text colour.
INK, MAIN, WEAK, WARN = "#6b7280", "#3b82f6", "#94a3b8", "#f59e0b"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # the page's own font
    "svg.hashsalt": "plots",  # the same picture gives the same file
}
MOST_LINES = 3  # of pictures, one for each fresh seed
STRONG = 3  # trials whose learning_curves are in strong colours
DRAWN = 400  # trials in a plot: more make a page slow to open, and hide each other


class TooFew(Exception):
    """Not enough trials for a plot. The message says what is missing."""


def draw(study: optuna.Study, rows: Sequence[Row], objectives: Sequence[tuple[str, str]], folder: Path) -> None:
    """Draw all plots of a study as ``folder/STUDY_KIND.png`` and ``.svg``.

    A plot that needs more trials than there are is left out.

    Args:
        study: The study.
        rows: Its trials, from :func:`minmax_tune.report.tables.read_rows`.
        objectives: The objectives as (metric, ``min`` or ``max``).
        folder: The folder for the plots.
    """
    name = rows[0].study if rows else study.study_name
    kinds: dict[str, Callable[[Sequence[Row], Sequence[tuple[str, str]]], Figure]] = {
        "history": history,
        "learning_curves": learning_curves,
        "importances": lambda rows, objectives: importances(study),
        "parallel_coordinates": parallel_coordinates,
        "slices": slices,
    }
    if len(objectives) > 1:
        kinds["pareto_front"] = pareto_front
    few = thinned(rows)
    for kind, make in kinds.items():
        with mpl.rc_context(STYLE):
            try:
                figure = make(rows if kind == "history" else few, objectives)
            except TooFew:
                continue
            for suffix in ("png", "svg"):
                with replaced(folder / f"{name}_{kind}.{suffix}") as path:
                    more: Any = {"metadata": {"Date": None}, "transparent": True} if suffix == "svg" else {}
                    figure.savefig(path, dpi=130, bbox_inches="tight", **more)


def thinned(rows: Sequence[Row]) -> Sequence[Row]:
    """Choose the rows that are drawn: all, or the best ones and some :data:`DRAWN` in all, evenly by rank."""
    if len(rows) <= DRAWN:
        return rows
    best = DRAWN // 4
    even = {int(place) for place in np.linspace(best, len(rows) - 1, DRAWN - best)}
    kept = (r.baseline or (r.front and len(r.values) > 1) for r in rows)
    return [r for place, (r, keep) in enumerate(zip(rows, kept, strict=True)) if keep or place < best or place in even]


def history(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the first objective of each trial, and the best so far."""
    done = sorted(_finished(rows), key=lambda r: r.number)
    metric, mode = objectives[0]
    figure, axes = _figure(6.4, 3.0)
    numbers, values = [r.number for r in done], [r.value for r in done]
    best = np.maximum.accumulate(values) if mode == "max" else np.minimum.accumulate(values)
    axes.step(numbers, best, where="post", color=MAIN, linewidth=1.5, alpha=0.6, label="best so far")
    few = thinned(rows)
    if pruned := [r for r in few if r.state == "pruned" and r.values[0] is not None]:
        axes.plot([r.number for r in pruned], [r.value for r in pruned], "x", color=WEAK, label="stopped early")
    drawn = sorted(_finished(few), key=lambda r: r.number)
    axes.plot([r.number for r in drawn], [r.value for r in drawn], "o", color=MAIN, markersize=5, label="finished")
    for row in done:
        if row.baseline:
            axes.axhline(row.value, color=WARN, linewidth=1, linestyle="--", label="unmodified config")
    _scale(axes, values)
    axes.margins(y=0.1)
    axes.set_ylim(axes.get_ylim())  # a wide interval may leave the picture
    for row in drawn:
        if row.interval:
            axes.plot([row.number] * 2, row.interval, color=MAIN, linewidth=1, alpha=0.4)
    if failed := [r.number for r in few if r.state == "fail"]:
        low = axes.get_ylim()[0]
        axes.plot(failed, [low] * len(failed), "v", color=WARN, markersize=5, clip_on=False, label="failed")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=metric)
    _legend(axes, 5)
    return figure


def learning_curves(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the first objective in the course of each training, with the best trials in strong colours."""
    measured = [row for row in rows if len(row.curve) > 1]
    if not measured:
        raise TooFew("no trial was measured twice")
    best = [row for row in measured if row.finished][:STRONG]
    figure, axes = _figure(6.4, 3.0)
    for row in measured:
        if row not in best:
            axes.plot(*zip(*row.curve, strict=True), color=WEAK, linewidth=0.8, alpha=0.5)
    for place, row in reversed(list(enumerate(best))):
        label, alpha = f"trial {row.number}", 1 - 0.3 * place
        axes.plot(*zip(*row.curve, strict=True), color=MAIN, alpha=alpha, linewidth=1.6, label=label)
    _scale(axes, [value for row in measured for _, value in row.curve])
    axes.set(xlabel="images shown", ylabel=objectives[0][0])
    axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    if best:
        _legend(axes, STRONG)
    return figure


def importances(study: optuna.Study) -> Figure:
    """Plot the importance of each setting for being among the best, by PED-ANOVA."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 4:
        raise TooFew("it takes four finished trials")
    plt.switch_backend("agg")  # the picture is Optuna's, which draws by pyplot
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental parts of Optuna, and of settings of one value
            axes = optuna.visualization.matplotlib.plot_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise TooFew(str(error)) from error
    figure = axes.figure
    assert isinstance(figure, Figure)
    plt.close(figure)
    if not axes.patches:
        raise TooFew("no setting is common to all trials")
    axes.set(ylabel="", xlabel="importance (PED-ANOVA)", facecolor="none")
    axes.set_title("", loc="left")
    axes.grid(visible=False)
    axes.legend(frameon=False, fontsize=8)
    figure.set_size_inches(6.4, 0.5 + 0.32 * len(axes.patches))
    return figure


def parallel_coordinates(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot each finished trial as a line through its settings. Better trials have stronger lines."""
    done, names = _sampled(rows)
    low, high = min(row.value for row in done), max(row.value for row in done)
    height = Normalize(low, high)
    last = {row.number: float(height(row.value)) for row in done}, {0.0: setting(low), 1.0: setting(high)}
    columns = {name: _places(done, name) for name in names} | {objectives[0][0]: last}
    figure, axes = _figure(max(9.0, 1.3 * len(columns)), 3.4)
    for place, row in reversed(list(enumerate(done))):  # they are ranked
        line = [(i, places[row.number]) for i, (places, _) in enumerate(columns.values()) if row.number in places]
        strength = 1 - place / (len(done) - 1)
        colour, alpha, width = (MAIN, 0.9, 1.6) if strength > 0.8 else (WEAK, 0.25 + 0.3 * strength, 0.9)
        axes.plot(*zip(*line, strict=True), color=colour, alpha=alpha, linewidth=width)
    for i, (_, ticks) in enumerate(columns.values()):
        axes.axvline(i, color=INK, linewidth=0.8, alpha=0.6)
        for end, label in ticks.items():
            axes.annotate(label, (i, end), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set(yticks=[], xlim=(-0.2, len(columns) - 0.6), ylim=(-0.05, 1.05))
    axes.set_xticks(range(len(columns)), [_wrapped(name) for name in columns], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def slices(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the first objective against each setting."""
    done, names = _sampled(rows)
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(6.4, 2.0 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    newest = max(1, *(row.number for row in done))
    for axes, name in zip_longest(grid.flat, names):
        if name is None:
            axes.set_visible(False)
            continue
        places, ticks = _places(done, name)
        having = [row for row in done if row.number in places]
        alpha = [0.3 + 0.7 * row.number / newest for row in having]  # early trials are pale, late ones strong
        axes.scatter([places[row.number] for row in having], [row.value for row in having], s=18, c=MAIN, alpha=alpha)
        axes.set_xticks(list(ticks), ticks.values(), fontsize=7, rotation=15 if len(ticks) > 2 else 0)
        axes.set_xlim(-0.08, 1.08)
        axes.set_xlabel(_wrapped(name), fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel(objectives[0][0])
    _scale(grid[0, 0], [row.value for row in done])
    return figure


def pareto_front(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the first objective against each other one, and mark the trials that none beats in all of them."""
    done = _finished(rows)
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    grid = figure.subplots(1, len(objectives) - 1, squeeze=False)
    for i, axes in enumerate(grid.flat, start=1):
        for row in done:
            colour = MAIN if row.front else WARN if row.baseline else WEAK
            axes.plot(row.values[i], row.value, "o", color=colour, markersize=6 if row.front else 4)
        front = sorted((r.values[i], r.value, r.number) for r in done if r.front and r.values[i] is not None)
        if len(objectives) == 2:
            axes.step([f[0] for f in front], [f[1] for f in front], where="post", color=MAIN, alpha=0.5)
        for x, y, which in front:
            axes.annotate(str(which), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set(xlabel=objectives[i][0], ylabel=objectives[0][0])
    return figure


def draw_samples(record: Search, rows: Mapping[str, Sequence[Row]]) -> None:
    """Draw the last samples of each study's best trial side by side, as ``samples.png``."""
    shown = [(row, path) for ranked in rows.values() if (row := best(ranked)) and (path := row_samples(record, row))]
    if not shown:
        return
    metric = record.objectives[0][0]
    pictures = [(f"{row.study}\ntrial {row.number}: {metric} {number(row.value)}", path) for row, path in shown]
    _draw_pictures([pictures], record.folder / "samples.png")


def draw_both(confirmation: Confirmation, confirmed: Mapping[str, Confirmed]) -> bool:
    """Draw the last samples of the confirming runs as ``samples.png``: a line for each of the first fresh seeds.

    The unmodified config and the best trial of each study stand side by side.

    Returns:
        Whether there were any.
    """
    sides = [(its, side) for its in confirmed.values() for side in its.sides]
    lines = []
    for i in range(MOST_LINES):
        line: list[tuple[str, Path | None]] = []
        for its, side in sides:
            seed = its.seeds[i : i + 1]
            row = next((row for row in side.rows if row.finished and row.settings["seed"] in seed), None)
            title = f"{side.label}, seed {row.settings['seed']}\n{its.metric} {number(row.value)}" if row else ""
            title = f"{its.study}\n{title}" if row and len(confirmed) > 1 else title
            line.append((title, row_samples(confirmation, row) if row else None))
        if any(path for _, path in line):
            lines.append(line)
    if lines:
        _draw_pictures(lines, confirmation.search.folder / "samples.png")
    return bool(lines)


def _draw_pictures(lines: Sequence[Sequence[tuple[str, Path | None]]], file: Path) -> None:
    figure = Figure(figsize=(3.6 * len(lines[0]), 4.0 * len(lines)), layout="constrained")
    for line, places in zip(lines, figure.subplots(len(lines), len(lines[0]), squeeze=False), strict=True):
        for (title, path), axes in zip(line, places, strict=True):
            axes.axis("off")
            if path is not None:
                axes.imshow(mpl.image.imread(path))
                axes.set_title(title, fontsize=10)
    with replaced(file) as aside:
        figure.savefig(aside, dpi=100)


def _finished(rows: Sequence[Row]) -> list[Row]:
    done = [row for row in rows if row.finished]
    if not done:
        raise TooFew("no trial has finished")
    return done


def _sampled(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    done = [row for row in rows if row.finished and row.params]
    if len(done) < 2:
        raise TooFew("it takes two finished trials with settings")
    return done, list(dict.fromkeys(name for row in done for name in row.params))


def _places(rows: Sequence[Row], name: str) -> tuple[dict[int, float], dict[float, str]]:
    """Return where a setting lies on an axis from 0 to 1, by the trial's number, and the labels of the axis."""
    found = {row.number: row.distributions[name] for row in rows if name in row.params}
    first, *_ = found.values()
    if isinstance(first, CategoricalDistribution):
        ends = dict(enumerate(first.choices))
    else:
        ends = {end: end for end in (min(d.low for d in found.values()), max(d.high for d in found.values()))}
    scale = (LogNorm if getattr(first, "log", False) else Normalize)(min(ends), max(ends))
    places = {
        row.number: float(scale(found[row.number].to_internal_repr(row.params[name])))
        for row in rows
        if row.number in found
    }
    return places, {float(scale(end)): setting(label) for end, label in ends.items()}


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic where values of one sign span more than two decades, as distances do."""
    if min(values) > 0 and max(values) > 100 * min(values):
        axes.set_yscale("log")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, frameon=False, fontsize=8)


def _wrapped(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return f"{head}.\n{tail}" if head else name
