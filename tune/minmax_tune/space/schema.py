"""The entries of a YAML search space: the contents of the file, and the values that each entry samples."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from optuna.trial import Trial
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from minmax_plugin.hosts import Config
from minmax_tune.space.paths import NO_SETTING, get_path

MOST = 2**53  # the whole numbers up to here are stored exactly


def _plain(value: Any) -> Any:
    if not isinstance(value, (bool, int, float, str, type(None))):
        raise ValueError("it must be a number, text, true, false or null: settings with parts go into type: fragments")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it must be finite")
    return value


def _condition(wanted: Any) -> Any:
    if wanted == []:
        raise ValueError("an empty list allows no value")
    for value in wanted if isinstance(wanted, list) else [wanted]:
        _plain(value)
    return wanted


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


def _distinct(options: list[Any]) -> list[Any]:
    for index, option in enumerate(options):
        if option in options[:index]:
            raise ValueError(f"{option!r} equals an earlier option, {options[options.index(option)]!r}")
    return options


Scalar = Annotated[Any, AfterValidator(_plain)]
Number = Annotated[FiniteFloat, BeforeValidator(_no_bool)]
Whole = Annotated[int, Field(ge=-MOST, le=MOST), BeforeValidator(_no_bool)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[str] = []
    when: dict[str, Annotated[Any, AfterValidator(_condition)]] = {}

    def overlay(self, name: str, value: Any) -> dict[str, Any]:
        """Return the settings, by path, that a sampled value makes."""
        return dict.fromkeys(self.keys or [name], value)

    def candidates(self, cfg: Config, name: str) -> list[Any]:
        """List the values among which the config's own would be."""
        try:
            return [get_path(cfg, (self.keys or [name])[0])]
        except NO_SETTING:
            return []


class _Range(_Entry):
    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    def extremes(self) -> list[Any]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if self.low >= self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"low={self.low} and high={self.high} are too far apart")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 with log: true")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step} must be above 0")
        if self.step is not None and not 1 <= (self.high - self.low) / self.step <= MOST:
            raise ValueError(f"step={self.step} must fit 1 to 2**53 times between low={self.low} and high={self.high}")
        if self.log and self.step is not None:
            raise ValueError("step and log: true exclude each other")
        return self


class Float(_Range):
    type: Literal["float"]

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


class Int(_Range):
    type: Literal["int"]
    low: Whole
    high: Whole
    step: Whole | None = None

    def holds(self, value: Any) -> bool:
        return super().holds(value) and value == int(value)

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step or 1)


class _Options(_Entry):
    options: Any

    def extremes(self) -> list[Any]:
        return list(self.options)

    def holds(self, value: Any) -> bool:
        return value in self.options

    def candidates(self, cfg: Config, name: str) -> list[Any]:
        return list(self.options)

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_categorical(name, list(self.options))


class Choice(_Options):
    type: Literal["choice"]
    options: Annotated[list[Scalar], AfterValidator(_distinct)] = Field(min_length=1)


class Fragments(_Options):
    """A choice among labelled pieces of config. Optuna sees only the label."""

    type: Literal["fragments"]
    options: dict[str, dict[str, Any]] = Field(min_length=1)

    def overlay(self, name: str, value: Any) -> dict[str, Any]:
        return dict(self.options[value])


class SpaceFile(BaseModel):
    """The whole file of a search space."""

    model_config = ConfigDict(extra="forbid")
    space: dict[str, Annotated[Float | Int | Choice | Fragments, Field(discriminator="type")]] = Field(min_length=1)
    points: list[dict[str, Scalar]] = []
    constraints: list[str] = []
    soft_constraints: list[
        Annotated[str, Field(max_length=400)]
    ] = []  # databases limit the keys of Optuna's attributes
