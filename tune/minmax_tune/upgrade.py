"""Brings the folders of searches of version 0.1.0 up to date: no passwords, and the preset by its name."""

from __future__ import annotations

import json
from pathlib import Path

from minmax_plugin.hosts import host_of
from minmax_plugin.secrets import hide, secrets_of
from minmax_tune.addresses import fill_in
from minmax_tune.files import replaced
from minmax_tune.options import ADDRESSES, flag
from minmax_tune.study import NO_PASSWORD, TRIALS, Search

# Ray's own memory of a search, which nobody reads. An earlier version's holds the storage and its password.
OF_RAY = ("tuner.pkl", "*state*-*", "*/error.pkl")
# Text that a search and its trials have written.
TEXTS = (
    *("search.log", "trials.csv", "trials.json", "summary.json", "leaderboard.md", "report.html"),
    *(f"{TRIALS}/**/{name}" for name in ("error.txt", "output.txt", "result.json", "progress.csv", "params.json")),
    *("best/**/params.json", "best/**/command.txt"),
)


def clean(record: Search) -> None:
    """Bring a search's folder up to date, once, and remove its passwords. A search of a later version needs nothing.

    A password that an earlier version stored in ``--storage`` or ``--mlflow`` becomes a variable. The variable must be
    set for the next ``--resume``; the log says so. The database of the studies stays as it is.

    Args:
        record: The search.
    """
    stored = json.loads((record.folder / "search.json").read_text())
    if stored.get(NO_PASSWORD):
        return
    for field in ADDRESSES:
        if address := getattr(record.options, field):
            fill_in(flag(field), address)  # from here on it is hidden
    for pattern in OF_RAY:
        for path in (record.folder / TRIALS).glob(pattern):
            if path.is_file():
                path.unlink()
    for pattern in TEXTS:
        for path in record.folder.glob(pattern):
            _rewrite(path)
    for name, cfg in record.configs.items():
        host = host_of(cfg)
        if (settings := host.minmax_settings(cfg)) is not None and "preset" not in settings:
            host.set_minmax(cfg, {"preset": "practical", **settings})
            cfg.dump(record.bases[name])
    record.write(**{NO_PASSWORD: True})
    for field in ADDRESSES:
        if secrets_of(stored["options"].get(field) or ""):
            record.log(
                f"the password of {flag(field)} was in search.json: it is {getattr(record.options, field)!r} now, so "
                "set the variable before the next --resume; others may have read the old password, so change it"
            )


def _rewrite(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    text = path.read_text(errors="surrogateescape")  # all else in it stays as it is
    if (hidden := hide(text)) != text:
        with replaced(path) as aside:
            aside.write_text(hidden, errors="surrogateescape")
