"""The names that settings had in version 0.1.0, in what a search has stored then: its configs and its space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minmax_plugin.hosts import Config, host_of
from minmax_plugin.settings import present_name, present_settings

MINMAX = "minmax"  # a path that begins so means the settings of MinMax in the config


def present_path(path: str) -> str:
    """The path of a setting by its present name.

    Examples:
        >>> present_path("minmax.acceptance.slack"), present_path("optimizer.value")
        ('minmax.acceptance.min_decrease', 'optimizer.value')
    """
    head, *rest = path.split(".")
    return ".".join([head, *map(present_name, rest)]) if head == MINMAX else path


def by_present_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by path, with the paths of present names."""
    return {present_path(path): value for path, value in settings.items()}


def use_present_names(cfg: Config) -> Config:
    """Give the settings of MinMax in a config their present names, in place."""
    host = host_of(cfg)
    settings = host.minmax_settings(cfg)
    if settings is not None:
        host.set_minmax(cfg, present_settings(settings))
    return cfg


def present_space(content: Any) -> Any:
    """The content of a YAML space whose entries drive settings by their present names.

    The entries keep their own names, by which the study knows its parameters.

    Examples:
        >>> entry = {"type": "choice", "options": [True, False]}
        >>> present_space({"space": {"minmax.track": entry}})["space"]["minmax.track"]["keys"]
        ['minmax.update_reference_on_reject']
    """
    if not (isinstance(content, Mapping) and isinstance(content.get("space"), Mapping)):
        return content
    entries = {}
    for name, entry in content["space"].items():
        entries[name] = dict(entry)
        keys = [present_path(key) for key in entry.get("keys") or [name]]
        if entry.get("type") == "fragments":
            entries[name]["options"] = {label: by_present_paths(part) for label, part in entry["options"].items()}
        elif keys != [name]:
            entries[name]["keys"] = keys
    return {**content, "space": entries}
