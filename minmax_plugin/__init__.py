"""Min-max optimisation by accept and reject, for GANs and other two-player games.

The core of the algorithm of Mangoubi and Vishnoi (arXiv:2006.12376). Importing this package needs torch
alone; ``minmax_plugin.mmgen`` adds what MMGeneration needs.
"""

from minmax_plugin.acceptance import (
    Acceptance,
    Always,
    Annealed,
    Comparison,
    ConstantRate,
    DecreasingTemperature,
    Matched,
    Never,
    Periodic,
    RandomRate,
    Significant,
    Strict,
    build_acceptance,
)
from minmax_plugin.baselines import BASELINES, build_baseline
from minmax_plugin.equilibrium import Certificate, Solution, certify, solve
from minmax_plugin.game import Decision, MinMaxGame
from minmax_plugin.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam
from minmax_plugin.presets import PRESETS, preset
from minmax_plugin.snapshot import Player, Restore
from minmax_plugin.value import Estimate, Estimator, FreshBatch, LastAscent, inference

__version__ = "0.1.0"

__all__ = [
    "BASELINES",
    "PRESETS",
    "Acceptance",
    "Always",
    "Annealed",
    "Certificate",
    "Comparison",
    "ConstantRate",
    "Decision",
    "DecreasingTemperature",
    "Estimate",
    "Estimator",
    "ExtraAdam",
    "FreshBatch",
    "LastAscent",
    "LookaheadMinmax",
    "Matched",
    "MinMaxGame",
    "Never",
    "OptimisticAdam",
    "Periodic",
    "Player",
    "RandomRate",
    "Restore",
    "Significant",
    "Solution",
    "Strict",
    "build_acceptance",
    "build_baseline",
    "certify",
    "inference",
    "preset",
    "solve",
]
