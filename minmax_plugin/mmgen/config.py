"""Configs of the toolkit: read one, and opt it in or out without editing its file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmgen
import numpy
from mmcv import Config, DictAction
from mmcv.utils import import_modules_from_strings
from mmgen.models.builder import MODELS

from minmax_plugin.errors import ConfigError, one_line
from minmax_plugin.mmgen.adapters import find_adapter
from minmax_plugin.mmgen.effect import warn_of_slips
from minmax_plugin.mmgen.optimizers import PREFIX, register_minmax_optimizers
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import DEFAULT_PRESET

PACKAGE = Path(__file__).parents[1]
SHIPPED = (Path(mmgen.__file__).parent / ".mim/configs", PACKAGE / ".mim/configs", PACKAGE.parent / "configs")
"""The folders of configs that are found by name: the toolkit's, and this package's in a wheel or a clone."""
PLUGIN = "minmax_plugin.mmgen"


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Read a config of the toolkit, merge ``options`` over it, and import what it asks for.

    Args:
        path: The file, or the name of a shipped config. The toolkit ships
            ``dcgan/dcgan_celeba-cropped_64_b128x1_300k.py``, for example, and this package ``mnist01_minmax.py``.
        options: The options ``{"a.b": value}``, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: If the file does not exist or its imports fail.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        shipped = [folder / path for folder in SHIPPED if (folder / path).is_file()]
        if not shipped:
            raise ConfigError(f"config {str(path)!r} does not exist, nor does one ship under that name{_like(path)}.")
        path = shipped[0]
    try:
        cfg = Config.fromfile(str(path), import_custom_modules=False)
        cfg.merge_from_dict(options or {})
    except Exception as error:  # a config is Python, which may raise anything
        hint = "; _base_ takes paths, and minmax-train NAME --print-config > FILE writes a config of the toolkit out"
        hint = hint if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"config {str(path)!r} cannot be put together: {one_line(error)}{hint}.") from error
    for part in cfg._cfg_dict.values():
        if isinstance(part, dict):
            part.pop("_delete_", None)  # mmcv leaves it where the base has nothing to take the place of
    make_plain(cfg)
    if cfg.get("custom_imports"):
        _import(cfg.custom_imports)
        register_minmax_optimizers()  # of what was imported just now
    warn_of_slips(cfg)
    return cfg


def _like(path: Path) -> str:
    """Name the shipped configs that a mistyped name may mean."""
    names = {str(file.relative_to(folder)): file.name for folder in SHIPPED for file in folder.rglob("*.py")}
    near = [name for name in names if names[name] == path.name]
    near = near or difflib.get_close_matches(str(path), names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _import(settings: Any) -> None:
    names = settings.get("imports") if isinstance(settings, dict) else None
    names = [names] if isinstance(names, str) else names
    known = isinstance(settings, dict) and set(settings) <= {"imports", "allow_failed_imports"}
    if not (known and isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"custom_imports={settings!r} must be dict(imports=['a.module']).")
    for name in names:
        try:
            import_modules_from_strings(name, settings.get("allow_failed_imports", False))
        except Exception as error:
            said = one_line(error.__context__ or error)  # mmcv says nothing itself
            raise ConfigError(
                f"custom_imports.imports={name!r} failed ({said}): check the name, and that it is installed."
            ) from error


def make_plain(cfg: Config) -> None:
    """Fill in the home folder for a leading ``~``, and replace what no config file can hold, in place.

    Numbers and arrays of NumPy become Python's, and paths become text. Classes at the top are left out.

    Raises:
        ConfigError: If a value cannot be written to a file and read again. The message names its setting.

    Examples:
        >>> cfg = Config(dict(paths=["~/data"], lr=numpy.float64(0.5)))
        >>> make_plain(cfg)
        >>> cfg.paths == [os.path.expanduser("~/data")], cfg.lr
        (True, 0.5)
    """
    for name, value in list(cfg._cfg_dict.items()):
        if callable(value):  # what it imports for itself; mmcv leaves out modules and functions alone
            del cfg._cfg_dict[name]
        elif (filled := _plain(value, name)) is not value:
            cfg._cfg_dict[name] = filled


def _plain(part: Any, path: str) -> Any:
    """Return a part of a config, or its replacement. A dict stays the same, and its parts are replaced in place."""
    if isinstance(part, os.PathLike):
        part = os.fspath(part)
    if isinstance(part, (numpy.generic, numpy.ndarray)):
        part = part.tolist()
    if isinstance(part, str):
        return os.path.expanduser(part)
    if isinstance(part, dict):
        for key, value in part.items():
            if (filled := _plain(value, f"{path}.{key}")) is not value:
                part[key] = filled
    elif isinstance(part, (list, tuple)):
        filled = [_plain(item, f"{path}.{index}") for index, item in enumerate(part)]
        return type(part)(filled) if any(new is not old for new, old in zip(filled, part, strict=True)) else part
    elif not (part is None or isinstance(part, (bool, int, float, complex, bytes, set, range))):
        said = " ".join(repr(part).split())
        raise ConfigError(f"{path}={said} is a {type(part).__name__}, which no config file can hold: name it as text.")
    return part


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Read ``--cfg-options``: texts ``a.b=value``, with values as the toolkit's own commands take them.

    Raises:
        ConfigError: If a text has another form.

    Examples:
        >>> parse_options(["optimizer.generator.lr=1e-4", "model.sizes=[1,2]"])
        {'optimizer.generator.lr': 0.0001, 'model.sizes': [1, 2]}
    """
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (equals and all(key.split(".")) and key.split(".")[0].isidentifier()):
            raise ConfigError(f"--cfg-options {option!r} must be KEY=VALUE, such as optimizer.generator.lr=1e-4.")
        try:
            parsed[key] = DictAction._parse_iterable(value)
        except (AssertionError, IndexError, ValueError) as error:
            raise ConfigError(f"--cfg-options {option!r}: its value cannot be read ({error}).") from error
    return parsed


