"""The training command: ``minmax-train CONFIG``, with the flags of the toolkit's own script."""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmgen
import torch
import torch.distributed as torch_distributed
from mmcv import Config, DictAction
from mmcv.runner import BaseRunner, IterBasedRunner, get_dist_info, init_dist
from mmcv.utils import get_git_hash, import_modules_from_strings
from mmcv.utils.logging import logger_initialized
from mmgen.apis import set_random_seed, train_model
from mmgen.core.runners import DynamicIterBasedRunner
from mmgen.models import build_model
from mmgen.models.builder import MODELS
from mmgen.models.gans import ProgressiveGrowingGAN
from mmgen.utils import collect_env, get_root_logger
from torch import nn

from minmax_plugin.mmgen.check import ConfigError, check_config, check_seed, minmax_settings, read_data
from minmax_plugin.mmgen.checkpoints import check_fits, check_whole, last_whole
from minmax_plugin.mmgen.optimizers import register_minmax_optimizers
from minmax_plugin.mmgen.optin import opt_in
from minmax_plugin.mmgen.resume import Saved
from minmax_plugin.mmgen.run_state import RunMeta
from minmax_plugin.mmgen.shims import check_operations
from minmax_plugin.mmgen.tensorboard import log_to_tensorboard
from minmax_plugin.presets import PRESETS
from minmax_plugin.secrets import hide_in

PACKAGE = Path(__file__).parents[1]
SHIPPED = (Path(mmgen.__file__).parent / ".mim/configs", PACKAGE / ".mim/configs", PACKAGE.parent / "configs")
"""Where configs are found by name: those of the toolkit, and this package's own, in a wheel or in a clone."""

NOTHING_WHOLE = "minmax-train: no whole checkpoint in {}: starts from the beginning"

# What train_model reads without a default; some stock configs (WGAN-GP) lack it.
DEFAULTS: dict[str, Any] = dict(
    lr_config=None, load_from=None, resume_from=None, workflow=[("train", 1)], optimizer=None, checkpoint_config=None
)


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Read a config of the toolkit, merge ``options`` over it, and import what it asks for.

    Args:
        path: the file, or the name of a config that the toolkit ships, such as
            ``dcgan/dcgan_celeba-cropped_64_b128x1_300k.py``, or that this package does, ``mnist01_minmax.py``.
        options: ``{"a.b": value}``, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: if the file does not exist or its imports fail.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        shipped = [folder / path for folder in SHIPPED if (folder / path).is_file()]
        if not shipped:
            raise ConfigError(f"config {str(path)!r} does not exist, nor does the toolkit ship one of that name.")
        path = shipped[0]
    try:
        cfg = Config.fromfile(str(path))
        cfg.merge_from_dict(options or {})
    except (AssertionError, KeyError, TypeError, SyntaxError, FileNotFoundError) as error:
        detail = error.args[0] if isinstance(error, KeyError) and error.args else error  # its text would be quoted
        raise ConfigError(f"config {str(path)!r} cannot be put together: {detail}") from error
    for part in cfg._cfg_dict.values():
        if isinstance(part, dict):
            part.pop("_delete_", None)  # mmcv leaves it where the base has nothing to take the place of
    expand_home(cfg._cfg_dict)
    if cfg.get("custom_imports"):
        try:
            import_modules_from_strings(**cfg["custom_imports"])
        except ImportError as error:
            raise ConfigError(
                f"custom_imports={dict(cfg.custom_imports)} failed: check the names, and that they are installed."
            ) from error
        register_minmax_optimizers()  # of what was imported just now
    return cfg


def expand_home(part: Any) -> Any:
    """Fill in the home folder for a leading ``~`` in all texts of a config, in place.

    Returns:
        ``part``, or what takes its place.

    Examples:
        >>> expand_home(dict(paths=["~/data"])) == dict(paths=[os.path.expanduser("~/data")])
        True
    """
    if isinstance(part, str):
        return os.path.expanduser(part)
    if isinstance(part, dict):
        for key, value in part.items():
            if (filled := expand_home(value)) != value:
                part[key] = filled
    elif isinstance(part, (list, tuple)):
        return type(part)(map(expand_home, part))
    return part


