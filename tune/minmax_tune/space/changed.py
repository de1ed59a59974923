"""Another space for a search that goes on: what has changed is a new parameter, and the rest keeps its history."""

from __future__ import annotations

import copy
import functools
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial

from minmax_plugin.errors import SpaceError
from minmax_tune.space.constraints import replace_entries
from minmax_tune.space.space import VALIDATION_SAMPLES, Space

Kind = str  # of a parameter: what must stay for its values to mean the same, as JSON, which keeps the order of options


def kinds_of(content: Any) -> dict[str, Kind]:
    """Return the kind of each entry of a YAML space: all but its bounds and conditions. A Python space has none.

    Examples:
        >>> kinds_of({"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0, "log": True}}})
        {'lr': '["float", true, null, ["lr"]]'}
    """
    kinds = {}
    for name, entry in content.get("space", {}).items():
        keys = None if entry["type"] == "fragments" else entry.get("keys") or [name]
        kinds[name] = json.dumps([entry["type"], entry.get("log", False), entry.get("options"), keys])
    return kinds


def rename_changed(content: Any, earlier: Mapping[str, Kind | None]) -> Any:
    """Give the entries of a YAML space new names where a parameter of their name was of another kind.

    A sampler could not compare the values of such a parameter. The new names are ``NAME (2)``, ``NAME (3)`` and so on.

    Args:
        content: The content of the space. That of a Python space stays as it is.
        earlier: The kind of each parameter so far, or ``None`` where it is not known.

    Examples:
        >>> entry = {"type": "choice", "options": [1, 2]}
        >>> list(rename_changed({"space": {"k": entry}}, {"k": None})["space"])
        ['k (2)']
    """
    if "space" not in content:
        return content
    names = {}
    for name, kind in kinds_of(content).items():
        candidates = itertools.chain([name], (f"{name} ({i})" for i in itertools.count(2)))
        names[name] = next(n for n in candidates if n not in earlier or earlier[n] == kind)
    entries = {}
    for name, entry in content["space"].items():
        renamed = entries[names[name]] = dict(entry)
        if names[name] != name and entry["type"] != "fragments":
            renamed["keys"] = entry.get("keys") or [name]
        if "when" in entry:
            renamed["when"] = {names[condition]: value for condition, value in entry["when"].items()}
    points = [{names.get(name, name): value for name, value in point.items()} for point in content.get("points", [])]
    rules: dict[str, list[str]] = {}
    for key in ("constraints", "soft_constraints"):
        new = {name: functools.partial(str, renamed) for name, renamed in names.items()}
        rules[key] = [replace_entries(text, new) for text in content.get(key, [])]
    return {**content, "space": entries, "points": points, **rules}


def check_kinds(space: Space, trials: Iterable[FrozenTrial]) -> None:
    """Refuse a Python space in which a parameter is of another kind than in earlier trials.

    Raises:
        SpaceError: If there is one. The message names it.
    """
    known = {name: kind for trial in trials for name, kind in trial.distributions.items()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(VALIDATION_SAMPLES):
        trial = study.ask()
        space.draw(trial)
        for name, distribution in trial.distributions.items():
            try:
                check_distribution_compatibility(known.get(name, distribution), distribution)
            except ValueError as error:
                raise SpaceError(
                    f"the parameter {name!r} was {known[name]} in earlier trials, and is {distribution}: give it "
                    "another name."
                ) from error


def express(space: Space, trial: FrozenTrial) -> FrozenTrial | None:
    """Return an earlier trial as if the present space had drawn it, or ``None`` if that never would.

    Samplers model the parameters that all trials have with the same bounds.
    """
    found, attrs = space.at(trial.params), trial.user_attrs
    if found is None or (found[0] != attrs.get("settings") and not attrs.get("baseline")):
        return None
    shown = copy.copy(trial)
    shown.distributions = found[1]
    shown.system_attrs = {key: value for key, value in trial.system_attrs.items() if "constraints" not in key}
    for text, value in space.violations(trial.params).items():
        shown.set_constraint(text, value)
    return shown
