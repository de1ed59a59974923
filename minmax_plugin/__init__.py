"""Min-max optimisation by accept and reject, for GANs and other two-player games.

The core of the algorithm of Mangoubi and Vishnoi (arXiv:2006.12376). Importing this package needs torch
alone; ``minmax_plugin.mmgen`` adds what MMGeneration needs.
"""

from minmax_plugin.acceptance import (
    Acceptance,
    Always,
    ConstantRate,
    Never,
    RandomRate,
    Strict,
    build_acceptance,
)
from minmax_plugin.game import Decision, MinMaxGame
from minmax_plugin.snapshot import Player, Restore
from minmax_plugin.value import FreshBatch, inference

__version__ = "0.1.0"

__all__ = [
    "Acceptance",
    "Always",
    "ConstantRate",
    "Decision",
    "FreshBatch",
    "MinMaxGame",
    "Never",
    "Player",
    "RandomRate",
    "Restore",
    "Strict",
    "build_acceptance",
    "inference",
]
