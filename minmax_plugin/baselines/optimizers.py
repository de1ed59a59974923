"""The optimizers of the methods that the algorithm is compared with; each works alone in a plain loop.

They are written here because no maintained library has them in a form that fits. The ExtraAdam of cooper-optim gives
the parameters new storage and loses an open extrapolation on saving. The Lookahead of pytorch-optimizer is for one
player. The optimistic Adam of optax is for JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from minmax_plugin.checks import check_above_0, check_count, check_not_negative


def adam_direction(
    gradient: Tensor, m: Tensor | float, v: Tensor | float, step: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute Adam's moments m and v after gradient number ``step`` (from 1), and its direction m̂ / (√v̂ + ε)."""
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    # √ has no derivative at 0, where the v of a dead unit stays; unrolling differentiates this.
    root = torch.where(v > 0, torch.where(v > 0, v, 1.0).sqrt(), 0.0)
    return m, v, m / (1 - beta1**step) / (root / math.sqrt(1 - beta2**step) + eps)


class _AdamDirections(Optimizer):
    """Base of the optimizers that use Adam's direction in another way than Adam."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_not_negative(lr=lr)
        if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas must be two numbers of 0 or more and below 1, but got {betas!r}.")
        check_above_0("eps", eps)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, maximize=maximize))

    def _directions(self) -> Iterator[tuple[Tensor, dict[str, Any], float, Tensor]]:
        """Take in the present gradients, and yield (parameter, its state, learning rate, direction d_t)."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                step = state.get("step", 0) + 1
                m, v, direction = adam_direction(
                    -p.grad if group["maximize"] else p.grad,
                    state.get("exp_avg", 0.0),
                    state.get("exp_avg_sq", 0.0),
                    step,
                    group["betas"],
                    group["eps"],
                )
                state.update(step=step, exp_avg=m, exp_avg_sq=v)
                yield p, state, group["lr"], direction


