"""Search spaces: read from YAML or Python, checked against the configs, sampled by Optuna."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import reprlib
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FixedTrial, Trial
from pydantic import ValidationError

from minmax_plugin.errors import ConfigError, SpaceError
from minmax_plugin.hosts import Config, host_of
from minmax_plugin.settings import MinMaxSettings
from minmax_tune.space.constraints import MAX_DRAWS, Constraint, read_expression
from minmax_tune.space.paths import hint, set_paths
from minmax_tune.space.reading import read_text, read_yaml
from minmax_tune.space.renamed import MINMAX
from minmax_tune.space.schema import SpaceFile

VALIDATION_SAMPLES = 30  # points drawn to check a space
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 3
SHIPPED = Path(__file__).parent / "shipped"


class Space:
    """A search space: draws the settings, by path, that override a trial's config.

    Args:
        content: The content from which :meth:`load` makes it again, fit for JSON.
        points: The points to try first. Parameters that a point lacks are sampled.
    """

    def __init__(self, content: Any, points: list[dict[str, Any]]) -> None:
        self.content, self.points = content, points
        self.constraints: list[Constraint] = []
        self.soft_constraints: list[Constraint] = []

    @staticmethod
    def read(path: str | Path) -> Space:
        """Read a ``.yaml`` file, in which nothing is executed, or run a ``.py`` file. It is yours or a shipped one.

        Raises:
            SpaceError: If it does not exist or is malformed.
        """
        shipped = SHIPPED / path
        if not Path(path).is_file() and shipped.is_file():
            path = shipped
        if not Path(path).is_file():
            raise SpaceError(f"space file {str(path)!r} does not exist, nor does one of that name ship.")
        what = f"space file {str(path)!r}"
        content = {"python": read_text(path, what)} if Path(path).suffix == ".py" else read_yaml(path, what)
        try:
            return Space.load(content)
        except SpaceError as error:
            raise SpaceError(f"{what}: {error}") from error

    @staticmethod
    def load(content: Any) -> Space:
        """Make the space that has this ``content``.

        Examples:
            >>> entry = dict(type="float", low=1e-4, high=1e-2, log=True)
            >>> type(Space.load({"space": {"optimizer.generator.lr": entry}})).__name__
            'YamlSpace'
        """
        if isinstance(content, dict) and set(content) == {"python"}:
            return PythonSpace(content["python"])
        return YamlSpace(content)

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Draw one point: the settings by path. The trial keeps the sampled values behind them."""
        raise NotImplementedError

    def broken(self, params: Mapping[str, Any]) -> str | None:
        """Return the hard constraint that a point breaks, or ``None``."""
        return next((constraint.text for constraint in self.constraints if not constraint.is_met(params)), None)

    def violations(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Compute the soft constraints at a point: 0 or less where they are met."""
        return {constraint.text: constraint.violation(params) for constraint in self.soft_constraints}

    def baseline(self, cfg: Config) -> dict[str, Any]:
        """Return the values of ``cfg`` itself, for the entries that can express them."""
        return {}

    def is_whole(self, params: Mapping[str, Any]) -> bool:
        """Whether ``params`` leave nothing open."""
        return False

    def at(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
        """Return the settings and distributions at a whole point, or ``None`` if ``params`` are none of the space."""
        trial = FixedTrial(dict(params))
        try:
            with warnings.catch_warnings(action="ignore"):  # of values out of range
                settings = self.draw(trial)  # type: ignore[arg-type]
        except (ValueError, SpaceError):  # a parameter is missing, or no choice
            return None
        drawn: dict[str, BaseDistribution] = trial.distributions
        same = drawn.keys() == params.keys() and all(holds(drawn[name], value) for name, value in params.items())
        return (settings, drawn) if same and not self.broken(params) else None

    def note(self, trial: Trial) -> None:
        """Store the values from :meth:`baseline` in a trial of the unmodified config."""

    def check(self, configs: Mapping[str, Config]) -> None:
        """Refuse a space that does not fit each of ``configs``, tried on points drawn with a fixed seed.

        Raises:
            SpaceError: If it does not fit. The message names the setting, the config and the nearest setting.
        """
        study, allowed = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), 0
        drawn: dict[str, BaseDistribution] = {}
        for _ in range(MAX_DRAWS):
            trial = study.ask()
            settings = self.draw(trial)
            drawn |= trial.distributions
            if self.broken(trial.params):
                continue
            self.violations(trial.params)
            allowed += 1
            for name, cfg in configs.items():
                try:
                    merged = copy.deepcopy(cfg)
                    set_paths(merged, settings)
                    host_of(merged).check_config(merged)
                    for path in settings:
                        if path.split(".")[0] != MINMAX and (why := host_of(merged).unread(merged, path)):
                            raise SpaceError(f"{path!r} has no effect: {why}.")
                except (SpaceError, ConfigError) as error:
                    raise SpaceError(f"the space does not fit config {name} at {trial.params}: {error}") from error
            if allowed == VALIDATION_SAMPLES:
                break
        if not allowed:
            raise SpaceError(f"its constraints leave no point: each of {MAX_DRAWS} points drawn at random breaks one.")
        for point in self.points:
            if problem := self.validation_error(point, drawn):
                raise SpaceError(f"points: {problem}")

    def validation_error(
        self, point: Mapping[str, Any], known: Mapping[str, BaseDistribution] | None = None
    ) -> str | None:
        """Say what is wrong with a point to try, or return ``None``.

        Args:
            point: The values by name.
            known: The distributions seen before, for the hints.
        """
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(dict(point))
        trial = study.ask()
        known = dict(known or {})
        # Optuna raises for a value that is no choice, and warns of one that is out of range.
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.draw(trial)
        known |= trial.distributions
        for name, value in point.items():
            if name not in known:
                return f"{name!r} is no entry of the space{hint(name, known)}."
            if not holds(known[name], value):
                return f"{name}={value!r} is not among {_range(known[name])}."
            if name not in trial.distributions:
                return f"{name!r} has no effect at {dict(point)}: its conditions do not hold there."
        return self._always_broken(point)

    def _always_broken(self, point: Mapping[str, Any]) -> str | None:
        study, broken = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), None
        for _ in range(MAX_DRAWS if self.constraints else 0):
            study.enqueue_trial(dict(point))
            trial = study.ask()
            self.draw(trial)
            if (broken := self.broken(trial.params)) is None:
                return None
            if trial.params.keys() == point.keys():
                break
        return broken and f"{dict(point)} breaks the constraint {broken!r}."


class PythonSpace(Space):
    """A space written in Python: ``def space(trial): ...`` returns the settings by path. ``POINTS`` is optional.

    So are ``CONSTRAINTS`` and ``SOFT_CONSTRAINTS``: lists of functions of the values by name. The former return whether
    a point is allowed, and the latter a number that is 0 or less where it is met.

    Args:
        source: The file's text.

    Raises:
        SpaceError: If it cannot be run, or lacks the function.

    Examples:
        >>> source = "def space(trial): return {'optimizer.generator.lr': trial.suggest_float('lr', 1e-4, 1e-3)}"
        >>> PythonSpace(source).draw(optuna.trial.FixedTrial({"lr": 5e-4}))
        {'optimizer.generator.lr': 0.0005}
    """

    def __init__(self, source: str) -> None:
        names: dict[str, Any] = {"__name__": "space"}
        try:
            exec(compile(source, "space.py", "exec"), names)
        except Exception as error:
            raise SpaceError(f"it cannot be run: {_one_line(error)}") from error
        self._function: Callable[[Trial], Any] | None = names.get("space")
        if not callable(self._function):
            raise SpaceError("it must define space(trial), which returns the settings by path.")
        points = names.get("POINTS", [])
        if not (isinstance(points, list) and all(isinstance(p, dict) for p in points)):
            raise SpaceError(f"POINTS must be a list of dicts, but got {points!r}.")
        super().__init__({"python": source}, points)
        self.constraints = _functions(names, "CONSTRAINTS")
        self.soft_constraints = _functions(names, "SOFT_CONSTRAINTS")

    def draw(self, trial: Trial) -> dict[str, Any]:
        assert self._function is not None
        try:
            settings = self._function(trial)
        except Exception as error:
            line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.name == "space"), 0)
            raise SpaceError(f"space(trial) failed in line {line}: {_one_line(error)}") from error
        if not (isinstance(settings, dict) and all(isinstance(path, str) for path in settings)):
            raise SpaceError(f"space(trial) must return a dict of settings by path, but returned {settings!r}.")
        try:
            return json.loads(json.dumps(settings))
        except TypeError as error:
            raise SpaceError(f"space(trial) must return numbers, strings, lists and dicts: {error}.") from error


class YamlSpace(Space):
    """A space written as data: entries in the order of the file, and points to try first.

    An entry's name is the path of its setting, such as ``optimizer.generator.lr``. List items go by number, as in
    ``optimizer.generator.betas.0``. Or an entry has ``keys`` with several paths. ``minmax.*`` are the settings of
    MinMax in the config, and ``minmax: false`` removes MinMax. ``when`` samples an entry only where earlier entries
    have the given values.

    Args:
        content: The parsed file, with ``space`` and, if wanted, ``points``, ``constraints`` and ``soft_constraints``.

    Raises:
        SpaceError: If it is malformed.

    Examples:
        >>> entry = dict(type="float", low=1e-4, high=1e-2, log=True)
        >>> list(YamlSpace(dict(space={"optimizer.generator.lr": entry})).entries)
        ['optimizer.generator.lr']
    """

    def __init__(self, content: Any) -> None:
        if not isinstance(content, dict):
            raise SpaceError(f"it must hold space: and its entries by name, but has {_short(content)}.")
        try:
            file = SpaceFile.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise SpaceError(f"{where}: {message} (got {_short(first['input'])}).") from error
        super().__init__(content, file.points)
        self.entries = file.space
        self.constraints = [read_expression(text, self.entries) for text in file.constraints]
        self.soft_constraints = [read_expression(text, self.entries) for text in file.soft_constraints]
        for name, entry in self.entries.items():
            earlier = list(self.entries)[: list(self.entries).index(name)]
            for condition, wanted in entry.when.items():
                if condition not in earlier:
                    raise SpaceError(
                        f"space.{name}.when names {condition!r}, which is no earlier entry of the space"
                        f"{hint(condition, earlier)}."
                    )
                for value in _as_list(wanted):
                    if not self.entries[condition].holds(value):
                        known = self.entries[condition].extremes()
                        raise SpaceError(f"space.{name}.when: {condition!r} never is {value!r}{hint(value, known)}.")

    def draw(self, trial: Trial) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        params: dict[str, Any] = {}
        for name, entry in self._active(params):
            params[name] = entry.sample(trial, name)
            overlay = entry.overlay(name, params[name])
            if twice := settings.keys() & overlay.keys():
                raise SpaceError(f"space.{name} sets {sorted(twice)[0]!r}, which an earlier entry sets at {params}.")
            settings |= overlay
        return settings

    def _active(self, params: Mapping[str, Any]) -> Any:
        """Yield the entries whose conditions hold, as ``params`` is filled in."""
        for name, entry in self.entries.items():
            if all(c in params and params[c] in _as_list(v) for c, v in entry.when.items()):
                yield name, entry

    def baseline(self, cfg: Config) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for name, entry in self._active(params):
            for value in entry.candidates(cfg, name):
                if entry.holds(value) and _leaves_unchanged(cfg, entry.overlay(name, value)):
                    params[name] = value
                    break
        return params

    def is_whole(self, params: Mapping[str, Any]) -> bool:
        return {name for name, _ in self._active(params)} == set(params)

    def note(self, trial: Trial) -> None:
        params: dict[str, Any] = {}
        fixed = trial.user_attrs["queued"]
        for name, entry in self._active(params):
            if name in fixed and entry.holds(fixed[name]):
                params[name] = entry.sample(trial, name)

    def check(self, configs: Mapping[str, Config]) -> None:
        for config_name, cfg in configs.items():
            for name, entry in self.entries.items():
                for value in entry.extremes():
                    for path, setting in entry.overlay(name, value).items():
                        try:
                            set_paths(copy.deepcopy(cfg), {**self._conditions(name), path: setting})
                        except (SpaceError, ConfigError) as error:
                            raise SpaceError(f"space.{name} does not fit config {config_name}: {error}") from error
        super().check(configs)

    def _conditions(self, name: str) -> dict[str, Any]:
        """Return settings under which an entry is sampled, from the first value that each condition allows."""
        settings: dict[str, Any] = {}
        for condition, wanted in self.entries[name].when.items():
            settings |= self._conditions(condition)
            settings |= self.entries[condition].overlay(condition, _as_list(wanted)[0])
        return settings


def _leaves_unchanged(cfg: Config, settings: Mapping[str, Any]) -> bool:
    merged = copy.deepcopy(cfg)
    try:
        set_paths(merged, settings)
    except (SpaceError, ConfigError):
        return False
    return _meaning(merged) == _meaning(cfg)


def _meaning(cfg: Config) -> tuple[Any, ...]:
    # The settings of MinMax may be written in several ways. Their meaning counts.
    host, other = host_of(cfg), copy.deepcopy(cfg)
    settings = host.minmax_settings(cfg)
    if settings is not None:
        host.set_minmax(other, {})
    rest = json.dumps(dict(other), default=repr, sort_keys=True)
    return rest, settings and MinMaxSettings.from_dict(settings).meaning


def _functions(names: Mapping[str, Any], name: str) -> list[Constraint]:
    functions = names.get(name, [])
    if not (isinstance(functions, list) and all(callable(function) for function in functions)):
        raise SpaceError(f"{name} must be a list of functions, but got {functions!r}.")
    for function in functions:
        if [other.__name__ for other in functions].count(function.__name__) > 1:
            raise SpaceError(f"{name} has several functions named {function.__name__!r}: give each a name of its own.")
    return [Constraint(function.__name__, function) for function in functions]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one of a distribution's."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    low, high, step = distribution.low, distribution.high, distribution.step  # type: ignore[attr-defined]
    steps = (value - low) / step if step else 0.0
    return low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-8)


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return str(list(distribution.choices))
    low, high, step = distribution.low, distribution.high, distribution.step  # type: ignore[attr-defined]
    return f"{low} to {high}" + (f" in steps of {step}" if step else "")


def _short(value: Any) -> str:
    return _SHORT.repr(value)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
