"""What a game reads at a decision: f in plain numbers, averaged over the ranks, and whether all is finite."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from minmax_plugin.value import Estimate


class Reading(NamedTuple):
    """An :class:`Estimate` in plain numbers, and whether it and all weights are finite."""

    f_new: float
    standard_error: float
    f_old: float | None
    difference_error: float
    finite: bool


@torch.no_grad()
def read(estimate: Estimate, weights: Tensor, group: Any = None) -> Reading:
    """Read an estimate and the norm of all weights.

    Everything is read at once: one synchronisation, one reduction. What is not finite on one rank is not finite in
    the sum.

    Args:
        estimate: of f, on this rank.
        weights: the norm of all weights, which says on what device the reduction runs.
        group: the process group.

    Raises:
        ValueError: if a value of the estimate is not one real number.

    Examples:
        >>> read(Estimate(torch.tensor([0.5])), torch.ones(())).f_new
        0.5
        >>> read(Estimate(torch.ones(4)), torch.ones(()))
        Traceback (most recent call last):
        ValueError: f_new must be one real number, but got a tensor of shape (4,): give the mean of f.
    """
    again = estimate.f_old is not None
    given = {
        "f_new": estimate.f_new,
        "f_old": estimate.f_old if again else math.nan,
        "standard_error": estimate.standard_error,
        "difference_error": estimate.difference_error,
    }
    f_new, f_old, *errors = (_number(name, value, weights.device) for name, value in given.items())
    read = torch.stack([weights, f_new, f_old, *(error**2 for error in errors)])
    ranks = 1
    if distributed.is_available() and distributed.is_initialized():
        ranks = distributed.get_world_size(group)
        distributed.all_reduce(read, group=group)
    weight_norm, f, old, variance, difference = (read / ranks).tolist()
    finite = all(map(math.isfinite, (weight_norm, f, *([old] if again else []))))
    # The ranks' batches are independent: the variance of their mean is the mean variance over their number.
    return Reading(f, math.sqrt(variance / ranks), old if again else None, math.sqrt(difference / ranks), finite)


def _number(name: str, value: Any, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.is_complex():
            return value.detach().to(device, torch.float64).reshape(())
        kind = "complex tensor" if value.is_complex() else "tensor"
        mend = ": give the mean of f" if value.numel() > 1 else ""
        raise ValueError(f"{name} must be one real number, but got a {kind} of shape {tuple(value.shape)}{mend}.")
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return torch.as_tensor(float(value), dtype=torch.float64, device=device)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be one real number, but got {value!r}.") from None
