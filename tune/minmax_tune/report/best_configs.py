"""Exports of the best trials: configs that run as they are, checkpoints, samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from minmax_tune.files import link_or_copy, replaced, write_text
from minmax_tune.report.tables import Row, commands
from minmax_tune.study import Search
from minmax_tune.trial.files import config_text, is_config, numbered


def write_configs(record: Search, row: Row) -> None:
    """Write the configs that a trial trains into its folder, one for each data set, ready for ``minmax-train``.

    Args:
        record: The search.
        row: The trial.
    """
    for base in _bases(record, row):
        path = record.trial_folder(row.study, row.number) / f"{base}.py"
        if not is_config(path, row.study, row.number):  # its worker has died, or an earlier version has written it
            write_text(path, _config(record, row, base))


def write_best(record: Search, ranked: Sequence[Row]) -> None:
    """Write the best trial of a study to ``best/STUDY/``, and the next ones, if asked for, to ``best/STUDY/2/`` etc.

    With several objectives the trials of the Pareto front come first.

    Each gets ``config.py``, ``params.json`` and ``command.txt``. It also gets the last ``checkpoint.pth`` and
    ``samples.png`` of its first training. In a study over several data sets each data set has ``config_NAME.py``.

    Args:
        record: The search.
        ranked: The study's trials, best first.
    """
    front_first = sorted((row for row in ranked if row.finished), key=lambda row: not row.front)
    chosen = front_first[: record.options.export_best]
    for place, row in enumerate(chosen, start=1):
        folder = record.folder / "best" / row.study
        _write(record, row, folder if place == 1 else folder / str(place))
    if chosen:
        _remove_beyond(record.folder / "best" / chosen[0].study, len(chosen))


def drop_checkpoints(record: Search, ranked: Sequence[Row], dropped: set[tuple[str, int]]) -> None:
    """Delete the checkpoints of the trials beyond the best ``--keep-checkpoints``.

    A trial that failed keeps its own, because it may be resumed. So do the trials that are exported.

    Args:
        record: The search.
        ranked: The study's trials, best first.
        dropped: The trials whose checkpoints are deleted already, by study and number. Others are added.
    """
    best = sorted(ranked, key=lambda row: (not row.finished, not row.front))  # as they are exported
    kept = max(record.options.keep_checkpoints or len(best), record.options.export_best)
    for row in best[kept:]:
        if row.state in ("complete", "pruned") and (row.study, row.number) not in dropped:
            folder = record.trial_folder(row.study, row.number)
            for path in numbered(folder, "**/iter_*.pth"):
                path.unlink(missing_ok=True)
            for link in folder.rglob("latest.pth"):
                if not link.exists():  # it led to one of them
                    link.unlink(missing_ok=True)
            dropped.add((row.study, row.number))


def row_samples(record: Search, row: Row) -> Path | None:
    """Find the last picture of the samples of a trial's first training, if it drew any."""
    pictures = numbered(record.runs(row.study, row.number, row.settings)[0].folder / "samples", "iter_*.png")
    return pictures[-1] if pictures else None


def _write(record: Search, row: Row, folder: Path) -> None:
    bases = _bases(record, row)
    names = {base: "config.py" if len(bases) == 1 else f"config_{base}.py" for base in bases}
    for base, name in names.items():
        write_text(folder / name, _config(record, row, base))
    params = {
        "study": row.study,
        "trial": row.number,
        "objectives": {m: value for (m, _), value in zip(record.objectives, row.values, strict=True)},
        "interval": row.interval,
        "scores": row.scores,
        "seeds": sorted({run.seed for run in record.runs(row.study, row.number, row.settings)}),
        "params": row.params,
        "settings": row.settings,
    }
    write_text(folder / "params.json", json.dumps(params, indent=2) + "\n")
    configs = {base: folder / name for base, name in names.items()}
    lines = commands(record, row.study, row.number, configs, row.settings)
    write_text(folder / "command.txt", "\n".join(lines) + "\n")
    # Files that this trial lacks must not be left from the earlier best trial.
    if samples := row_samples(record, row):
        with replaced(folder / "samples.png") as aside:
            shutil.copy(samples, aside)
    else:
        (folder / "samples.png").unlink(missing_ok=True)
    if checkpoints := numbered(record.runs(row.study, row.number, row.settings)[0].folder, "**/iter_*.pth"):
        link_or_copy(checkpoints[-1], folder / "checkpoint.pth")
    else:
        (folder / "checkpoint.pth").unlink(missing_ok=True)


def _remove_beyond(folder: Path, places: int) -> None:
    """Remove the further places that an earlier report has written, except trainings that someone has made there."""
    for place in folder.iterdir():
        if place.name.isdigit() and int(place.name) > places:
            for path in place.iterdir():
                if path.is_symlink() or path.is_file():
                    path.unlink()
            if not any(place.iterdir()):
                place.rmdir()


def _config(record: Search, row: Row, base: str) -> str:
    return config_text(row.study, row.number, record.merged(base, row.settings))


def _bases(record: Search, row: Row) -> list[str]:
    return list(dict.fromkeys(run.base for run in record.runs(row.study, row.number, row.settings)))
