"""The toolkits that train the configs, as the search sees them: an interface for each, chosen by the config."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from minmax_plugin.config_kind import is_for_mmengine
from minmax_plugin.errors import ConfigError, one_line

HOSTS = ("minmax_plugin.mmengine.host", "minmax_plugin.mmgen.host")
"""The modules that are a :class:`Host`. They are asked in turn. The last one reads the files that no other takes."""

MMENGINE = HOSTS[0]
EXTRAS = {"minmax_plugin.mmengine.host": "mmengine", "minmax_plugin.mmgen.host": "mmgen"}  # that install their toolkits
TOOLKITS = ("mmcv", "mmengine", "mmgen")  # the packages of all hosts


class Config(Protocol):
    """A config of any toolkit: nested settings, which ``copy.deepcopy`` copies.

    ``pretty_text`` is its text, and ``dump`` writes a file that its host reads again.
    """

    @property
    def pretty_text(self) -> str: ...
    def dump(self, file: str) -> Any: ...
    def keys(self) -> Iterable[str]: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...


class Reporter(Protocol):
    """Takes the measurements of a training.

    ``metric`` is the primary objective. Each new value of it makes a measurement.
    """

    metric: str

    def on_iteration(self) -> None:
        """Take note of an iteration. Each process of the training calls this, and ends if it raises SystemExit."""

    def on_measure(self, metrics: dict[str, float], iterations: int, images: int, last: bool) -> None:
        """Take a measurement, in the first process alone.

        Args:
            metrics: The metrics by name.
            iterations: The iterations so far.
            images: The number of real images so far.
            last: Whether the training ends here.
        """


class Host(Protocol):
    """A toolkit. A module with these functions is one; see :data:`HOSTS`."""

    def owns(self, config: Any) -> bool:
        """Whether a config, or the file at a path, is of this toolkit."""

    def load_config(self, path: str | Path) -> Config:
        """Read a config file, or one that ships by name, and import what it asks for.

        Raises:
            ConfigError: If it does not exist or cannot be read.
        """

    def classes(self) -> Mapping[tuple[str, str], Any]:
        """Return the classes that configs name, by registry and name, as this process has them now."""

    def check_config(self, cfg: Config) -> None:
        """Refuse a config that could only fail later.

        Raises:
            ConfigError: If a setting is wrong. The message names the first one.
        """

    def read_data(self, cfg: Config) -> Any:
        """Read the training data once.

        Raises:
            ConfigError: If it cannot be read.
        """

    def minmax_settings(self, cfg: Config) -> Mapping[str, Any] | None:
        """Return the settings of MinMax in a config, or ``None`` without it."""

    def set_minmax(self, cfg: Config, settings: Mapping[str, Any]) -> None:
        """Give MinMax in a config other settings, in place."""

    def opt_out(self, cfg: Config) -> None:
        """Remove MinMax from a config, in place."""

    def own_path(self, cfg: Config, path: str) -> str:
        """Return the toolkit's own path of a setting that a space names as MMGeneration's configs do.

        Raises:
            SpaceError: If the toolkit has no such setting. The message says what to write instead.
        """

    def defaults(self, cfg: Config) -> Mapping[str, Any]:
        """Return settings ``NAME`` or ``PART.NAME`` that a config may leave out, with the toolkit's values."""

    def unread(self, cfg: Config, path: str) -> str | None:
        """Say why the setting at a path has no effect on a training, or return ``None`` where it may have one."""

    def set_dataset(self, cfg: Config, dataset: Config) -> None:
        """Give a config the data set of another, in place.

        Raises:
            ConfigError: If it is not clear which part of the config measures the old one.
        """

    def make_comparable(self, cfg: Config, base: Config) -> None:
        """Have a changed config train on as many images as its base does, and save in its own folder, in place."""

    def measured_metrics(self, cfg: Config) -> list[str] | None:
        """Return the names of all metrics that a config measures, or ``None`` if they are not known."""

    def iterations(self, cfg: Config) -> int:
        """Return the iterations of a whole training."""

    def batch_size(self, cfg: Config) -> int:
        """Return the real images of an iteration, in each process."""

    def is_intact(self, path: Path) -> bool:
        """Whether a checkpoint is as it was written."""

    def train(self, cfg: Config, folder: Path, seed: int, checkpoint: Path | None, reporter: Reporter | None) -> None:
        """Train a config in this process.

        Args:
            cfg: The config.
            folder: The folder of the training's files.
            seed: The seed of the training.
            checkpoint: The checkpoint from which it continues, if any.
            reporter: The taker of its measurements, unless :meth:`add_reporter` has given the config one.

        Raises:
            FloatingPointError: If it diverged.
        """

    def add_reporter(self, cfg: Config, kind: str, **arguments: Any) -> None:
        """Have a config report, wherever it trains, to a :class:`Reporter` that is made there.

        Args:
            cfg: The config, which is changed in place.
            kind: The reporter's class, as ``module:Class``.
            arguments: The class's arguments.
        """


def host_of(config: Any) -> Host:
    """Return the host of a config, or of the config file at a path.

    Raises:
        ConfigError: If its toolkit is not installed. The message names the extra that installs it.

    Examples:
        >>> host_of("four_gaussians_minmax.py").__name__
        'minmax_plugin.mmgen.host'
    """
    names = [name for name in HOSTS if name != MMENGINE or is_for_mmengine(config)]  # others need not be installed
    return next(host for host in map(_host, names) if host.owns(config))


def _host(name: str) -> Host:
    try:
        return cast(Host, importlib.import_module(name))
    except (ImportError, AssertionError) as error:  # mmgen asserts the version of mmcv
        extra = EXTRAS.get(name, name)
        raise ConfigError(
            f"the config is written for {extra}, which cannot be imported here ({one_line(error)}): "
            f"pip install 'minmax-plugin[{extra}]', in a separate environment."
        ) from error


def load_config(path: str | Path) -> Config:
    """Read a config file by its host."""
    return host_of(path).load_config(path)
