"""The methods whose gradient goes through the other player's steps: unrolling and LEAD.

Unrolling is written here because its libraries, torchopt and higher, had their last releases in 2023 and 2020. The
released code of LEAD is a script for each experiment.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Adam, Optimizer

from minmax_plugin.baselines.optimizers import adam_direction
from minmax_plugin.baselines.rounds import Baseline, Loss, differentiate, trained
from minmax_plugin.checks import check_count, check_not_negative


def check_unrollable(optimizer: Optimizer, name: str = "max_optimizer") -> None:
    """Refuse an optimizer whose steps :class:`Unrolled` cannot imagine.

    Args:
        optimizer: The max player's optimizer.
        name: Its name in messages.

    Raises:
        ValueError: If it is not Adam or SGD in its plain form.

    Examples:
        >>> check_unrollable(SGD([torch.zeros(1)], lr=0.1, momentum=0.9))
        Traceback (most recent call last):
        ValueError: max_optimizer must have momentum 0 to be unrolled, but got 0.9.
    """
    if not isinstance(optimizer, (Adam, SGD)):
        raise ValueError(f"{name} must be of type 'Adam' or 'SGD', but got {type(optimizer).__name__!r}.")
    for group in optimizer.param_groups:
        for setting in ("weight_decay", "momentum", "amsgrad"):
            if group.get(setting, 0):
                raise ValueError(f"{name} must have {setting} 0 to be unrolled, but got {group[setting]!r}.")


@dataclasses.dataclass(eq=False)
class Unrolled(Baseline):
    """Unrolled GAN: the min player's gradient goes through k imagined steps of the max player.

    The max player takes one real step. Then θ⁰ is its parameters, and θ^{i+1} is where its optimizer would step from
    θ^i on ``max_loss``. The min player descends ``min_loss`` at θ^k, and differentiates θ^k too (Metz et al. 2017,
    arXiv:1611.02163, sections 2.2 and 2.3). That paper's experiments have Adam, its formulas SGD.

    The imagined steps do not change the max player's own parameters, moments and buffers. Memory and time grow with
    k. So the method is for small networks, and for plain loops alone.

    ``max_loss`` must not detach the min player's output. For the paper's gradient ``min_loss`` must be all of f: the
    half on real data depends on the min player too, through θ^k. The paper's public demonstration uses one batch in
    all k + 1 losses. Here the two functions draw their own batches.

    Args:
        module: The max player's module, which the losses call. ``max_optimizer`` has its parameters.
        k: The number of imagined steps, 1 or more.

    Raises:
        ValueError: If ``k`` is out of range, or ``max_optimizer`` has parameters that are not in ``module``. If
            ``max_optimizer`` is not Adam or SGD in its plain form: no weight decay, no momentum for SGD, no AMSGrad.
            In a round, if ``max_loss`` does not depend on the min player.
    """

    module: nn.Module
    k: int = 6

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_unrollable(self.max_optimizer)
        moved = set(trained(self.max_optimizer))
        self._parameters = {name: p for name, p in self.module.named_parameters() if p in moved}
        missing = len(moved) - len(self._parameters)
        if missing:
            raise ValueError(f"module must hold the parameters of max_optimizer, but lacks {missing} of them.")

    def __call__(self) -> None:
        self.ascend()
        self.descend()

    def ascend(self) -> None:
        """Take the max player's real step."""
        differentiate(self.max_loss, self.max_optimizer)
        self.max_optimizer.step()

    def descend(self) -> None:
        """Take the min player's step, through the imagined ones."""
        differentiate(self._loss_after_answer, self.min_optimizer)
        self.min_optimizer.step()

    def _loss_after_answer(self) -> Tensor:
        holder = _Holder(self.module)
        buffers = {name: b.clone() for name, b in holder.named_buffers()}
        theta = dict(self._parameters)
        groups = {p: group for group in self.max_optimizer.param_groups for p in group["params"]}
        states = {name: dict(self.max_optimizer.state.get(p, {})) for name, p in theta.items()}

        def at_theta(loss: Loss) -> Tensor:
            swapped = {f"module.{name}": p for name, p in theta.items()}
            return functional_call(holder, {**buffers, **swapped}, (loss,))

        for i in range(self.k):
            loss = at_theta(self.max_loss)
            if i == 0:
                self._check_dependence(loss)
            gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True, allow_unused=True)
            for (name, p), gradient in zip(list(theta.items()), gradients, strict=True):
                if gradient is not None:
                    group = groups[self._parameters[name]]
                    theta[name] = p - group["lr"] * _direction(gradient, states[name], group)
        return at_theta(self.min_loss)

    def _check_dependence(self, max_loss: Tensor) -> None:
        gradients = torch.autograd.grad(max_loss, trained(self.min_optimizer), retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in gradients):
            raise ValueError("max_loss must depend on the min player to be unrolled: do not detach its output.")


