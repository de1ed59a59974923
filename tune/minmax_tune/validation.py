"""Reads and checks all inputs of a search before anything starts. It returns them, or raises one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from minmax_plugin.errors import ConfigError, SpaceError
from minmax_plugin.hosts import Config, host_of, load_config
from minmax_plugin.secrets import paths_of_secrets
from minmax_tune.machine import count_cores
from minmax_tune.options import Options
from minmax_tune.samplers import make_sampler
from minmax_tune.space.changed import Kind, check_kinds, rename_changed
from minmax_tune.space.paths import hint
from minmax_tune.space.reading import read_yaml
from minmax_tune.space.space import Space
from minmax_tune.study import Search

COSTS = ("images", "seconds")  # metrics that each trial has


def prepare(options: Options) -> tuple[Space, dict[str, Config]]:
    """Read and check everything before anything starts.

    Returns:
        The space, and the base configs by name.

    Raises:
        SpaceError, ConfigError: If something is wrong. The message names the first error.
    """
    check_name(options.name)
    check_resources(options)
    space = read_space(options.space)
    check_sampler(options, space)
    if options.points is not None:
        space.points = [*space.points, *read_points(options.points)]
    check_no_secrets(space.points, "points: ")
    configs = read_configs(options)
    for name, cfg in configs.items():
        host = host_of(cfg)
        try:
            host.check_config(cfg)
            check_no_secrets(dict(cfg), "")
            host.read_data(cfg)
            check_objectives(cfg, options)
        except ConfigError as error:
            raise ConfigError(f"config {name}: {error}") from error
    space.check(configs)
    return space, configs


def check_sampler(options: Options, space: Space) -> None:
    """Refuse a sampler or a race that cannot be used for a space.

    Raises:
        ConfigError: If the sampler cannot be made, or would ignore the soft constraints of the space. If the trials of
            a race would have no seeds in common.
    """
    make_sampler(options, index=0, trials=0)
    if options.sampler == "cmaes" and space.soft_constraints:
        raise ConfigError("--sampler cmaes does not use the soft_constraints of the space: choose tpe, gp or nsga2.")
    if options.race and "seed" in space.content.get("space", {}):
        raise ConfigError("--race compares trials seed by seed, but the space has the entry 'seed': take it out.")


def read_space(path: str) -> Space:
    """Read a space without passwords in it."""
    space = Space.read(path)
    check_no_secrets(space.content, "space: ")
    return space


def read_changed_space(path: str, record: Search) -> Space:
    """Read another space for a search that goes on. A changed entry is given a new name.

    Raises:
        SpaceError: If it is malformed, does not fit the configs, or is written in Python and changes a parameter.
    """
    trials = [trial for study in record.studies.values() for trial in study.get_trials(deepcopy=False)]
    earlier: dict[str, Kind | None] = dict.fromkeys(name for trial in trials for name in trial.params)
    space = Space.load(rename_changed(read_space(path).content, earlier | record.kinds))
    space.check(record.configs)
    check_kinds(space, trials)
    return space


def check_no_secrets(settings: Any, where: str) -> None:
    """Refuse settings with a password or token in them: a search keeps copies of them that others may see.

    Args:
        settings: The settings of a config or a space.
        where: The place of the settings, for the error.

    Raises:
        ConfigError: If they hold one. The message names the setting, but not the secret.

    Examples:
        >>> check_no_secrets({"init_kwargs": {"api_token": "eyJhcGlfYWRkcmVz"}}, "")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: init_kwargs.api_token holds a password or token, of which the search ...
    """
    for path in paths_of_secrets(settings):
        raise ConfigError(
            f"{where}{path} holds a password or token, of which the search would keep copies: leave it out, and set "
            "the logger's own environment variable (NEPTUNE_API_TOKEN, WANDB_API_KEY, MLFLOW_TRACKING_PASSWORD, ...)."
        )


def check_name(name: str | None) -> None:
    """Refuse a name that is no folder of the storage path's, or that a shell takes for another.

    Raises:
        ConfigError: If it is one.
    """
    if name is None:
        return
    if name.startswith("~"):
        raise ConfigError(f"--name={name!r}: a shell takes such a folder for a home; give another name.")
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ConfigError(f"--name={name!r} must be the name of a folder; --storage-path says where that is.")


def check_resources(options: Options) -> None:
    """Refuse a trial that this machine cannot hold: Ray would wait for ever. A cluster is checked later."""
    if options.address != "local":
        return
    cores, devices = count_cores(), torch.cuda.device_count()
    if options.cpus_per_trial > cores:
        raise ConfigError(
            f"--cpus-per-trial={options.cpus_per_trial} does not fit this machine, which has {cores} cores for it."
        )
    if (options.gpus_per_trial or 0) > devices:
        raise ConfigError(
            f"--gpus-per-trial={options.gpus_per_trial} does not fit this machine, which has {devices} GPUs."
        )


def read_configs(options: Options) -> dict[str, Config]:
    """Read the merged base configs by name: each config, combined with each data set if there are any."""
    configs: dict[str, Config] = {}
    loader = _Loader()
    for path in options.configs:
        for dataset in options.datasets or [None]:
            cfg, name = loader.load(path), Path(path).stem
            if dataset is not None:
                host_of(cfg).set_dataset(cfg, loader.load(dataset))
                name += f"-{Path(dataset).stem}"
            if name in configs:
                raise ConfigError(f"two studies would be named {name!r}: rename one of the files.")
            loader.add(cfg)
            configs[name] = cfg
    if options.layout == "shared" and len(configs) < 2:
        raise ConfigError("--layout shared needs two data sets or more: give --datasets, or several configs.")
    return configs


class _Loader:
    """Reads configs whose trials share their processes, so that a name has one class for all of them."""

    def __init__(self) -> None:
        self._imports: list[Any] = []
        self._replaced: dict[tuple[str, str], tuple[str, Any]] = {}  # classes, with the config and its imports

    def load(self, path: str) -> Config:
        before = host_of(path).classes()
        cfg = load_config(path)
        now, imports = host_of(cfg).classes(), cfg.get("custom_imports")
        self._replaced |= {key: (path, imports) for key, known in before.items() if now[key] is not known}
        return cfg

    def add(self, cfg: Config) -> None:
        """Take a whole config, of one file or two.

        Raises:
            ConfigError: If a name has another class for it than for a config with other imports.
        """
        self._imports.append(cfg.get("custom_imports"))
        for (registry, name), (its, imported) in self._replaced.items():
            if any(imported != other for other in self._imports):
                raise ConfigError(
                    f"config {its!r}: its custom_imports replace {name!r} of the {registry}s, which the trials of the "
                    "other configs would get too: give the class another name, or search this config by itself."
                )


def read_points(path: str) -> list[dict[str, Any]]:
    """Read the points of a YAML file: a list of values by name.

    Raises:
        SpaceError: If it is no such file.
    """
    if not Path(path).is_file():
        raise SpaceError(f"--points={path!r} does not exist.")
    points = read_yaml(path, f"--points={path!r}")
    if not (isinstance(points, list) and all(isinstance(point, dict) for point in points)):
        raise SpaceError(f"--points={path!r} must hold a list of points, each with values by name, but has {points!r}.")
    return points


def check_objectives(cfg: Config, options: Options) -> None:
    """Refuse an objective that this config will not measure, where that can be known.

    Raises:
        ConfigError: If there is one. The message names it and the metrics that are measured.
    """
    measured = host_of(cfg).measured_metrics(cfg)
    for metric, _ in options.directions:
        if measured is not None and metric not in (known := [*measured, *COSTS]):
            raise ConfigError(f"--metric={metric!r} is not measured{hint(metric, known)}.")
