"""Search spaces: read from a YAML file, checked against a config, sampled by Optuna, laid over the config."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from mmcv import Config
from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from minmax_plugin.mmgen.check import ConfigError, build_hook, minmax_settings
from minmax_plugin.mmgen.optin import opt_out
from minmax_plugin.presets import PRESETS

MINMAX = "minmax"  # a path that begins so means the settings of the config's MinMaxHook
Scalar = bool | int | float | str | None


class SpaceError(ValueError):
    """A search space that cannot be used; the message names the entry and the mend."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[str] = []
    when: dict[str, Scalar | list[Scalar]] = {}

    def overlay(self, name: str, value: Any) -> dict[str, Any]:
        """The settings, by path, that a sampled value makes."""
        return dict.fromkeys(self.keys or [name], value)


class _Range(_Entry):
    low: float
    high: float
    log: bool = False

    def extremes(self) -> list[Any]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if self.low >= self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 with log: true")
        return self


class Float(_Range):
    type: Literal["float"]

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Int(_Range):
    type: Literal["int"]
    low: int
    high: int

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_int(name, self.low, self.high, log=self.log)


class _Options(_Entry):
    options: Any

    def extremes(self) -> list[Any]:
        return list(self.options)

    def holds(self, value: Any) -> bool:
        return value in self.options

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_categorical(name, list(self.options))


class Choice(_Options):
    type: Literal["choice"]
    options: list[Scalar] = Field(min_length=1)


class Fragments(_Options):
    """A choice among labelled pieces of config; Optuna only sees the label."""

    type: Literal["fragments"]
    options: dict[str, dict[str, Any]] = Field(min_length=1)

    def overlay(self, name: str, value: Any) -> dict[str, Any]:
        return dict(self.options[value])


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    space: dict[str, Annotated[Float | Int | Choice | Fragments, Field(discriminator="type")]] = Field(min_length=1)
    points: list[dict[str, Scalar]] = []