class _Holder(nn.Module):
    """Calls a function while ``functional_call`` has other tensors in place of the module's own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Loss) -> Tensor:
        return function()


def _direction(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Compute the differentiable direction of torch's Adam or SGD, and update ``state``."""
    if group["maximize"]:
        gradient = -gradient
    if "betas" not in group:
        return gradient
    step = int(state.get("step", 0)) + 1
    m, v = state.get("exp_avg", 0.0), state.get("exp_avg_sq", 0.0)
    m, v, direction = adam_direction(gradient, m, v, step, group["betas"], group["eps"])
    state.update(step=step, exp_avg=m, exp_avg_sq=v)
    return direction


@dataclasses.dataclass(eq=False)
class Lead(Baseline):
    """LEAD, least-action dynamics: each player's gradient takes in how the other player just moved.

    Both players step from one point. η is the learning rate, β the momentum and Δ the last change:

    - x ← x + βΔx − η (∇_x f + α ∇_xy f Δy)
    - y ← y + βΔy + η (∇_y f + α ∇_yx f Δx)

    With torch's SGD this is the update that Askari Hemmat et al. 2023 (arXiv:2010.13846) name LEAD. With Adam the
    corrected gradient takes the place of the gradient, as in that paper's experiments with GANs.

    Departures: the coefficient of the paper's formula is the product ηα. The released code has α alone, as here. The
    mixed derivative is of the player's own loss. The released code takes it of the other player's loss, at that
    player's last turn. For f and −f at one point the two are the same.

    Args:
        alpha: The weight α of the correction, 0 or more. With 0 this is simultaneous descent-ascent. The released
            script for eight Gaussians has 0.6.

    Raises:
        ValueError: If ``alpha`` is out of range. In a round after the first, if a loss does not depend on both players.
    """

    alpha: float = 0.6

    def __post_init__(self) -> None:
        check_not_negative(alpha=self.alpha)

    def __call__(self) -> None:
        differentiate(self._corrected_max_loss, self.max_optimizer)
        differentiate(self._corrected_min_loss, self.min_optimizer)
        _move(self.max_optimizer)
        _move(self.min_optimizer)

    def ascend(self) -> None:
        """Take the max player's step alone. Followed by :meth:`descend`, the players take turns."""
        differentiate(self._corrected_max_loss, self.max_optimizer)
        _move(self.max_optimizer)

    def descend(self) -> None:
        """Take the min player's step alone."""
        differentiate(self._corrected_min_loss, self.min_optimizer)
        _move(self.min_optimizer)

    def _corrected_max_loss(self) -> Tensor:
        return self._corrected("max_loss", self.max_loss(), self.min_optimizer)

    def _corrected_min_loss(self) -> Tensor:
        return self._corrected("min_loss", self.min_loss(), self.max_optimizer)

    def _corrected(self, name: str, loss: Tensor, other: Optimizer) -> Tensor:
        """Add α times the loss's slope along the other player's last move: its gradient is α ∇_xy f Δy."""
        moves = {
            p: p.detach() - before.to(p)  # .to: what was loaded may lie on another device
            for group in other.param_groups
            for p, before in zip(group["params"], group.get("lead_previous", ()), strict=False)
            if p.requires_grad
        }
        if not moves:
            return loss  # the other player has not moved yet
        slopes = torch.autograd.grad(loss, list(moves), create_graph=True, allow_unused=True)
        terms = [(g * move).sum() for g, move in zip(slopes, moves.values(), strict=True) if g is not None]
        if not terms:
            raise ValueError(f"{name} must depend on both players for LEAD: do not detach the other one's output.")
        return loss + self.alpha * torch.stack(terms).sum()


def _move(optimizer: Optimizer) -> None:
    """Take a step, and keep where it began."""
    for group in optimizer.param_groups:  # in the group, as LookaheadMinmax has it
        group["lead_previous"] = [p.detach().clone() for p in group["params"]]
    optimizer.step()
