"""Plots of a study, as figures for a light and a dark page alike. Optuna computes the importances."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import matplotlib.ticker
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from minmax_tune.files import replaced
from minmax_tune.report.export import row_samples
from minmax_tune.report.tables import Row, best, course, number
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
    kinds: dict[str, Callable[[], Figure]] = {
        "history": lambda: history(rows, objectives[0]),
        "courses": lambda: courses(study, objectives[0]),
        "importances": lambda: importances(study, objectives),
        "parallel_coordinates": lambda: parallel_coordinates(study, objectives[0]),
        "slices": lambda: slices(study, objectives[0]),
    }
    if len(objectives) > 1:
        kinds["pareto_front"] = lambda: pareto_front(rows, objectives)
    for kind, make in kinds.items():
        with mpl.rc_context(STYLE):
            try:
                figure = make()
            except TooFew:
                continue
            for suffix in ("png", "svg"):
                with replaced(folder / f"{name}_{kind}.{suffix}") as path:
                    more: Any = {"metadata": {"Date": None}, "transparent": True} if suffix == "svg" else {}
                    figure.savefig(path, dpi=130, bbox_inches="tight", **more)


def history(rows: Sequence[Row], objective: tuple[str, str]) -> Figure:
    """Plot the first objective of each trial, and the best so far."""
    done = sorted((r for r in rows if r.finished), key=lambda r: r.number)
    if not done:
        raise TooFew("no trial has finished")
    metric, mode = objective
    figure, axes = _figure(6.4, 3.0)
    numbers, values = [r.number for r in done], [r.value for r in done]
    best = np.maximum.accumulate(values) if mode == "max" else np.minimum.accumulate(values)
    axes.step(numbers, best, where="post", color=MAIN, linewidth=1.5, alpha=0.6, label="best so far")
    pruned = [r for r in rows if r.state == "pruned" and r.values[0] is not None]
    if pruned:
        axes.plot([r.number for r in pruned], [r.value for r in pruned], "x", color=WEAK, label="stopped early")
    axes.plot(numbers, values, "o", color=MAIN, markersize=5, label="finished", linestyle="none")
    for row in done:
        if row.baseline:
            axes.axhline(row.value, color=WARN, linewidth=1, linestyle="--", label="unmodified config")
    _scale(axes, values)
    axes.margins(y=0.1)
    axes.set_ylim(axes.get_ylim())  # a wide interval may leave the picture
    for row in done:
        if row.interval:
            axes.plot([row.number] * 2, row.interval, color=MAIN, linewidth=1, alpha=0.4)
    failed = [r.number for r in rows if r.state == "fail"]
    if failed:
        low = axes.get_ylim()[0]
        axes.plot(failed, [low] * len(failed), "v", color=WARN, markersize=5, clip_on=False, label="failed")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=metric)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5, frameon=False, fontsize=8)
    return figure


def courses(study: optuna.Study, objective: tuple[str, str], strong: int = 3) -> Figure:
    """Plot the first objective in the course of each training, with the best ``strong`` trials in strong colours."""
    metric, mode = objective
    lines = [(t, pairs) for t in study.get_trials(deepcopy=False) if len(pairs := course(t)) > 1]
    if not lines:
        raise TooFew("no trial was measured twice")
    done = [t for t, _ in lines if t.state == TrialState.COMPLETE]
    best = sorted(done, key=lambda t: t.values[0], reverse=mode == "max")[:strong]
    figure, axes = _figure(6.4, 3.0)
    for trial, pairs in lines:
        if trial not in best:
            axes.plot(*zip(*pairs, strict=True), color=WEAK, linewidth=0.8, alpha=0.5)
    for place, trial in reversed(list(enumerate(best))):
        pairs = course(trial)
        colour, alpha = MAIN, 1 - 0.3 * place
        axes.plot(*zip(*pairs, strict=True), color=colour, alpha=alpha, linewidth=1.6, label=f"trial {trial.number}")
    _scale(axes, [value for _, pairs in lines for _, value in pairs])
    axes.set(xlabel="images shown", ylabel=metric)
    axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    if best:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=strong, frameon=False, fontsize=8)
    return figure


def importances(study: optuna.Study, objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the importance of each setting for being among the best, by PED-ANOVA."""
    targets: list[Callable[[FrozenTrial], float] | None] = [None]
    if len(objectives) > 1:
        targets = [lambda t, i=i: t.values[i] for i in range(len(objectives))]  # type: ignore[misc]
    if len(_complete(study)) < 4:
        raise TooFew("it takes four finished trials")
    found = []
    for target in targets:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of experimental parts of Optuna, and of settings of one value
                found.append(
                    optuna.importance.get_param_importances(
                        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), target=target
                    )
                )
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            raise TooFew(str(error)) from error
    if not found[0]:
        raise TooFew("no setting is common to all trials")
    names = sorted(found[0], key=lambda n: found[0][n])
    figure, axes = _figure(6.4, 0.5 + 0.32 * len(names) * len(found))
    height = 0.7 / len(found)
    for i, (scores, (metric, _)) in enumerate(zip(found, objectives, strict=False)):
        where = np.arange(len(names)) - i * height
        bars = axes.barh(where, [scores[n] for n in names], height=height * 0.9, color=(MAIN, WARN, WEAK)[i % 3])
        bars.set_label(metric)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=INK)
    axes.set_yticks(np.arange(len(names)) - height * (len(found) - 1) / 2, names)
    axes.set_xlabel("importance (PED-ANOVA)")
    if len(found) > 1:
        axes.legend(frameon=False, fontsize=8)
    return figure