def build_network(cfg: Config) -> nn.Module:
    """The config's model.

    Raises:
        ConfigError: if the toolkit cannot build it, or it cannot run here.
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
        cfg: the merged config, with ``work_dir`` set.
        name: file name of the copy of the config in the work dir.
        seed: of model, data and the acceptance draw.
        deterministic: whether cuDNN must be deterministic.
        rank_shift: whether each rank adds its number to the seed.
        distributed: whether ``torch.distributed`` is initialised.
        hooks: more entries of ``custom_hooks``, for this run alone: the copy of the config does not have them.

    Raises:
        ConfigError: before anything is built, if the config cannot be trained as it stands.
    """
    expand_home(cfg._cfg_dict)
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
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(f"work_dir={str(work_dir)!r} cannot be made ({error.strerror}): give another one.") from error
    cfg.work_dir = str(work_dir)
    _public(cfg).dump(str(work_dir / name))
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    with (
        _run_logger(work_dir / f"{timestamp}.log", cfg.get("log_level", "INFO")) as logger,
        _resume_where_it_runs(),
        _a_group_of_one(cfg),
    ):
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
        if cfg.get("checkpoint_config") is not None:
            cfg.checkpoint_config.meta = dict(mmgen_version=mmgen.__version__ + get_git_hash()[:7])
        meta = dict(env_info=env, config=_public(cfg).pretty_text, seed=seed, exp_name=name)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), *hooks, *own]
        train_model(model, [dataset], cfg, distributed=distributed, validate=True, timestamp=timestamp, meta=meta)
        logger.info("Everything of this run is in %s%s", work_dir, _what_is_in(work_dir))


def _own_hooks(cfg: Config, saved: Saved | None) -> list[dict[str, Any]]:
    """What each run has beside its config's hooks: the parts of a resume that the toolkit lacks."""
    hooks = []
    if saved is not None:
        hooks.append(dict(type="Resume", cfg=copy.copy(cfg), saved=saved, priority="HIGHEST"))
    if minmax_settings(cfg) is None:  # MinMaxHook sees to it itself
        run = (saved.meta if saved else {}).get("run")
        hooks.append(dict(type="ExactResume", saved=run and RunMeta(run), priority="HIGHEST"))
    return hooks


def _public(cfg: Config) -> Config:
    """The config without passwords and tokens, for what others may see: its copy, the log, the checkpoints."""
    return Config(hide_in(cfg._cfg_dict.to_dict()))


LEFT = {  # what a run may leave, and what it is
    "**/iter_*.pth": "checkpoint",
    "metrics.jsonl": "what was measured",
    "decisions.jsonl": "every decision",
    "samples/*.png": "samples",
    "training_samples/*.png": "samples",
    "tf_logs": "curves and samples, for tensorboard --logdir",
}


def _what_is_in(work_dir: Path) -> str:
    """A line for each kind of thing that a run has left: the last one of its kind."""
    newest = {what: max(found) for pattern, what in LEFT.items() if (found := _by_number(work_dir.glob(pattern)))}
    return "".join(f"\n  {path.relative_to(work_dir)}: {what}" for what, (_, path) in newest.items())


def _by_number(paths: Iterable[Path]) -> list[tuple[int, Path]]:
    return [(int("".join(filter(str.isdigit, path.stem)) or 0), path) for path in paths]


@contextlib.contextmanager
def _a_group_of_one(cfg: Config) -> Iterator[None]:
    # Progressive growing changes its batch size on the way, which the toolkit can only do in a process group.
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
    # The toolkit keeps one logger a process, bound to its first file. A process may train several configs
    # in turn (a search does), each with a log of its own; and whatever has logged before may have bound it to none.
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


