"""The methods that the algorithm is compared with: optimizers for one player, and rounds of both."""

from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam
from minmax_plugin.baselines.registry import BASELINES, build_baseline
from minmax_plugin.baselines.second_order import Lead, Unrolled, check_unrollable
from minmax_plugin.baselines.tiada import TiAda, couple

__all__ = [
    "BASELINES",
    "ExtraAdam",
    "Lead",
    "LookaheadMinmax",
    "OptimisticAdam",
    "TiAda",
    "Unrolled",
    "build_baseline",
    "check_unrollable",
    "couple",
]