class OptimisticAdam(_AdamDirections):
    """Optimistic mirror descent in Adam's form: p ← p − 2·lr·d_t + lr·d_{t−1}.

    d_t = m̂_t / (√v̂_t + ε) is Adam's direction, and d_0 = 0 (Daskalakis et al. 2018, arXiv:1711.00141, Algorithm 1).
    Both players use it at once. With ``betas=(0, 0)`` and a large ``eps`` it is optimistic gradient descent with
    learning rate lr/ε.

    The first moment works against the optimism. On f = xy with lr 0.03 it converges for ``betas=(0, 0.999)``. It
    diverges for (0.9, 0.999), the defaults, which are Adam's. The optimizer does not clip the weights, as a
    Wasserstein loss needs it: that is the caller's part.

    Args:
        params: The parameters, or parameter groups.
        lr: The learning rate, 0 or more. Where it changes, the present one multiplies d_{t−1} too.
        betas: The decay rates of the two moments, each in [0, 1).
        eps: The ε added to √v̂, above 0.
        maximize: Whether to ascend in place of descending.

    Raises:
        ValueError: If a setting is out of range.

    Departure from the released code of that paper: it takes d_{t−1} with the bias correction of step t, and adds
    ε before the correction. Here both are as in its Algorithm 1.

    Examples:
        >>> p = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = OptimisticAdam([p], lr=0.1)
        >>> for _ in range(3):
        ...     p.grad = torch.ones(1)  # d_t = 1 each time
        ...     optimizer.step()
        ...     print(f"{p.item():.1f}")
        -0.2
        -0.3
        -0.4
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for p, state, lr, direction in self._directions():
            p.add_(direction, alpha=-2 * lr)
            if "previous_direction" in state:
                p.add_(state["previous_direction"], alpha=lr)
            state["previous_direction"] = direction
        return loss


class ExtraAdam(_AdamDirections):
    """Extragradient in Adam's form: look ahead with one gradient, then step from the start with a second one.

    :meth:`extrapolate` moves from p to p' = p − lr·d_t, and the caller takes the gradient there. Then :meth:`step`
    moves from p to p − lr·d_{t+1}. Adam's direction is d_t = m̂_t / (√v̂_t + ε), and its moments take in both
    gradients (Gidel et al. 2019, arXiv:1802.10551, Algorithm 4). Both players extrapolate before either takes its
    second gradient. With ``betas=(0, 0)`` and a large ``eps`` it is extragradient with learning rate lr/ε.

    Args:
        params: The parameters, or parameter groups.
        lr: The learning rate, 0 or more.
        betas: The decay rates of the two moments, each in [0, 1).
        eps: The ε added to √v̂, above 0.
        maximize: Whether to ascend in place of descending.

    Raises:
        ValueError: If a setting is out of range.

    Examples:
        >>> x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        >>> players = ExtraAdam([x], lr=0.1), ExtraAdam([y], lr=0.1, maximize=True)
        >>> for move in (ExtraAdam.extrapolate, ExtraAdam.step):
        ...     x.grad, y.grad = torch.autograd.grad((x * y).sum(), (x, y))
        ...     for player in players:
        ...         _ = move(player)
    """

    @property
    def extrapolated(self) -> bool:
        """Whether the parameters are at p' now."""
        return any("origin" in state for state in self.state.values())

    @torch.no_grad()
    def extrapolate(self) -> None:
        """Move the parameters to p', with the present gradient.

        Raises:
            RuntimeError: If the parameters are at p' already.
        """
        if self.extrapolated:
            raise RuntimeError("the last extrapolation is still open: call step() before extrapolate().")
        for p, state, lr, direction in self._directions():
            state["origin"] = p.clone()
            p.add_(direction, alpha=-lr)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step from p with the present gradient, taken at p'.

        Raises:
            RuntimeError: If the parameters are not at p'.
        """
        if not self.extrapolated:
            raise RuntimeError("there is no extrapolation to step from: call extrapolate() before step().")
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for p, state in self.state.items():
            if "origin" in state:
                p.copy_(state.pop("origin"))
        for p, _, lr, direction in self._directions():
            p.add_(direction, alpha=-lr)
        return loss


class LookaheadMinmax:
    """Joint backtracking: every ``period`` rounds, both players return part of the way to where they were.

    slow ← slow + α (fast − slow), fast ← slow, for the two players together (Chavdarova et al. 2021,
    arXiv:2006.14567, Algorithm 1). ``period`` is its k. The two optimizers train the fast weights. The optimizers'
    moments, and buffers such as batch norm's, stay as they are. So does that paper's released code. Its second
    level of slower weights is not here.

    The optimizers' parameter groups hold the slow weights and the number of rounds. So saving and loading the
    optimizers is enough to resume.

    Args:
        min_optimizer: The min player's optimizer, of any kind.
        max_optimizer: The max player's.
        period: The number of rounds from one backtracking to the next, 1 or more.
        alpha: The share α of the way from slow to fast that is kept, above 0 and up to 1. With 1 nothing changes.

    Raises:
        ValueError: If ``period`` or ``alpha`` is out of range.

    Examples:
        >>> x, y = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
        >>> lookahead = LookaheadMinmax(torch.optim.SGD([x]), torch.optim.SGD([y]), period=2, alpha=0.25)
        >>> for _ in range(2):
        ...     with torch.no_grad():  # in place of a step of both players
        ...         _ = x.add_(1), y.add_(-1)
        ...     print(lookahead.step(), x.item(), y.item())
        False 1.0 -1.0
        True 0.5 -0.5
    """

    def __init__(self, min_optimizer: Optimizer, max_optimizer: Optimizer, period: int = 5, alpha: float = 0.5) -> None:
        check_count("period", period)
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be above 0 and up to 1, but got {alpha!r}.")
        self.optimizers = (min_optimizer, max_optimizer)
        self.period = period
        self.alpha = alpha
        self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        """The parameter groups of both players. A group without slow weights gets the present ones."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:
            # In the group, and not in optimizer.state: Adam takes any state of a parameter for its own.
            if "lookahead_slow" not in group:
                group["lookahead_slow"] = [p.detach().clone() for p in group["params"]]
                group["lookahead_rounds"] = 0
        return groups

    @torch.no_grad()
    def step(self) -> bool:
        """Count a round, in which both players have stepped, and backtrack if it is the ``period``-th.

        Returns:
            Whether it backtracked. Fast and slow weights are then the same.
        """
        groups = self._groups()
        for group in groups:
            group["lookahead_rounds"] += 1
        if groups[0]["lookahead_rounds"] % self.period:
            return False
        for group in groups:
            for p, slow in zip(group["params"], group["lookahead_slow"], strict=True):
                slow.lerp_(p.to(slow), self.alpha)  # .to: what was loaded may lie on another device
                p.copy_(slow)
        return True
