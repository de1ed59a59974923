"""The methods that the algorithm is compared with: optimizers for one player, and rounds of both."""

from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam
from minmax_plugin.baselines.rounds import BASELINES, Unrolled, build_baseline, check_unrollable

__all__ = [
    "BASELINES",
    "ExtraAdam",
    "LookaheadMinmax",
    "OptimisticAdam",
    "Unrolled",
    "build_baseline",
    "check_unrollable",
]
