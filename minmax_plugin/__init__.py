"""Min-max optimisation by accept and reject, for GANs and other two-player games.

This is the core of the algorithm of Mangoubi and Vishnoi (arXiv:2006.12376). Importing this package needs torch
alone. ``minmax_plugin.mmgen`` adds the parts for MMGeneration.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minmax_plugin.acceptance import Acceptance, Always, Annealed, Comparison, ConstantRate, Strict
    from minmax_plugin.decision import Decision
    from minmax_plugin.equilibrium import Certificate, Solution, certify, solve
    from minmax_plugin.estimators import Estimate, Estimator, FreshBatch, LastBatch, PairedBatch
    from minmax_plugin.game import MinMaxGame
    from minmax_plugin.outliers import Outlier
    from minmax_plugin.player import Player
    from minmax_plugin.policies import Significant, build_acceptance
    from minmax_plugin.randomness import inference
    from minmax_plugin.settings import PRESETS, MinMaxSettings
    from minmax_plugin.snapshot import Restore

__version__ = "0.2.0"

# Loaded at the first use of the name (PEP 562), so that a command's --help does not wait for torch.
_HOME = {
    "acceptance": "Acceptance Always Annealed Comparison ConstantRate Strict",
    "decision": "Decision",
    "equilibrium": "Certificate Solution certify solve",
    "estimators": "Estimate Estimator FreshBatch LastBatch PairedBatch",
    "game": "MinMaxGame",
    "outliers": "Outlier",
    "player": "Player",
    "policies": "Significant build_acceptance",
    "randomness": "inference",
    "settings": "PRESETS MinMaxSettings",
    "snapshot": "Restore",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "PRESETS",
    "Acceptance",
    "Always",
    "Annealed",
    "Certificate",
    "Comparison",
    "ConstantRate",
    "Decision",
    "Estimate",
    "Estimator",
    "FreshBatch",
    "LastBatch",
    "MinMaxGame",
    "MinMaxSettings",
    "Outlier",
    "PairedBatch",
    "Player",
    "Restore",
    "Significant",
    "Solution",
    "Strict",
    "build_acceptance",
    "certify",
    "inference",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
