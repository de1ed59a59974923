"""The methods that the algorithm is compared with, one round at a time, so that an experiment can loop over them.

All state of every method is in its two optimizers. Their ``state_dict()`` resumes it to the last bit. Unrolling is
written here because its libraries, torchopt and higher, had their last releases in 2023 and 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Adam, Optimizer

from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam, adam_direction
from minmax_plugin.checks import check_count

Loss = Callable[[], Tensor]


@dataclasses.dataclass(eq=False)
class Baseline:
    """Base of all methods: a call plays one round.

    Each function draws its player's loss again at every call, and the player minimises it. Neither function may touch
    gradients. Only the stepping player's gradient is computed, by ``torch.autograd.grad``. So these methods are for
    plain loops, without DistributedDataParallel or a gradient scaler.

    Args:
        min_optimizer: The min player's optimizer (the generator's).
        max_optimizer: The max player's (the discriminator's).
        min_loss: The min player's loss, a scalar: f, or another loss that it minimises.
        max_loss: The max player's loss −f, a scalar.
    """

    optimizer: ClassVar[type[Optimizer]] = Adam  # the kind of optimizer to give it

    min_optimizer: Optimizer
    max_optimizer: Optimizer
    min_loss: Loss
    max_loss: Loss

    def __call__(self) -> None:
        raise NotImplementedError

    def _check_optimizers(self) -> None:
        for name in ("min_optimizer", "max_optimizer"):
            given = getattr(self, name)
            if not isinstance(given, self.optimizer):
                raise ValueError(
                    f"{name} must be of type {self.optimizer.__name__!r}, but got {type(given).__name__!r}."
                )


@dataclasses.dataclass(eq=False)
class Simultaneous(Baseline):
    """Descent-ascent in which both players step from the same point."""

    moves: ClassVar[tuple[str, ...]] = ("step",)  # methods of the optimizers, each called with new gradients

    def __call__(self) -> None:
        for move in self.moves:
            _differentiate(self.max_loss, self.max_optimizer)
            _differentiate(self.min_loss, self.min_optimizer)
            getattr(self.max_optimizer, move)()
            getattr(self.min_optimizer, move)()


@dataclasses.dataclass(eq=False)
class Alternating(Baseline):
    """Descent-ascent by turns: k steps of the max player, then one of the min player.

    Args:
        k: The number of ascent steps in a round, 1 or more.

    Raises:
        ValueError: If ``k`` is out of range.
    """

    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def __call__(self) -> None:
        for _ in range(self.k):
            _differentiate(self.max_loss, self.max_optimizer)
            self.max_optimizer.step()
        _differentiate(self.min_loss, self.min_optimizer)
        self.min_optimizer.step()


@dataclasses.dataclass(eq=False)
class Optimistic(Simultaneous):
    """Optimistic mirror descent: both players step at once with :class:`OptimisticAdam`.

    For the form with several ascent steps, give :class:`OptimisticAdam` to :class:`Alternating`.

    Raises:
        ValueError: If an optimizer is of another kind.
    """

    optimizer: ClassVar[type[Optimizer]] = OptimisticAdam

    def __post_init__(self) -> None:
        self._check_optimizers()


@dataclasses.dataclass(eq=False)
class Extragradient(Simultaneous):
    """Extragradient: both players extrapolate from one point, then step with their gradients at the other.

    A round draws each loss twice. Both optimizers are :class:`ExtraAdam`.

    Raises:
        ValueError: If an optimizer is of another kind.
    """

    optimizer: ClassVar[type[Optimizer]] = ExtraAdam
    moves: ClassVar[tuple[str, ...]] = ("extrapolate", "step")

    def __post_init__(self) -> None:
        self._check_optimizers()


@dataclasses.dataclass(eq=False)
class Lookahead(Alternating):
    """:class:`Alternating` descent-ascent under :class:`LookaheadMinmax`.

    Args:
        k: The number of ascent steps in a round, 1 or more.
        period: The number of rounds from one backtracking to the next, 1 or more.
        alpha: The share of the way that is kept, above 0 and up to 1.

    Raises:
        ValueError: If a setting is out of range.
    """

    period: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lookahead = LookaheadMinmax(self.min_optimizer, self.max_optimizer, self.period, self.alpha)

    def __call__(self) -> None:
        super().__call__()
        self.lookahead.step()


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
        trained = set(_trained(self.max_optimizer))
        self._parameters = {name: p for name, p in self.module.named_parameters() if p in trained}
        missing = len(trained) - len(self._parameters)
        if missing:
            raise ValueError(f"module must hold the parameters of max_optimizer, but lacks {missing} of them.")

    def __call__(self) -> None:
        self.ascend()
        self.descend()

    def ascend(self) -> None:
        """Take the max player's real step."""
        _differentiate(self.max_loss, self.max_optimizer)
        self.max_optimizer.step()

    def descend(self) -> None:
        """Take the min player's step, through the imagined ones."""
        _differentiate(self._loss_after_answer, self.min_optimizer)
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
        gradients = torch.autograd.grad(max_loss, _trained(self.min_optimizer), retain_graph=True, allow_unused=True)
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


def _trained(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def _differentiate(loss: Loss, optimizer: Optimizer) -> None:
    """Set the gradients of one player's parameters, and of no other."""
    parameters = _trained(optimizer)
    for p, gradient in zip(parameters, torch.autograd.grad(loss(), parameters, allow_unused=True), strict=True):
        p.grad = gradient


BASELINES: dict[str, type[Baseline]] = {
    "gda-simultaneous": Simultaneous,
    "gda-alternating": Alternating,
    "omd": Optimistic,
    "extragradient": Extragradient,
    "lookahead": Lookahead,
    "unrolled": Unrolled,
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
            and ``alpha`` for ``lookahead``, ``module`` for ``unrolled``.

    Raises:
        ValueError: If the name is unknown. If a setting is missing, out of range, or not one of the method's.

    Examples:
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
