"""The entries of a YAML search space: the contents of the file, and the values that each entry samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from minmax_plugin.hosts import Config
from minmax_tune.space.paths import NO_SETTING, get_path

Scalar = bool | int | float | str | None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[str] = []
    when: dict[str, Scalar | list[Scalar]] = {}

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
    low: FiniteFloat
    high: FiniteFloat
    log: bool = False
    step: FiniteFloat | None = None

    def extremes(self) -> list[Any]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if self.low >= self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 with log: true")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step} must be above 0")
        if self.log and self.step is not None:
            raise ValueError("step and log: true exclude each other")
        return self


class Float(_Range):
    type: Literal["float"]

    def sample(self, trial: Trial, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


class Int(_Range):
    type: Literal["int"]
    low: int
    high: int
    step: int | None = None

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
    options: list[Scalar] = Field(min_length=1)


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
