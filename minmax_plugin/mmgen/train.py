"""Trains a config by the toolkit's own loop, with the parts that a fresh install of it lacks."""

from __future__ import annotations

import contextlib
import copy
import logging
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmgen
import torch
import torch.distributed as torch_distributed
from mmcv import Config
from mmcv.runner import Hook, get_dist_info, init_dist
from mmcv.utils import get_git_hash
from mmcv.utils.logging import logger_initialized
from mmgen.apis import set_random_seed, train_model
from mmgen.models import build_model
from mmgen.models.builder import MODELS
from mmgen.models.gans import ProgressiveGrowingGAN
from mmgen.utils import collect_env, get_root_logger
from torch import nn

from minmax_plugin.errors import ConfigError, is_full_disk, one_line
from minmax_plugin.mmgen.check import check_config, check_seed, read_data
from minmax_plugin.mmgen.check_loop import check_batches
from minmax_plugin.mmgen.checkpoints import check_fits
from minmax_plugin.mmgen.config import make_plain
from minmax_plugin.mmgen.ranks import distribute, join_ranks, on_host
from minmax_plugin.mmgen.resume import Saved
from minmax_plugin.mmgen.run_state import RunMeta
from minmax_plugin.mmgen.shims import check_operations
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.secrets import hide_in

# Settings that train_model reads without a default. Some stock configs (WGAN-GP) lack them.
DEFAULTS: dict[str, Any] = dict(
    lr_config=None,
    load_from=None,
    resume_from=None,
    workflow=[("train", 1)],
    optimizer=None,
    checkpoint_config=None,
    log_config=dict(interval=100, hooks=[dict(type="TextLoggerHook")]),
    log_level="INFO",
)