class Space:
    """A search space: entries in the order of the file, and points to try first.

    Each entry is named by the path of the setting it drives (``optimizer.generator.lr``; list items by
    number, ``optimizer.generator.betas.0``), or has ``keys`` with several. ``minmax.*`` are the settings of
    the config's ``MinMaxHook``, and ``minmax: false`` takes MinMax out. ``when`` samples an entry only where
    earlier entries have the given values.

    Args:
        content: the parsed file, with ``space`` and, if wanted, ``points``.

    Raises:
        SpaceError: if it is malformed.

    Example:
        >>> space = Space(dict(space={"optimizer.generator.lr": dict(type="float", low=1e-4, high=1e-2, log=True)}))
        >>> list(space.entries)
        ['optimizer.generator.lr']
    """

    def __init__(self, content: Any) -> None:
        try:
            file = TypeAdapter(_File).validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SpaceError(f"{where}: {first['msg']} (got {first['input']!r}).") from error
        self.entries = file.space
        self.points = file.points
        self.content = content
        for name, entry in self.entries.items():
            for condition in entry.when:
                if condition not in list(self.entries)[: list(self.entries).index(name)]:
                    raise SpaceError(f"space.{name}.when names {condition!r}, which is no earlier entry of the space.")
        for point in self.points:
            for name, value in point.items():
                if name not in self.entries:
                    raise SpaceError(f"points: {name!r} is no entry of the space{_hint(name, list(self.entries))}.")
                if not self.entries[name].holds(value):
                    raise SpaceError(f"points: {name}={value!r} is not among {self.entries[name].extremes()}.")

    @classmethod
    def read(cls, path: str | Path) -> Space:
        """Read a YAML file; nothing in it is executed."""
        if not Path(path).is_file():
            raise SpaceError(f"space file {str(path)!r} does not exist.")
        try:
            return cls(yaml.safe_load(Path(path).read_text()))
        except yaml.YAMLError as error:
            raise SpaceError(f"space file {str(path)!r} is no valid YAML: {error}") from error
        except SpaceError as error:
            raise SpaceError(f"space file {str(path)!r}: {error}") from error

    def sample(self, trial: Trial) -> dict[str, Any]:
        """Draw one point: ``{entry: value}`` for the entries whose conditions hold."""
        params: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if all(params.get(c) in (v if isinstance(v, list) else [v]) for c, v in entry.when.items()):
                params[name] = entry.sample(trial, name)
        return params

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, by path, that a sampled point lays over a config."""
        overlay: dict[str, Any] = {}
        for name, value in params.items():
            overlay.update(self.entries[name].overlay(name, value))
        return overlay

    def check(self, cfg: Config, name: str) -> None:
        """Refuse a space with a path that ``cfg`` does not have.

        Raises:
            SpaceError: naming the entry, the config and the nearest path there is.
        """
        for entry_name, entry in self.entries.items():
            for value in entry.extremes():
                for path, setting in entry.overlay(entry_name, value).items():
                    try:
                        set_path(Config(cfg._cfg_dict.to_dict()), path, setting)
                    except (SpaceError, ConfigError) as error:
                        raise SpaceError(f"space.{entry_name} does not fit config {name}: {error}") from error


def set_paths(cfg: Config, settings: Mapping[str, Any]) -> None:
    """Lay settings, by path, over a config, in place.

    Raises:
        SpaceError: if a path is not in the config.
    """
    # What is taken out goes last, so that settings of the same point still find their place.
    for path in sorted(settings, key=lambda path: path == MINMAX):
        set_path(cfg, path, settings[path])


def set_path(cfg: Config, path: str, value: Any) -> None:
    """Set one existing setting of a config.

    Example:
        >>> cfg = Config(dict(optimizer=dict(betas=(0.5, 0.999))))
        >>> set_path(cfg, "optimizer.betas.0", 0.0)
        >>> cfg.optimizer.betas
        [0.0, 0.999]
    """
    head, *rest = path.split(".")
    if head == MINMAX:
        _set_minmax(cfg, path, rest, value)
        return
    node: Any = cfg._cfg_dict
    parent: tuple[Any, Any] | None = None
    keys = [head, *rest]
    for depth, key in enumerate(keys):
        if isinstance(node, tuple) and parent is not None:
            node = parent[0][parent[1]] = list(node)
        index: Any = int(key) if isinstance(node, list) and key.isdigit() else key
        known = list(node) if isinstance(node, Mapping) else list(range(len(node))) if isinstance(node, list) else []
        if index not in known:
            prefix = "".join(f"{k}." for k in keys[:depth])
            raise SpaceError(f"it has no setting {path!r}{_hint(prefix + key, [prefix + str(k) for k in known])}.")
        if depth == len(keys) - 1:
            node[index] = value
        else:
            parent, node = (node, index), node[index]


def _set_minmax(cfg: Config, path: str, rest: list[str], value: Any) -> None:
    settings: Any = minmax_settings(cfg)
    if settings is None:
        raise SpaceError(f"{path!r} needs a MinMaxHook in its custom_hooks.")
    if not rest:
        if value is False:
            opt_out(cfg)
        return
    # What the entry leaves to its preset is written out where it is a part of it that is set.
    if len(rest) > 1 and rest[0] in ("acceptance", "value"):
        part = settings.get(rest[0]) or PRESETS[settings.get("preset", "practical")][rest[0]]
        settings[rest[0]] = dict(type=part) if isinstance(part, str) else dict(part)
    if rest in (["acceptance", "type"], ["value", "type"]):
        settings[rest[0]] = dict(type=value)  # another one, with arguments of its own
    elif len(rest) <= 2:
        node = settings if len(rest) == 1 else settings.get(rest[0])
        if not isinstance(node, dict):
            raise SpaceError(f"{path!r}: {rest[0]!r} has no settings of its own.")
        node[rest[-1]] = value
    else:
        raise SpaceError(f"{path!r} is deeper than the settings of MinMaxHook.")
    try:
        build_hook(settings)
    except ValueError as error:
        raise SpaceError(f"{path!r}={value!r}: {error}") from error


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {known}" if known else ""
