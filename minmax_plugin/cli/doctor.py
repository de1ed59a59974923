"""The command ``minmax-doctor [CONFIG]``: what is installed and repaired, and what MinMax does with a config."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minmax_plugin.cli.arguments import add_minmax, add_options
from minmax_plugin.errors import ConfigError
from minmax_plugin.installed import installed

PACKAGES = (
    "minmax-plugin", "torch", "torchvision", "mmcv", "mmcv-full", "mmgen", "mmcls", "numpy", "ray", "optuna"
)  # fmt: skip


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="minmax-doctor",
        description="Say what is installed and repaired, and whether and how MinMax will drive a config.",
        epilog="Exit code: 0 if all is well, 1 if MinMax cannot drive the config, 2 if there is no such config.",
    )
    parser.add_argument("config", nargs="?", help="config file, yours or one of the toolkit's own")
    add_minmax(parser)
    add_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code."""
    args = parse_args(argv)

    from minmax_plugin.mmgen.config import load_config, opt_in, parse_options
    from minmax_plugin.mmgen.doctor import examine, hardware
    from minmax_plugin.mmgen.shims import active_shims

    print("Installed")
    for name, version in installed(PACKAGES).items():
        print(f"  {name}: {version}")
    print("Repairs of the toolkit")
    for name, why in active_shims.items():
        print(f"  {name}: {why}")
    if not active_shims:
        print("  none are needed")
    print("Hardware")
    for line in hardware():
        print(f"  {line}")
    if args.config is None:
        return 0
    try:
        cfg = load_config(args.config, parse_options(args.cfg_options))
        if args.minmax is not None:
            opt_in(cfg, args.minmax)
    except (ConfigError, FileNotFoundError) as error:
        print(f"minmax-doctor: error: {error}", file=sys.stderr)
        return 2
    verdict = examine(cfg)
    print(f"{args.config}\n  MinMax {'can' if verdict.drives else 'CANNOT'} drive it: {verdict.reason}")
    if verdict.drives:
        print("  One iteration")
        for number, line in enumerate(verdict.order, 1):
            print(f"    {number}. {line}")
        print("  Memory")
        for name, size in verdict.memory.items():
            print(f"    {name}: {size:.1f} MiB")
    return 0 if verdict.drives else 1


if __name__ == "__main__":
    sys.exit(main())