LAUNCHED_BY = {
    "pytorch": ("torchrun", ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")),
    "slurm": ("srun", ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST")),
    "mpi": ("mpirun", ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")),
}
"""The command that starts the processes of a launcher, and the variables by which they find each other."""


def build_network(cfg: Config) -> nn.Module:
    """Build the config's model.

    Raises:
        ConfigError: If the toolkit cannot build it, or it cannot run here.
    """
    try:
        model = build_model(cfg.model, train_cfg=cfg.get("train_cfg"), test_cfg=cfg.get("test_cfg"))
    except (AssertionError, AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise ConfigError(f"model: the toolkit cannot build it: {error}") from error
    check_operations(model)
    return model


def train(
    cfg: Config,
    name: str = "config.py",
    seed: int = 2021,
    deterministic: bool = False,
    rank_shift: bool = False,
    distributed: bool = False,
    hooks: Sequence[dict[str, Any]] = (),
) -> None:
    """Train a config with the toolkit's own ``train_model``.

    Args:
        cfg: The merged config, with ``work_dir`` set.
        name: The file name of the copy of the config in the work dir.
        seed: The seed of model, data and the acceptance draw.
        deterministic: Whether cuDNN must be deterministic.
        rank_shift: Whether each rank adds its number to the seed.
        distributed: Whether ``torch.distributed`` is initialised.
        hooks: More entries of ``custom_hooks``, for this run alone. The copy of the config does not have them.

    Raises:
        ConfigError: Before anything is built, if the config cannot be trained as it stands.
    """
    make_plain(cfg)
    check_config(cfg)
    check_seed(seed)
    cfg.seed = seed
    cfg.gpu_ids = range(get_dist_info()[1]) if distributed else cfg.get("gpu_ids", [0])
    for key, default in DEFAULTS.items():
        cfg.setdefault(key, default)
    runner = cfg.get("runner") or {}
    if runner.get("is_dynamic_ddp") and not distributed:
        runner["is_dynamic_ddp"] = False  # it needs a distributed model's reducer
    work_dir = Path(cfg.work_dir).absolute()
    cfg.work_dir = str(work_dir)
    with _writing("work_dir", work_dir):
        _public(cfg).dump(str(work_dir / name))
    out = (cfg.checkpoint_config or {}).get("out_dir")
    if out and "://" not in out:  # else it is the first checkpoint that fails
        with _writing("checkpoint_config.out_dir", work_dir / out):
            pass
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    with _run_logger(work_dir / f"{timestamp}.log", cfg.get("log_level", "INFO")) as logger, _a_group_of_one(cfg):
        env = "\n".join(f"{key}: {value}" for key, value in collect_env().items())
        logger.info("Environment info:\n%s\n%s\n%s\n", "-" * 60, env, "-" * 60)
        logger.info("Distributed training: %s", distributed)
        logger.info("Config:\n%s", _public(cfg).pretty_text)
        logger.info("Set random seed to %s, deterministic: %s, rank shift: %s", seed, deterministic, rank_shift)
        set_random_seed(seed, deterministic=deterministic, use_rank_shift=rank_shift)
        torch.backends.cudnn.benchmark = bool(cfg.get("cudnn_benchmark", False))
        model = build_network(cfg)
        own = _own_hooks(cfg, check_fits(cfg, model) if cfg.resume_from else None)
        dataset = read_data(cfg)
        if not distributed:
            check_batches(cfg, len(dataset), model)
        if cfg.get("checkpoint_config") is not None:
            cfg.checkpoint_config.meta = dict(mmgen_version=mmgen.__version__ + get_git_hash()[:7])
        meta = dict(env_info=env, config=_public(cfg).pretty_text, seed=seed, exp_name=name)
        given = cfg.get("custom_hooks") or []
        try:
            cfg.custom_hooks = [*given, *hooks, *own]
            with _set_up_errors() as begun:
                cfg.custom_hooks.append(dict(type=begun))
                on_gpus = distributed and torch.cuda.is_available()
                if distributed and not on_gpus:
                    distribute(model, cfg)
                train_model(model, [dataset], cfg, distributed=on_gpus, validate=True, timestamp=timestamp, meta=meta)
        finally:
            cfg.custom_hooks = given  # the config is the caller's
        logger.info("Everything of this run is in %s%s", work_dir, _what_is_in(work_dir))


def set_up_process(cfg: Config, launcher: str = "none") -> None:
    """Prepare this process for one training, as the toolkit's own script does.

    Args:
        cfg: The merged config.
        launcher: The launcher that started it as one of several processes, or ``none``.

    Raises:
        ConfigError: If it was not started by that launcher, or has no such GPU.
    """
    if launcher != "none":
        command, names = LAUNCHED_BY[launcher]
        if missing := [name for name in names if name not in os.environ]:
            raise ConfigError(f"--launcher={launcher} needs the variables {missing}: start it by {command}.")
        if not torch.cuda.is_available() and not on_host(launcher):
            raise ConfigError(f"--launcher={launcher} needs a GPU for each process, and PyTorch finds none.")
    elif (found := torch.cuda.device_count()) and not all(0 <= gpu < found for gpu in cfg.gpu_ids):
        raise ConfigError(f"--gpu-id={cfg.gpu_ids[0]}: PyTorch finds {found} GPUs, numbered from 0.")
    multiprocessing.set_start_method(cfg.get("mp_start_method", "fork"), force=True)
    cv2.setNumThreads(cfg.get("opencv_num_threads", 0))
    if on_host(launcher):
        join_ranks()
    elif launcher != "none":
        init_dist(launcher, **(cfg.get("dist_params") or {"backend": "nccl"}))


def _own_hooks(cfg: Config, saved: Saved | None) -> list[dict[str, Any]]:
    """Return the hooks that each run adds to its config's: the parts of a resume that the toolkit lacks."""
    hooks = []
    if saved is not None:
        hooks.append(dict(type="Resume", cfg=copy.copy(cfg), saved=saved, priority="HIGHEST"))
    if minmax_settings(cfg) is None:  # MinMaxHook sees to it itself
        run = (saved.meta if saved else {}).get("run")
        hooks.append(dict(type="ExactResume", saved=run and RunMeta(run), priority="HIGHEST"))
    return hooks


@contextlib.contextmanager
def _writing(setting: str, folder: Path) -> Iterator[None]:
    """Make a folder, and name the setting where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, ValueError) as error:
        if is_full_disk(error):
            raise  # another folder of this disk is no better
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{setting}={str(folder)!r} cannot be written ({said}): give another one.") from error


@contextlib.contextmanager
def _set_up_errors() -> Iterator[type[Hook]]:
    """Turn what the toolkit says of a config, before its first iteration, into one line.

    Yields:
        The class of a hook, which the training needs: it tells when the loop and its second iteration begin.
    """
    begun = []

    class Begun(Hook):
        reads_weights = False

        def before_epoch(self, runner: Any) -> None:
            begun.append(True)

        def after_train_iter(self, runner: Any) -> None:
            if len(begun) == 1:
                begun.append(True)

    try:
        yield Begun
    except (AssertionError, AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        if begun or isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the toolkit cannot set the training up: {one_line(error)}.") from error
    except RuntimeError as error:  # PyTorch has no type for it
        said = str(error)
        if "stack expects each tensor to be equal size" in said:
            raise ConfigError(
                f"data.train: its samples differ in size ({one_line(error)}): add a Resize or a crop to its pipeline."
            ) from error
        if len(begun) < 2 and any(phrase in said for phrase in MISFITS):
            raise ConfigError(
                f"the networks cannot take a batch of data.train ({one_line(error)}): give the model and the pipeline "
                "the same size and channels."
            ) from error
        raise


def _public(cfg: Config) -> Config:
    """Return the config without passwords and tokens, for all that others may see: its copy, log and checkpoints."""
    return Config(hide_in(cfg._cfg_dict.to_dict()))


MISFITS = (
    "expected input",
    "shapes cannot be multiplied",
    "size of tensor",
    "Kernel size",
    "invalid for input of size",
)
LEFT = {  # what a run may leave, and what it is
    "**/iter_*.pth": "checkpoint",
    "metrics.jsonl": "what was measured",
    "decisions.jsonl": "every decision",
    "samples/*.png": "samples",
    "training_samples/*.png": "samples",
    "tf_logs": "curves and samples, for tensorboard --logdir",
}


def _what_is_in(work_dir: Path) -> str:
    """Write a line for each kind of file that a run has left, with the last one of its kind."""
    newest = {what: max(found) for pattern, what in LEFT.items() if (found := _by_number(work_dir.glob(pattern)))}
    return "".join(f"\n  {path.relative_to(work_dir)}: {what}" for what, (_, path) in newest.items())


def _by_number(paths: Iterable[Path]) -> list[tuple[int, Path]]:
    return [(int("".join(filter(str.isdigit, path.stem)) or 0), path) for path in paths]


@contextlib.contextmanager
def _a_group_of_one(cfg: Config) -> Iterator[None]:
    # Progressive growing changes its batch size during training. The toolkit can do so only in a process group.
    kind = MODELS.get(cfg.model.type)
    if kind is None or not issubclass(kind, ProgressiveGrowingGAN) or torch_distributed.is_initialized():
        yield
        return
    cfg.data.train_dataloader = {**cfg.data.get("train_dataloader", {}), "dist": True}
    store = torch_distributed.HashStore()  # type: ignore[attr-defined]
    torch_distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch_distributed.destroy_process_group()


@contextlib.contextmanager
def _run_logger(log_file: Path, level: str) -> Iterator[logging.Logger]:
    # The toolkit keeps one logger a process, bound to its first file. A process may train several configs one after
    # the other (a search does), each with its own log. An earlier log call may also have bound the logger to no file.
    _forget_logger()
    try:
        yield get_root_logger(log_file=str(log_file), log_level=level)
    finally:
        _forget_logger()


def _forget_logger() -> None:
    logger = logging.getLogger(mmgen.__name__)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger_initialized.pop(logger.name, None)
