"""Arguments that several commands take."""

from __future__ import annotations

import argparse

from minmax_plugin.settings import DEFAULT_PRESET, PRESETS


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="settings to override, as a.b=value"
    )


def add_minmax(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minmax",
        nargs="?",
        const=DEFAULT_PRESET,
        choices=sorted(PRESETS),
        help=f"opt in: train this config by MinMax, with a preset (default: {DEFAULT_PRESET})",
    )
