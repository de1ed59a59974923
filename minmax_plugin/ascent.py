"""Ascents of the max player: f and its gradients within a box, for :mod:`minmax_plugin.equilibrium`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from minmax_plugin.checks import check_positive

Function = Callable[[Tensor, Tensor], Tensor]
Bounds = tuple[float | Tensor, float | Tensor]


class Ascent(NamedTuple):
    """Where an ascent ended, and how."""

    y: Tensor
    value: float
    outcome: str  # "converged", "above the target", or one of the reasons of Solution


class Oracle:
    """f, its gradients and the ascent within the box. It counts its calls."""

    def __init__(
        self, f: Function, like: Tensor, bounds: Bounds | None, eta: float, max_ascent_steps: int, limit: float
    ) -> None:
        check_positive(eta=eta, max_ascent_steps=max_ascent_steps, limit=limit)
        self._f = f
        self._box = None if bounds is None else tuple(torch.as_tensor(side).to(like) for side in bounds)
        self._eta = eta
        self._max_ascent_steps = max_ascent_steps
        self._limit = limit
        self.values = self.gradients_x = self.gradients_y = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.values += 1
        value = self._f(x, y)
        if not (isinstance(value, Tensor) and value.numel() == 1):
            raise ValueError(f"f must return a tensor with one element, but returned {value!r}.")
        return value

    def project(self, point: Tensor) -> Tensor:
        return point if self._box is None else point.clamp(*self._box)

    def gradient_x(self, x: Tensor, y: Tensor) -> Tensor:
        self.gradients_x += 1
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return _gradient(self(x, y), x, "x")

    def slope(self, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
        """Compute f, and the part of ∇y f that does not point out of the box."""
        self.gradients_y += 1
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            value = self(x, y)
            gradient = _gradient(value, y, "y")
        if self._box is not None:
            low, high = self._box
            gradient = gradient.masked_fill(((y <= low) & (gradient < 0)) | ((y >= high) & (gradient > 0)), 0)
        return value.item(), gradient

    def ascend(self, x: Tensor, y: Tensor, tolerance: float, target: float = math.inf) -> Ascent:
        """Ascend f(x, ·) from y until the slope is within the tolerance, or f is above the target."""
        origin, first = y, math.nan
        for step in range(self._max_ascent_steps + 1):
            value, gradient = self.slope(x, y)
            norm = gradient.norm().item()
            first = value if step == 0 else first
            if value > target:
                return Ascent(y, value, "above the target")
            if value - first > self._limit:
                return Ascent(y, value, "unbounded")
            if not (math.isfinite(value) and math.isfinite(norm)):
                return Ascent(y, value, "non-finite")
            if norm <= tolerance:
                return Ascent(y, value, "converged")
            if (y - origin).norm().item() > self._limit:
                # y runs away although f falls where the steps are too long, and then f may be bounded.
                return Ascent(y, value, "unbounded" if value > first else "ascent did not converge")
            y = self.project(y + self._eta * gradient)
        return Ascent(y, value, "ascent did not converge")


def _gradient(value: Tensor, point: Tensor, name: str) -> Tensor:
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
    if gradient is None:  # not taken for zero: f may have been detached by mistake
        raise ValueError(f"f must be differentiable in {name} by autograd, but its value does not depend on it.")
    return gradient
