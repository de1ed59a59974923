"""Checkpoints on disk: which are intact, which a killed run left truncated, and which fit a config."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from mmcv import Config
from torch import nn

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.resume import Saved, optimizer_types
from minmax_plugin.openmmlab import is_intact, minmax_settings
from minmax_plugin.phase import check_resumable
from minmax_plugin.settings import MinMaxSettings


def check_intact(path: str | Path) -> None:
    """Refuse a checkpoint that does not exist or is truncated.

    Raises:
        ConfigError: If it does not exist or is truncated; the message says which.
    """
    if not Path(path).exists():
        raise ConfigError(f"resume_from={str(path)!r} does not exist: give a checkpoint (iter_N.pth), or 'auto'.")
    if not is_intact(path):
        raise ConfigError(
            f"resume_from={str(path)!r} is truncated, as a run that is killed leaves it, or not in torch.save's "
            "format. Give another one, or 'auto' for the last intact one."
        )


def check_fits(cfg: Config, model: nn.Module) -> Saved:
    """Refuse a checkpoint that the config cannot be resumed from.

    Args:
        cfg: The merged config, with ``resume_from``.
        model: Its model. Neither is changed.

    Returns:
        The contents of the checkpoint besides its weights.

    Raises:
        ConfigError: If it holds no training, or that of another model or optimizer. Also if it was saved in mid-cycle
            under settings of :class:`MinMaxHook` that this config cannot continue.
    """
    where = f"resume_from={cfg.resume_from!r}"
    try:
        saved = torch.load(cfg.resume_from, map_location="cpu", mmap=True)  # mapped: its weights stay on the disk
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{where} cannot be read: {str(error).splitlines()[0]}") from error
    if not (isinstance(saved, Mapping) and {"meta", "state_dict"} <= saved.keys()):
        raise ConfigError(f"{where} holds no training: give it as load_from, to begin with its weights.")
    weights = {name.removeprefix("module."): weight for name, weight in saved["state_dict"].items()}
    for name, parameter in model.named_parameters():
        shape, found = tuple(parameter.shape), weights.get(name)
        if found is None and name.split(".")[0].endswith("_ema"):  # averaged from now on
            continue
        if found is None or found.shape != parameter.shape:
            has = "none" if found is None else str(tuple(found.shape))
            raise ConfigError(
                f"{where} is another model's: {name} is {shape} here, and {has} there; give one of this config's, or "
                "change model back."
            )
    held = Saved(saved["meta"], has_optimizer=bool(saved.get("optimizer")))
    present, earlier = optimizer_types(cfg, model), optimizer_types(held.config or {"model": {}}, model)
    for player in present.keys() & earlier.keys() if held.has_optimizer else ():
        if present[player] != earlier[player]:
            raise ConfigError(
                f"{where} holds the moments of {earlier[player]!r} for the {player}, but the config has "
                f"{present[player]!r}: change it back, or give the checkpoint as load_from, to begin with its weights."
            )
    players = saved.get("optimizer") or {}
    games = [state["minmax"]["game"] for state in players.values() if isinstance(state, Mapping) and "minmax" in state]
    settings = minmax_settings(cfg)
    if games and settings is not None:
        chosen = MinMaxSettings.from_dict(settings)
        restored = {**dataclasses.asdict(chosen.restored), "recover_nonfinite": chosen.recover_nonfinite}
        try:
            check_resumable(games[0], restored)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    return dataclasses.replace(held, minmax=bool(games))


def last_intact(work_dir: str | Path, out_dir: str | None = None) -> str | None:
    """Find the intact checkpoint that was written last, or ``None``. Truncated ones are skipped with a warning.

    Args:
        work_dir: The work dir of the run. All its folders are searched.
        out_dir: The folder that the config's ``checkpoint_config`` names, if any. The toolkit writes into its
            subfolder with the work dir's name.
    """
    places = [Path(work_dir), *([Path(out_dir) / Path(work_dir).name] if out_dir else [])]
    found = {path for place in places for path in place.glob("**/*.pth") if not path.is_symlink()}
    regular = [path for path in found if not path.name.startswith("best_")]  # the toolkit's latest.pth is a link
    for path in sorted(regular, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True):
        if is_intact(path):
            return str(path)
        logging.getLogger(__name__).warning("%s is truncated: its run was killed while it was written", path)
    return None
