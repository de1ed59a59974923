"""The command ``minmax-train CONFIG``, with the flags of the toolkit's own training script."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from minmax_plugin.cli.arguments import add_minmax, add_options
from minmax_plugin.errors import ConfigError, is_full_disk, one_line
from minmax_plugin.secrets import show_traceback

NOTHING_WHOLE = "no whole checkpoint in {}: starts from the beginning"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minmax-train", description="Train a GAN config, with or without MinMax.")
    parser.add_argument("config", help="config file, yours or one of the toolkit's own; before --minmax")
    parser.add_argument(
        "--work-dir",
        help="where logs, checkpoints and samples go (default: the config's work_dir, else work_dirs/CONFIG)",
    )
    add_minmax(parser)
    parser.add_argument("--print-config", action="store_true", help="print the merged config and do nothing else")
    parser.add_argument(
        "--resume-from",
        metavar="CHECKPOINT",
        help="checkpoint to resume from; 'auto' for the last intact one in the work dir, if there is one",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="log curves and samples to TensorBoard too, in WORK_DIR/tf_logs"
    )
    parser.add_argument("--no-validate", action="store_true", help="skip the config's evaluation")
    parser.add_argument("--gpu-id", type=int, help="GPU to use, where there is one (default: the config's, else 0)")
    parser.add_argument("--seed", type=int, help="random seed (default: the config's, else 2021)")
    parser.add_argument("--diff-seed", "--diff_seed", action="store_true", help="another seed for each rank")
    parser.add_argument("--deterministic", action="store_true", help="deterministic cuDNN")
    add_options(parser)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher (all but pytorch need CUDA)",
    )
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. It returns 2 for a config that cannot be trained, and 1 for a training that diverged."""
    args = parse_args(argv)
    sys.excepthook = show_traceback  # a config may hold a token, and an error may show it
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    warnings.filterwarnings("ignore", message="setting max_iters in run is deprecated")

    from minmax_plugin.config_kind import is_for_mmengine

    try:
        (_train_mmengine if is_for_mmengine(args.config) else _train_mmgen)(args)
    except (ConfigError, FileNotFoundError) as error:
        print(f"minmax-train: error: {one_line(error)}.", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"minmax-train: stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minmax-train: interrupted; what was saved is in the work dir", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_full_disk(error):
            raise
        said = f"the disk is full ({one_line(error)}): make room, then --resume-from the last checkpoint"
        print(f"minmax-train: error: {said}", file=sys.stderr)
        return 1
    return 0


def _train_mmgen(args: argparse.Namespace) -> None:
    from minmax_plugin.mmgen.check import check_config, check_seed
    from minmax_plugin.mmgen.checkpoints import check_intact, last_intact
    from minmax_plugin.mmgen.config import load_config, opt_in, parse_options
    from minmax_plugin.mmgen.tensorboard import log_to_tensorboard
    from minmax_plugin.mmgen.train import set_up_process, train

    cfg = load_config(args.config, parse_options(args.cfg_options))
    if args.minmax is not None:
        opt_in(cfg, args.minmax)
    if args.tensorboard:
        log_to_tensorboard(cfg)
    if args.print_config:
        check_config(cfg, paths=False)
        print(cfg.pretty_text)
        return
    default = Path("work_dirs") / Path(args.config).stem
    cfg.work_dir = os.path.expanduser(args.work_dir or cfg.get("work_dir") or default)
    if args.gpu_id is not None or "gpu_ids" not in cfg:
        cfg.gpu_ids = [args.gpu_id or 0]
    if args.no_validate:
        cfg.evaluation = None  # nor are its data needed
    if args.resume_from:
        cfg.resume_from = os.path.expanduser(args.resume_from)
    if cfg.get("resume_from") == "auto":
        cfg.resume_from = last_intact(cfg.work_dir, (cfg.get("checkpoint_config") or {}).get("out_dir"))
        found = f"resumes from {cfg.resume_from}" if cfg.resume_from else NOTHING_WHOLE.format(cfg.work_dir)
        print(f"minmax-train: {found}")
    elif cfg.get("resume_from"):
        check_intact(cfg.resume_from)
    check_config(cfg)
    seed = cfg.get("seed", 2021) if args.seed is None else args.seed
    check_seed(seed)
    set_up_process(cfg, args.launcher)
    train(
        cfg,
        name=Path(args.config).name,
        seed=seed,
        deterministic=args.deterministic,
        rank_shift=args.diff_seed,
        distributed=args.launcher != "none",
    )


def _train_mmengine(args: argparse.Namespace) -> None:
    """Train a config of MMEngine, with the flags that the search and its reports give."""
    from minmax_plugin.hosts import host_of

    kept = ("config", "work_dir", "resume_from", "seed", "launcher", "local_rank")
    default = vars(parse_args([args.config]))
    for name, value in vars(args).items():
        if name not in kept and value != default[name]:
            raise ConfigError(f"--{name.replace('_', '-')} is for configs of MMGeneration alone: edit the config")
    host = host_of(args.config)
    cfg = host.load_config(args.config)
    cfg["launcher"] = args.launcher
    folder = Path(os.path.expanduser(args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"))
    host.check_config(cfg)
    checkpoint = args.resume_from and Path(os.path.expanduser(args.resume_from))
    if checkpoint and not host.is_intact(checkpoint):
        raise ConfigError(f"--resume-from={str(checkpoint)!r} is no whole checkpoint: name another")
    seed = (cfg.get("randomness") or {}).get("seed", 2021) if args.seed is None else args.seed
    host.train(cfg, folder, seed, checkpoint, None)


if __name__ == "__main__":
    sys.exit(main())
