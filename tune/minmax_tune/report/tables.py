"""The trials of a search as rows, best first, and the tables made of them: CSV, JSON, Markdown, a summary."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas
from optuna.trial import FrozenTrial, TrialState

from minmax_plugin.secrets import hide
from minmax_tune.memory import is_skipped
from minmax_tune.study import Search, source
from minmax_tune.trial.distributed import training
from minmax_tune.trial.files import AGAIN

STATES = ("complete", "pruned", "running", "fail")  # in the order of the tables


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial, read from storage alone.

    Args:
        study: The name of its study.
        number: The number of the trial in it.
        state: One of :data:`STATES`.
        values: The objectives, in their order. An unfinished trial has the last value of the first, if any.
        interval: The 95 % interval of the first objective over seeds, if there are several.
        scores: The first objective for each seed.
        curve: The first objective in the course of the training, as (images, value).
        params: The sampled parameters.
        distributions: What each of them was sampled from.
        settings: The settings that override the base config, by path.
        source: Where the trial comes from, such as the sampler.
        baseline: Whether it is the unmodified config.
        retry_of: The number of the trial that it runs again.
        reason: Why it was not finished.
        metrics: All last metrics, with ``images`` and ``seconds``.
        seconds: The seconds from start to end.
        feasible: Whether it meets the soft constraints of the space.
        front: Whether no other trial is better. With several objectives, better in all of them.
        folder: The folder of its files, relative to the search's folder.
        commands: The commands that train it again, one for each of its trainings.
    """

    study: str
    number: int
    state: str
    values: list[float | None]
    interval: tuple[float, float] | None
    scores: list[float]
    curve: list[tuple[float, float]]
    params: dict[str, Any]
    distributions: dict[str, Any]
    settings: dict[str, Any]
    source: str
    baseline: bool
    retry_of: int | None
    reason: str | None
    metrics: dict[str, float]
    seconds: float | None
    feasible: bool
    front: bool
    folder: str
    commands: list[str]

    @property
    def finished(self) -> bool:
        return self.state == "complete"

    @property
    def value(self) -> float:
        """The first objective of a finished trial."""
        assert self.values[0] is not None
        return self.values[0]

    @property
    def gda(self) -> bool:
        """Whether it trains by plain descent-ascent, because the space took the min-max algorithm out."""
        return self.settings.get("minmax") is False

    @property
    def method(self) -> str:
        return "plain GDA" if self.gda else "min-max"

    @property
    def what(self) -> str:
        """The settings of the trial, in a line."""
        line = settings_line(self.params) or "as in the config"
        return f"unmodified: {line}" if self.baseline else line


def read_rows(record: Search) -> dict[str, list[Row]]:
    """Read each study's trials: the finished ones first, by the first objective, and then the others."""
    sign = signs(record)[0]

    def rank(row: Row) -> tuple[Any, ...]:
        value = row.values[0]
        return STATES.index(row.state), not row.feasible, value is None, sign * (value or 0), not row.front, row.number

    rows = {}
    for name, study in record.studies.items():
        every = study.get_trials(deepcopy=False)
        trials = [t for t in every if t.state != TrialState.WAITING and not is_skipped(t)]
        complete = any(t.state == TrialState.COMPLETE for t in trials)
        front = {t.number for t in study.best_trials} if complete else set()
        rows[name] = sorted((_row(record, name, t, t.number in front) for t in trials), key=rank)
    return rows


def read_row(record: Search, study: str, number: int) -> Row:
    """Read one trial. Whether it is on the front is not known from it alone."""
    return _row(record, study, record.studies[study].get_trials(deepcopy=False)[number], front=False)


def better(record: Search, row: Row, other: Row | None) -> bool:
    """Whether a finished trial is better than another one: in the first objective that differs, or begun earlier."""

    def rank(row: Row) -> tuple[float, ...]:
        return *(sign * (value or 0) for sign, value in zip(signs(record), row.values, strict=True)), row.number

    return row.finished and row.feasible and (other is None or rank(row) < rank(other))


def signs(record: Search) -> list[int]:
    """Return the factor of each objective that makes the least value the best."""
    return [-1 if mode == "max" else 1 for _, mode in record.objectives]


