"""The maps of stability and the tables of bad steps.

``python -m experiments.stability map --task ring8`` adds what is missing to the map of eight Gaussians,
``bad-steps`` to the tables of bad steps, and ``pictures`` draws both from the committed tables. One thread; a seed of
a map takes about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.stability.bad_steps import LOSSES, write_bad_steps
from experiments.stability.maps import write_map
from experiments.stability.methods import METHODS
from experiments.stability.pictures import IMAGES, draw_all
from experiments.stability.remedies import REMEDIES
from experiments.stability.results import RESULTS
from experiments.stability.tasks import TASKS
from experiments.stability.troubles import TROUBLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawn = commands.add_parser("map", help="train methods over a map of learning rates")
    drawn.add_argument("--task", choices=TASKS, default="ring8")
    drawn.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    drawn.add_argument("--seeds", type=int, help="of each method; by default 4, 8 for those that decide")
    drawn.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    bad = commands.add_parser("bad-steps", help="train with bad steps under every remedy")
    bad.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES), metavar="LOSSES")
    bad.add_argument("--troubles", nargs="+", choices=TROUBLES, default=list(TROUBLES), metavar="TROUBLE")
    bad.add_argument("--remedies", nargs="+", choices=REMEDIES, default=list(REMEDIES), metavar="REMEDY")
    bad.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    pictures = commands.add_parser("pictures", help="draw what the committed tables have")
    pictures.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # runs that have collapsed would take three times as long
    if args.command == "map":
        write_map(args.task, args.methods, args.seeds, args.out)
    elif args.command == "pictures":
        draw_all(RESULTS, args.out)
    else:
        write_bad_steps(args.losses, args.troubles, args.remedies, args.out)


if __name__ == "__main__":
    main()