def parallel_coordinates(study: optuna.Study, objective: tuple[str, str]) -> Figure:
    """Plot each finished trial as a line through its settings. Better trials have stronger lines."""
    trials, scales = _scales(study)
    metric, mode = objective
    values = np.array([t.values[0] for t in trials])
    order = np.argsort(np.argsort(values if mode == "max" else -values)) / max(1, len(values) - 1)
    figure, axes = _figure(max(9.0, 1.3 * (len(scales) + 1)), 3.4)
    low, high = values.min(), values.max()
    columns = [*scales, metric]
    for trial, value, strength in sorted(zip(trials, values, order, strict=True), key=lambda item: item[2]):
        points = [(i, scale.place(trial.params[n])) for i, (n, scale) in enumerate(scales.items()) if n in trial.params]
        points.append((len(scales), (value - low) / (high - low) if high > low else 0.5))
        top = strength > 0.8
        axes.plot(
            *zip(*points, strict=True),
            color=MAIN if top else WEAK,
            alpha=0.9 if top else 0.25 + 0.3 * strength,
            linewidth=1.6 if top else 0.9,
        )
    for i, scale in enumerate(scales.values()):
        for place, label in scale.ticks():
            axes.annotate(label, (i, place), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center")
    for place, value in ((0, low), (1, high)):
        axes.annotate(f"{value:.3g}", (len(scales), place), xytext=(4, 0), textcoords="offset points", fontsize=7)
    for i in range(len(columns)):
        axes.axvline(i, color=INK, linewidth=0.8, alpha=0.6)
    axes.set(xticks=range(len(columns)), yticks=[], xlim=(-0.2, len(columns) - 0.6), ylim=(-0.05, 1.05))
    axes.set_xticklabels([_wrapped(c) for c in columns], fontsize=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def slices(study: optuna.Study, objective: tuple[str, str]) -> Figure:
    """Plot the first objective against each setting."""
    trials, scales = _scales(study)
    columns = min(3, len(scales))
    lines = -(-len(scales) // columns)
    figure = Figure(figsize=(6.4, 2.0 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, (name, scale) in zip(grid.flat, scales.items(), strict=False):
        having = [t for t in trials if name in t.params]
        numbers = np.array([t.number for t in having])
        # early trials are pale, late ones strong
        alpha = 0.3 + 0.7 * numbers / max(1, numbers.max(initial=1))
        axes.scatter(
            [scale.place(t.params[name]) for t in having], [t.values[0] for t in having], s=18, c=MAIN, alpha=alpha
        )
        ticks = list(scale.ticks())
        axes.set_xticks([p for p, _ in ticks], [text for _, text in ticks], fontsize=7)
        axes.set_xlim(-0.08, 1.08)
        axes.set_xlabel(_wrapped(name), fontsize=8)
    for axes in list(grid.flat)[len(scales) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel(objective[0])
    _scale(grid[0, 0], [t.values[0] for t in trials])
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic where values of one sign span more than two decades, as distances do."""
    if min(values) > 0 and max(values) > 100 * min(values):
        axes.set_yscale("log")


def pareto_front(rows: Sequence[Row], objectives: Sequence[tuple[str, str]]) -> Figure:
    """Plot the first objective against each other one, and mark the trials that none beats in all of them."""
    done = [r for r in rows if r.finished]
    if not done:
        raise TooFew("no trial has finished")
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
    figure = Figure(figsize=(3.6 * len(shown), 4.0), layout="constrained")
    for axes, (row, path) in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        axes.imshow(mpl.image.imread(path))
        metric = record.objectives[0][0]
        axes.set_title(f"{row.study}\ntrial {row.number}: {metric} {number(row.values[0])}", fontsize=10)
        axes.axis("off")
    with replaced(record.folder / "samples.png") as aside:
        figure.savefig(aside, dpi=100)


class _Scale:
    # Where a setting's values lie on an axis from 0 to 1.

    def __init__(self, name: str, trials: Sequence[FrozenTrial]) -> None:
        having = [t for t in trials if name in t.params]
        distribution = having[0].distributions[name]
        self._log = bool(getattr(distribution, "log", False))
        self._labels = isinstance(distribution, CategoricalDistribution)
        if self._labels:
            seen = [t.params[name] for t in having]
            self._values = [c for c in distribution.choices if c in seen]  # type: ignore[attr-defined]
        else:
            ranges: list[Any] = [t.distributions[name] for t in having]
            bounds = [(r.low, r.high) for r in ranges]
            self._values = [min(low for low, _ in bounds), max(high for _, high in bounds)]

    def place(self, value: Any) -> float:
        if self._labels:
            return self._values.index(value) / (len(self._values) - 1) if len(self._values) > 1 else 0.5
        low, high = (np.log(v) if self._log else v for v in self._values)
        if high == low:
            return 0.5
        return float(((np.log(value) if self._log else value) - low) / (high - low))

    def ticks(self) -> Iterator[tuple[float, str]]:
        for value in self._values:
            yield self.place(value), f"{value:.3g}" if isinstance(value, float) else str(value)


def _scales(study: optuna.Study) -> tuple[list[FrozenTrial], dict[str, _Scale]]:
    trials = _complete(study)
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    trials = [t for t in trials if t.params]
    if len(trials) < 2 or not names:
        raise TooFew("it takes two finished trials with settings")
    return trials, {name: _Scale(name, trials) for name in names}


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _wrapped(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return f"{head}.\n{tail}" if head else name
