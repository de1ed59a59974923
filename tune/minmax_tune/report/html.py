"""``report.html``: a whole search on one page that needs no other file and no network."""

from __future__ import annotations

import base64
import dataclasses
import json
import mimetypes
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import markupsafe

from minmax_tune.addresses import without_password
from minmax_tune.confirmation import Confirmation
from minmax_tune.options import PROG, Options, flag
from minmax_tune.report import tables
from minmax_tune.report.best_configs import row_samples
from minmax_tune.report.confirmed import Confirmed
from minmax_tune.report.tables import Row
from minmax_tune.storage import database_url
from minmax_tune.study import Search

SHOWN = 300  # trials on the page; the tables have all
TEMPLATE = Path(__file__).with_name("report.html.j2")
PLOTS = {  # in the page's order
    "pareto_front": "Pareto front: no trial beats these in every objective",
    "history": "Each trial, and the best so far",
    "learning_curves": "In the course of the trainings",
    "importances": "Which settings matter to being among the best",
    "slices": "Setting by setting; later trials are stronger in colour",
    "parallel_coordinates": "All settings at once; the best fifth stands out",
}
# Text of a plot on a dark page; its lines do on both.
DARK = b"<style>@media (prefers-color-scheme: dark) { text { fill: #b8bec8 !important } }</style>"


def render(
    record: Search,
    rows: Mapping[str, Sequence[Row]],
    confirmation: Confirmation | None,
    confirmed: Mapping[str, Confirmed],
) -> str:
    """Write the page, as HTML.

    Args:
        record: The search.
        rows: Its trials, from :func:`minmax_tune.report.tables.read_rows`.
        confirmation: Its confirmation, if it has one.
        confirmed: What that says of each study.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        number=tables.number, setting=tables.setting, time=tables.duration, data=_data, path=_path, breakable=_breakable
    )
    kept = json.loads((record.folder / "search.json").read_text())
    most = max(1, SHOWN // len(rows))  # of each study
    shown = {name: ranked[:most] for name, ranked in rows.items()}
    unfinished = [[row for row in ranked if not row.finished] for ranked in rows.values()]
    first_unfinished = [row for ranked in unfinished for row in ranked[:most]]
    return environment.from_string(TEMPLATE.read_text()).render(
        record=record,
        rows=rows,
        studies=[
            _study(record, name, ranked, confirmation, confirmed.get(name)) | {"shown": shown[name]}
            for name, ranked in rows.items()
        ],
        state=record.state(),
        unfinished=first_unfinished,
        unfinished_count=sum(map(len, unfinished)),
        links={(r.study, r.number): _links(record, r) for r in chain(*shown.values(), first_unfinished)},
        files=[name for name in _FILES if (record.folder / name).exists()],
        kept=kept,
        lines=record.lines(),
        command=command(record.options),
        space=(record.folder / "space.json").read_text(),
        resume=shlex.join([*START, "--resume", str(record.folder)]),
        program=PROG,
        storage=shlex.quote(without_password(record.options.storage or database_url(record.folder))),
    )


START = ["python", PROG] if PROG == "tune/search.py" else [PROG]
_FILES = ("trials.csv", "trials.json", "summary.json", "leaderboard.md", "search.json", "space.json", "search.log")


def command(options: Options) -> str:
    """Write the command line that starts a search with these options.

    Examples:
        >>> command(Options(configs=("a.py",), num_samples=9, baseline=False))
        'minmax-search a.py --num-samples 9 --no-baseline'
    """
    words = [*START, *options.configs]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name == "configs" or value == field.default:
            continue
        if isinstance(value, bool):
            words.append(flag(field.name if value else f"no_{field.name}"))
        else:
            words += [w for v in (value if isinstance(value, tuple) else [value]) for w in (flag(field.name), str(v))]
    return shlex.join(words)


def _study(
    record: Search, name: str, ranked: Sequence[Row], confirmation: Confirmation | None, confirmed: Confirmed | None
) -> dict[str, Any]:
    compared = tables.compared(ranked)
    sides = confirmed.sides if confirmed else []
    means: list[tuple[str, float, Sequence[float] | None]] = [(label, r.value, r.interval) for label, r in compared]
    means += [(f"{side.label}, fresh seeds", side.mean, side.interval) for side in sides if side.mean is not None]
    ends = [end for _, value, interval in means for end in interval or [value]] or [0.0]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.5

    def place(value: float) -> float:
        return round(100 * (value - low + margin) / (high - low + 2 * margin), 2)

    bars = [
        {"label": label, "value": value, "places": [place(v) for v in (value, *(interval or [value] * 2))]}
        for label, value, interval in means
    ]
    pictures = [(f"{label}: trial {r.number}", r, path) for label, r in compared if (path := row_samples(record, r))]
    runs = [(f"{side.label}, fresh seed {row.settings['seed']}", row) for side in sides for row in side.rows]
    if confirmation is not None:
        pictures += [(label, row, path) for label, row in runs if (path := row_samples(confirmation, row))]
    drawn = [(title, record.folder / "plots" / f"{name}_{kind}.svg") for kind, title in PLOTS.items()]
    best = record.folder / "best" / name
    return {
        "name": name,
        "rows": ranked,
        "params": list(dict.fromkeys(p for row in ranked for p in row.params)),
        "best": tables.best(ranked),
        "bars": bars,
        "confirmed": confirmed.lines() if confirmed else [],
        "runs": [(label, row, _links(confirmation, row)) for label, row in runs] if confirmation else [],
        "pictures": pictures,
        "plots": [(title, path) for title, path in drawn if path.exists()],
        "command": (best / "command.txt").read_text() if (best / "command.txt").exists() else "",
        "files": [p for p in sorted(best.glob("*")) if p.is_file()] if best.exists() else [],
    }


def _links(record: Search, row: Row) -> list[tuple[str, Path]]:
    folder = record.folder / row.folder
    logs = sorted(folder.rglob("*.log"))[-1:]
    found = [("files", folder), ("error", folder / "error.txt"), *(("log", log) for log in logs)]
    return [(text, path) for text, path in found if path.exists()]


def _path(path: Path, record: Search) -> str:
    return quote(path.relative_to(record.folder).as_posix())


def _data(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".svg":
        content = content.replace(b"<defs>", DARK + b"<defs>", 1)
    return f"data:{mimetypes.guess_type(path)[0]};base64,{base64.b64encode(content).decode()}"


def _breakable(name: str) -> markupsafe.Markup:
    # A dotted path may continue in the next line.
    return markupsafe.Markup(".<wbr>").join(name.split("."))