@contextlib.contextmanager
def _resume_where_it_runs() -> Iterator[None]:
    # runner.resume() asks for a CUDA device even where there is none, and train_model calls it without
    # arguments.
    if torch.cuda.is_available():
        yield
        return
    classes: list[type[BaseRunner]] = [IterBasedRunner, DynamicIterBasedRunner]
    stock = [cls.resume for cls in classes]
    try:
        for cls, resume in zip(classes, stock, strict=True):
            cls.resume = functools.partialmethod(resume, map_location="cpu")  # type: ignore[assignment]
        yield
    finally:
        for cls, resume in zip(classes, stock, strict=True):
            cls.resume = resume  # type: ignore[method-assign]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minmax-train", description="Train a GAN config, with or without MinMax.")
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir",
        help="where logs, checkpoints and samples go (default: the config's work_dir, else work_dirs/CONFIG)",
    )
    parser.add_argument(
        "--minmax",
        nargs="?",
        const="practical",
        choices=sorted(PRESETS),
        help="opt in: train this config by MinMax, with a preset (default: practical)",
    )
    parser.add_argument("--print-config", action="store_true", help="print the merged config and do nothing else")
    parser.add_argument(
        "--resume-from",
        metavar="CHECKPOINT",
        help="checkpoint to resume from; 'auto' for the last whole one in the work dir, if there is one",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="log curves and samples to TensorBoard too, in WORK_DIR/tf_logs"
    )
    parser.add_argument("--no-validate", action="store_true", help="skip the config's evaluation")
    parser.add_argument("--gpu-id", type=int, default=0, help="GPU to use, where there is one (default: 0)")
    parser.add_argument("--seed", type=int, default=2021, help="random seed (default: 2021)")
    parser.add_argument("--diff-seed", "--diff_seed", action="store_true", help="a seed of its own for each rank")
    parser.add_argument("--deterministic", action="store_true", help="deterministic cuDNN")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="settings to override, as a.b=value"
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="job launcher (needs CUDA)"
    )
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code: 2 for a config that cannot be trained, 1 for a training that diverged."""
    args = parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    warnings.filterwarnings("ignore", message="setting max_iters in run is deprecated")
    try:
        cfg = load_config(args.config, args.cfg_options)
        if args.minmax is not None:
            opt_in(cfg, args.minmax)
        if args.tensorboard:
            log_to_tensorboard(cfg)
        if args.print_config:
            check_config(cfg, paths=False)
            print(cfg.pretty_text)
            return 0
        multiprocessing.set_start_method(cfg.get("mp_start_method", "fork"), force=True)
        cv2.setNumThreads(cfg.get("opencv_num_threads", 0))
        default = Path("work_dirs") / Path(args.config).stem
        cfg.work_dir = str(Path(args.work_dir or cfg.get("work_dir") or default).expanduser())
        cfg.gpu_ids = [args.gpu_id]
        if args.no_validate:
            cfg.evaluation = None  # nor are its data needed
        if args.resume_from:
            cfg.resume_from = os.path.expanduser(args.resume_from)
        if cfg.get("resume_from") == "auto":
            cfg.resume_from = last_whole(cfg.work_dir, (cfg.get("checkpoint_config") or {}).get("out_dir"))
            print(
                f"minmax-train: resumes from {cfg.resume_from}"
                if cfg.resume_from
                else NOTHING_WHOLE.format(cfg.work_dir)
            )
        elif cfg.get("resume_from"):
            check_whole(cfg.resume_from)
        check_config(cfg)
        check_seed(args.seed)
        if args.launcher != "none":
            init_dist(args.launcher, **cfg.dist_params)
        train(
            cfg,
            name=Path(args.config).name,
            seed=args.seed,
            deterministic=args.deterministic,
            rank_shift=args.diff_seed,
            distributed=args.launcher != "none",
        )
    except (ConfigError, FileNotFoundError) as error:
        print(f"minmax-train: error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"minmax-train: stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minmax-train: interrupted; what was saved is in the work dir", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
