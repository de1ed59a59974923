"""The methods by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch.optim import Optimizer

from minmax_plugin.baselines.rounds import (
    Alternating,
    Baseline,
    Extragradient,
    Lookahead,
    Loss,
    Optimistic,
    Simultaneous,
    TimeScaleAdaptive,
)
from minmax_plugin.baselines.second_order import Lead, Unrolled

BASELINES: dict[str, type[Baseline]] = {
    "gda-simultaneous": Simultaneous,
    "gda-alternating": Alternating,
    "omd": Optimistic,
    "extragradient": Extragradient,
    "lookahead": Lookahead,
    "unrolled": Unrolled,
    "lead": Lead,
    "tiada": TimeScaleAdaptive,
}


def build_baseline(
    name: str, min_optimizer: Optimizer, max_optimizer: Optimizer, min_loss: Loss, max_loss: Loss, **settings: Any
) -> Baseline:
    """Build a method from its name.

    Args:
        name: A name in :data:`BASELINES`.
        min_optimizer: The min player's optimizer, of the kind ``BASELINES[name].optimizer``.
        max_optimizer: The max player's optimizer, of the same kind.
        min_loss: The min player's loss, as for :class:`Baseline`.
        max_loss: The max player's loss, as for :class:`Baseline`.
        settings: The method's own settings: ``k`` for ``gda-alternating``, ``lookahead`` and ``unrolled``, ``period``
            and ``alpha`` for ``lookahead``, ``module`` for ``unrolled``, ``alpha`` for ``lead``.

    Raises:
        ValueError: If the name is unknown. If a setting is missing, out of range, or not one of the method's.

    Examples:
        >>> import torch
        >>> for name in ("gda-alternating", "omd", "extragradient"):
        ...     x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        ...     kind = BASELINES[name].optimizer
        ...     def f():
        ...         return (x * y).sum()
        ...     play = build_baseline(name, kind([x], lr=0.1), kind([y], lr=0.1), f, lambda: -f())
        ...     for _ in range(10):
        ...         play()
    """
    if name not in BASELINES:
        raise ValueError(f"name must be one of {sorted(BASELINES)}, but got {name!r}.")
    method = BASELINES[name]
    common = {field.name for field in dataclasses.fields(Baseline)}
    known = [field.name for field in dataclasses.fields(method) if field.name not in common]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"baseline {name!r} takes {known}, but got {unknown}.")
    if "module" in known and "module" not in settings:
        raise ValueError(f"baseline {name!r} needs module, the max player's, but got none.")
    return method(min_optimizer, max_optimizer, min_loss, max_loss, **settings)