def best(ranked: Sequence[Row]) -> Row | None:
    """Return the best finished trial by the first objective. It meets the soft constraints of the space."""
    return ranked[0] if ranked and ranked[0].finished and ranked[0].feasible else None


def compared(ranked: Sequence[Row]) -> list[tuple[str, Row]]:
    """Return the trials that show the gain of a search: the best one and the unmodified config.

    Where the search chose the method, it adds the best trial of the other one: plain descent-ascent (GDA), or the
    min-max algorithm.
    """
    first = best(ranked)
    if first is None:
        return []
    done = [row for row in ranked if row.finished]
    found = [("best", first), *(("unmodified config", row) for row in done if row.baseline)]
    if any(row.gda for row in done):
        found += [(f"best {row.method}", row) for row in done if row.gda != first.gda and not row.baseline][:1]
        found[0] = (f"best ({first.method})", first)
    return found


def learning_curve(trial: FrozenTrial) -> list[tuple[float, float]]:
    """Return the first objective in the course of the training, as (images, value)."""
    pairs = trial.user_attrs.get("history") or trial.intermediate_values.items()
    return sorted((float(step), float(value)) for step, value in pairs)


def commands(
    record: Search,
    study: str,
    number: int,
    configs: Mapping[str, Path] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the lines that train a trial again, one for each seed (and data set).

    Args:
        record: The search.
        study: The study of the trial.
        number: The number of the trial.
        configs: Its config files, by the base's name. If not given, those in its folder.
        settings: Its settings. If not given, they are read from the study.
    """
    home = record.trial_folder(study, number)
    # As in the search, because with another number of threads results may differ in their last digits.
    threads = f"OMP_NUM_THREADS={max(1, int(record.options.cpus_per_trial))}"
    processes = record.options.processes
    start = ["python", *training(processes)] if processes > 1 else ["minmax-train"]
    lines = []
    for run in record.runs(study, number, settings):
        config = home / f"{run.base}.py" if configs is None else configs[run.base]
        work = config.parent / AGAIN / f"{run.base}_seed_{run.seed}"
        line = [*start, config, "--seed", run.seed, "--work-dir", work]
        lines.append(f"{threads} {shlex.join(map(str, line))}")
    return lines


def table(record: Search, rows: Mapping[str, Sequence[Row]]) -> pandas.DataFrame:
    """Make a table of all trials, a line each, by study and number.

    Each parameter and each metric has a separate column. A parameter with the name of another column is in
    ``params/NAME``.
    """
    lines = []
    for row in (row for ranked in rows.values() for row in sorted(ranked, key=lambda row: row.number)):
        low, high = row.interval or (None, None)
        first = {
            "study": row.study,
            "trial": row.number,
            "state": row.state.upper(),
            **{metric: value for (metric, _), value in zip(record.objectives, row.values, strict=True)},
            "low": low,
            "high": high,
            "scores": " ".join(map(str, row.scores)) or None,
        }
        last = {
            **{f"metrics/{name}": value for name, value in row.metrics.items()},
            "duration": row.seconds,
            "seed": row.settings.get("seed", record.options.seed),
            "seeds": record.seeds,
            "source": row.source,
            "baseline": row.baseline,
            "retry_of": row.retry_of,
            "reason": row.reason,
            "folder": row.folder,
        }
        taken = {*first, *last}
        sampled = {f"params/{name}" if name in taken else name: value for name, value in row.params.items()}
        lines.append({**first, **sampled, **last})
    frame = pandas.DataFrame(lines)
    if "retry_of" in frame:
        frame["retry_of"] = frame["retry_of"].astype("Int64")
    return frame


def json_text(frame: pandas.DataFrame) -> str:
    """Write a table as JSON. Numbers are not rounded, as pandas would, and NaN and infinity are ``null``.

    Examples:
        >>> print(json_text(pandas.DataFrame({"lr": [8.334e-12, math.inf]})))
        [
          {
            "lr": 8.334e-12
          },
          {
            "lr": null
          }
        ]
    """
    known = frame.notna() & ~frame.isin([math.inf, -math.inf])
    lines = frame.astype(object).where(known, None).to_dict("records")
    return json.dumps(lines, indent=2, allow_nan=False)


def leaderboard(record: Search, rows: Mapping[str, Sequence[Row]]) -> str:
    """Write a Markdown table with the trials of each study, best first."""
    header = ["data set", "trial", *(metric for metric, _ in record.objectives), "state", "settings"]
    lines = [header, ["---"] * len(header)]
    for ranked in rows.values():
        for row in ranked:
            values = [number(value) for value in row.values]
            values[0] += interval(row)
            state = row.state + (f": {row.reason}" if row.reason else "")
            lines.append([row.study, str(row.number), *values, state, row.what])
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def summary(record: Search, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Summarise the search: each study's counts, and its best trial beside the unmodified config and plain GDA."""
    studies: dict[str, Any] = {}
    for name, ranked in rows.items():
        beside = [{"what": label, **_outcome(record, row)} for label, row in compared(ranked)]
        first = beside.pop(0) if beside else None
        studies[name] = {"trials": record.state()[name], "best": first, "beside": beside}
        if len(record.objectives) > 1:
            studies[name]["pareto_front"] = [row.number for row in ranked if row.front]
    return {
        "search": record.folder.name,
        "objectives": [f"{metric}:{mode}" for metric, mode in record.objectives],
        "seeds": [record.options.seed + i for i in range(record.seeds)],
        "studies": studies,
    }


def number(value: float | None) -> str:
    """Format a value for people.

    Examples:
        >>> number(0.123456), number(12345.6), number(0.0), number(None)
        ('0.1235', '12346', '0', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 or value == 0 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Format a time for people.

    Examples:
        >>> duration(42), duration(150), duration(9000), duration(None)
        ('42 s', '2.5 min', '2.5 h', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def interval(row: Row) -> str:
    """Format a row's interval over seeds for people. With one seed it is empty."""
    return f" ({number(row.interval[0])} to {number(row.interval[1])})" if row.interval else ""


def settings_line(params: Mapping[str, Any]) -> str:
    """Format settings in a line.

    Examples:
        >>> settings_line({"optimizer.generator.lr": 0.000123456, "method": "gda"})
        'optimizer.generator.lr=0.000123, method=gda'
    """
    return ", ".join(f"{name}={setting(value)}" for name, value in params.items())


def setting(value: Any) -> str:
    """Format the value of a setting for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _outcome(record: Search, row: Row) -> dict[str, Any]:
    return {
        "trial": row.number,
        **{metric: value for (metric, _), value in zip(record.objectives, row.values, strict=True)},
        "interval": row.interval,
        "scores": row.scores,
        "params": row.params,
        # JSON knows no NaN
        "metrics": {name: value if math.isfinite(value) else None for name, value in row.metrics.items()},
        "folder": row.folder,
    }


def _row(record: Search, study: str, trial: FrozenTrial, front: bool) -> Row:
    attrs = trial.user_attrs
    values: list[float | None] = [None] * len(record.objectives)
    so_far = learning_curve(trial)
    if trial.state == TrialState.COMPLETE:
        values = list(trial.values)
    elif so_far:
        values[0] = so_far[-1][1]
    broken = [text for text, value in trial.constraints.items() if value > 0]
    reason = attrs.get("reason", f"it breaks the soft constraint {broken[0]!r}" if broken else None)
    bounds, settings = attrs.get("interval"), dict(attrs.get("settings") or {})
    return Row(
        study=study,
        number=trial.number,
        state=trial.state.name.lower(),
        values=values,
        interval=(bounds[0], bounds[1]) if bounds and trial.state == TrialState.COMPLETE else None,
        scores=list(attrs.get("scores") or []),
        curve=so_far,
        params=dict(trial.params),
        distributions=trial.distributions,
        settings=settings,
        source=source(attrs) or "",
        baseline=bool(attrs.get("baseline")),
        retry_of=attrs.get("retry_of"),
        reason=reason and hide(reason),  # it may be an earlier version's
        metrics=dict(attrs.get("metrics") or {}),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        feasible=not broken,
        front=front,
        folder=str(record.trial_folder(study, trial.number).relative_to(record.folder)),
        commands=commands(record, study, trial.number, settings=settings),
    )