def opt_in(cfg: Config, preset: str = DEFAULT_PRESET, **settings: Any) -> None:
    """Turn a plain config into one that trains by MinMax, in place, as a user would by hand.

    Args:
        cfg: The merged config.
        preset: The preset of :class:`MinMaxHook`.
        settings: Further settings of the hook.

    Raises:
        ConfigError: If it has opted in already.

    Examples:
        >>> optimizer = dict(generator=dict(type="Adam"), discriminator=dict(type="Adam"))
        >>> cfg = Config(dict(model=dict(type="StaticUnconditionalGAN"), optimizer=optimizer))
        >>> opt_in(cfg, "paper")
        >>> cfg.optimizer.generator.type, cfg.custom_hooks
        ('MinMaxAdam', [{'type': 'MinMaxHook', 'preset': 'paper'}])
    """
    if minmax_settings(cfg) is not None:
        raise ConfigError("the config has a MinMaxHook already: change its settings instead of opting in again.")
    import_also(cfg, PLUGIN)
    for entry in _optimizers(cfg):
        entry["type"] = PREFIX + entry["type"].removeprefix(PREFIX)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="MinMaxHook", preset=preset, **settings)]


def opt_out(cfg: Config) -> None:
    """Turn a config that opted in into its plain descent-ascent counterpart, in place.

    Examples:
        >>> optimizer = dict(generator=dict(type="MinMaxAdam"))
        >>> model = dict(type="StaticUnconditionalGAN")
        >>> cfg = Config(dict(model=model, optimizer=optimizer, custom_hooks=[dict(type="MinMaxHook")]))
        >>> opt_out(cfg)
        >>> cfg.optimizer.generator.type, cfg.custom_hooks
        ('Adam', [])
    """
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] != "MinMaxHook"]
    for entry in _optimizers(cfg):
        entry["type"] = entry["type"].removeprefix(PREFIX)


def import_also(cfg: Config, module: str) -> None:
    """Have a config import one more module, in place.

    Examples:
        >>> cfg = Config(dict(custom_imports=dict(imports="mine")))
        >>> import_also(cfg, "yours")
        >>> cfg.custom_imports.imports
        ['mine', 'yours']
    """
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    modules = [imports["imports"]] if isinstance(imports["imports"], str) else imports["imports"]
    cfg.custom_imports = {**imports, "imports": [*modules, module]}


def _optimizers(cfg: Config) -> list[Any]:
    kind = find_adapter(MODELS.get((cfg.get("model") or {}).get("type") or ""))
    entries = (kind.optimizers_in(cfg) if kind else None) or {}
    return [entry for entry in entries.values() if isinstance(entry, dict) and "type" in entry]
