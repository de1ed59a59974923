"""The provable version: :func:`solve` looks for an equilibrium, :func:`certify` tests one by fresh samples.

It is for functions small enough to ascend until the gradient vanishes. GANs take :class:`minmax_plugin.MinMaxGame`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from minmax_plugin.ascent import Bounds, Function, Oracle
from minmax_plugin.checks import check_not_negative, check_positive, check_whole

Proposal = Callable[[Tensor, Tensor, Function, torch.Generator], Tensor]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The result of :func:`solve`: where it ended, why, and at what cost.

    Attributes:
        x: The min player's point in the last accepted pair.
        y: The max player's response to it.
        value: f(x, y), in the units of f.
        reason: ``equilibrium`` (more than r_max rejections in a row), ``max_iterations``, or the outcome of an
            ascent that settled nothing. Such outcomes are ``unbounded``, ``ascent did not converge`` and
            ``non-finite``.
        iterations: The number of proposals made.
        accepted: The number of proposals accepted.
        values: The number of evaluations of f. Every gradient in y comes with one.
        gradients_x: The number of gradients in x, taken by the ``gradient`` proposal.
        gradients_y: The number of gradients in y, taken by the ascents.
        path: The incumbent after each iteration, as two tensors with ``iterations + 1`` rows. ``None`` if it was not
            recorded.
    """

    x: Tensor
    y: Tensor
    value: float
    reason: str
    iterations: int
    accepted: int
    values: int
    gradients_x: int
    gradients_y: int
    path: tuple[Tensor, Tensor] | None = dataclasses.field(default=None, repr=False)

    @property
    def stopped(self) -> bool:
        """Whether the algorithm stopped by its own rule. Nothing else counts as converged."""
        return self.reason == "equilibrium"


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """Whether a point is an (ε, δ, ω) equilibrium, as far as the samples tell.

    Attributes:
        holds: Whether the gradient is at most ε and ``bound`` is below ω.
        reason: ``equilibrium``, ``gradient above epsilon``, ``bound not below omega`` or ``non-finite``.
        value: The value of f at the point.
        gradient_norm: The norm ‖∇y f‖ there, of the part of the gradient that stays within the bounds.
        improved: The number of proposals that count as improving. They lowered f by more than δ, or were not shown
            not to.
        samples: The number of proposals drawn, 0 if the gradient had settled it.
        bound: The upper confidence bound of the probability of such a proposal, 1 without samples.
    """

    holds: bool
    reason: str
    value: float
    gradient_norm: float
    improved: int
    samples: int
    bound: float

    @property
    def share(self) -> float:
        """The share of the samples that improved; NaN without samples."""
        return self.improved / self.samples if self.samples else math.nan


def solve(
    f: Function,
    x: Tensor,
    y: Tensor,
    *,
    proposal: str | Proposal = "gaussian",
    sigma: float = 0.5,
    step_size: float = 0.05,
    eta: float = 0.05,
    epsilon: float = 0.001,
    min_decrease: float = 0.0075,
    tau: float | None = None,
    r_max: int = 100,
    lipschitz: float | None = None,
    bounds: Bounds | None = None,
    max_iterations: int = 10_000,
    max_ascent_steps: int = 10_000,
    limit: float = 1e6,
    seed: int = 0,
    record: bool = False,
) -> Solution:
    """Look for an equilibrium of min over x, max over y of f(x, y).

    This is Algorithm 1 of arXiv:2006.12376. Iteration i has three parts:

    1. Propose x' = x + v.
    2. Ascend y ← y + η ∇y f(x', y) from the incumbent's y until ‖∇y f‖ ≤ ε'. That gives y'.
    3. Accept (x', y') if f(x', y') ≤ f_old − min_decrease, or else with probability p_i = e^(−i/τ₁).

    The search stops after more than r_max rejections in a row.

    Bounds are kept by projecting x' and every y. Where y lies on a side of the box, ‖∇y f‖ leaves out the components
    of the gradient that point out of it. It is the fastest growth of f within the box.

    An ascent may pass f_old − min_decrease before it is done. f only grows from there, so the proposal has failed
    the test. The ascent then ends, unless p_i accepts the proposal. Any other end below that value without
    ‖∇y f‖ ≤ ε' settles nothing. It ends the search with its reason.

    Args:
        f: The function. It maps x and y to a tensor with one element, and is deterministic.
        x: Where the min player starts. A floating-point tensor of any shape.
        y: Where the max player starts. A tensor of the same kind, ascended once before the first proposal.
        proposal: How v is drawn. ``gaussian`` is v = σN(0, I), and ``gradient`` is
            v = −step_size ∇x f(x, y) + σN(0, I). A callable ``(x, y, f, generator) -> v`` returns v in the shape of x.
        sigma: The standard deviation σ of a proposal's noise, in units of x; 0 for none.
        step_size: The step size of the ``gradient`` proposal, in units of x² / f.
        eta: The step size η of the ascent, in units of y² / f. It must be at most 1 / L for f to grow in each step.
        epsilon: The norm ε of the gradient in y at which an ascent ends, in units of f / y.
        min_decrease: How much f must fall, in units of f. The paper has ε/2 in v1 and δ/4 in v6.
        tau: The τ₁ of the annealed chance, in iterations. ``None`` accepts nothing by chance.
        r_max: The rejections in a row that do not yet stop the search. At a point that is no (ε, δ, ω) equilibrium,
            each proposal improves with probability ω or more. So r_max = 20 leaves ω at 0.13 (95 %).
        lipschitz: The Lipschitz constant L of ∇y f in y. If it is given, ε' follows the schedule of the theory. That
            has ε_0 = ε/2, an inner stop at ε_i / (1 − 2ηL), and ε_{i+1} = ε_i (1 − 2ηL)⁻² after each acceptance.
            Without it, ε' = ε.
        bounds: The sides ``(low, high)`` of a box for both x and y, as numbers or tensors that broadcast to both.
        max_iterations: The number of proposals after which to give up.
        max_ascent_steps: The number of steps after which to give up an ascent.
        limit: The limit of an ascent. One on which f rises by more, or y moves further while f rises, is unbounded.
        seed: The seed of the proposals and the chance. They have a random stream apart.
        record: Whether to record the path.

    Raises:
        ValueError: If an argument is out of its range; the message names it.

    Departures from the paper: f_old starts as f after an ascent at the first x, not as infinity. So the first
    proposal may be rejected. Nothing is accepted by chance unless ``tau`` is given, and ε' is constant unless
    ``lipschitz`` is. The schedule of ε' ends at ε, so the returned pair is always stationary to ε. With the paper's
    tiny η the schedule never gets there.

    Examples:
        >>> start = torch.tensor(5.0)
        >>> solution = solve(lambda x, y: x * y, start, start, eta=0.5, bounds=(-5.0, 5.0))
        >>> solution.stopped, abs(solution.x.item()) < 0.05
        (True, True)
    """
    _check_pair(x, y, bounds)
    check_positive(epsilon=epsilon, max_iterations=max_iterations, tau=1.0 if tau is None else tau)
    check_not_negative(min_decrease=min_decrease, r_max=r_max)
    check_whole(r_max=r_max, max_iterations=max_iterations, max_ascent_steps=max_ascent_steps, seed=seed)
    x, y = x.detach(), y.detach()
    oracle = Oracle(f, x, bounds, eta, max_ascent_steps, limit)
    draw_proposal = _proposal(oracle, proposal, sigma, step_size)
    generator = torch.Generator(x.device).manual_seed(seed)
    growth, tolerance = 1.0, epsilon
    if lipschitz is not None:
        if not 0 <= 2 * eta * lipschitz < 1:
            raise ValueError(f"lipschitz must be 0 or more and below 1/(2 eta) = {0.5 / eta:g}, but got {lipschitz!r}.")
        growth = 1 / (1 - 2 * eta * lipschitz)
        tolerance = min(epsilon / 2 * growth, epsilon)

    kept = oracle.ascend(x, y, tolerance)
    path = [(x, kept.y)]
    iterations = accepted = rejections = 0
    reason = None if kept.outcome == "converged" else kept.outcome
    while reason is None and iterations < max_iterations:
        x_new = oracle.project(x + draw_proposal(x, kept.y, generator))
        draw = torch.rand((), generator=generator, device=x.device).item()
        chance = tau is not None and draw < math.exp(-iterations / tau)
        target = kept.value - min_decrease
        new = oracle.ascend(x_new, kept.y, tolerance, math.inf if chance else target)
        iterations += 1
        if new.outcome == "converged":
            x, kept = x_new, new
            accepted, rejections = accepted + 1, 0
            tolerance = min(tolerance * growth**2, epsilon)
        elif new.value > target:
            rejections += 1
            reason = "equilibrium" if rejections > r_max else None
        else:
            reason = new.outcome
        if record:
            path.append((x, kept.y))
    return Solution(
        x=x,
        y=kept.y,
        value=kept.value,
        reason=reason or "max_iterations",
        iterations=iterations,
        accepted=accepted,
        values=oracle.values,
        gradients_x=oracle.gradients_x,
        gradients_y=oracle.gradients_y,
        path=(torch.stack([p for p, _ in path]), torch.stack([q for _, q in path])) if record else None,
    )


def certify(
    f: Function,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float = 0.001,
    delta: float = 0.03,
    omega: float = 0.1,
    proposal: str | Proposal = "gaussian",
    sigma: float = 0.5,
    step_size: float = 0.05,
    samples: int = 100,
    confidence: float = 0.95,
    eta: float = 0.05,
    bounds: Bounds | None = None,
    max_ascent_steps: int = 10_000,
    limit: float = 1e6,
    seed: int = 0,
) -> Certificate:
    """Test whether (x*, y*) is an (ε, δ, ω) equilibrium for a distribution Q of proposals.

    It is one (arXiv:2006.12376) if two conditions hold:

    1. ‖∇y f(x*, y*)‖ ≤ ε;
    2. the probability over v ~ Q that L_ε(x* + v, y*) < L_ε(x*, y*) − δ is below ω.

    L_ε(x, y) is the largest f(x, ·) on paths of unit speed from y along which f grows faster than ε.

    The gradient is tested first. Where it is at most ε no such path leaves y*, so L_ε(x*, y*) is f* = f(x*, y*)
    itself. Then n fresh proposals are drawn, and each is ascended from y* as in :func:`solve`. As far as its steps
    are small, the ascent follows such a path. So L_ε(x* + v, y*) is at least every value on it. A proposal that
    passes f* − δ does not improve. Every other counts as one that does, also where the ascent is cut short or not
    finite. So the count errs on the safe side. So does the upper bound of its probability, the one-sided bound of
    Clopper and Pearson.

    The notion is of the first order: a saddle or a minimum of f(x*, ·) at y* passes the test of the gradient.

    Args:
        f: The function, as in :func:`solve`.
        x: The min player's point x*, a floating-point tensor of any shape.
        y: The max player's point y*, a tensor of the same kind.
        epsilon: The bound ε of the gradient, in units of f / y.
        delta: The decrease δ, in units of f.
        omega: The probability ω, between 0 and 1.
        proposal: The distribution Q, as in :func:`solve`. Within ``bounds``, Q is the projected distribution.
        sigma: The standard deviation of Q, as in :func:`solve`.
        step_size: The step size of Q, as in :func:`solve`.
        samples: The number n of proposals.
        confidence: The confidence of the bound, between 0 and 1.
        eta: The step size of the ascents, as in :func:`solve`.
        bounds: The sides of a box, as in :func:`solve`.
        max_ascent_steps: The number of steps after which to give up an ascent, as in :func:`solve`.
        limit: The limit of an ascent, as in :func:`solve`.
        seed: The seed of the proposals. They never are those that :func:`solve` drew with the same seed.

    Raises:
        ImportError: If scipy is missing.
        ValueError: If an argument is out of its range; the message names it.

    Examples:
        >>> zero = torch.tensor(0.0)
        >>> certify(lambda x, y: x * y, zero, zero, eta=0.5, bounds=(-5.0, 5.0)).holds
        True
    """
    try:
        from scipy.stats import binomtest  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("certify() needs scipy: pip install 'minmax-plugin[theory]'.") from error
    _check_pair(x, y, bounds)
    check_positive(epsilon=epsilon, delta=delta)
    check_whole(samples=samples, max_ascent_steps=max_ascent_steps, seed=seed)
    for name, number in {"omega": omega, "confidence": confidence}.items():
        if not 0 < number < 1:
            raise ValueError(f"{name} must be between 0 and 1, but got {number!r}.")
    # Without a single improvement the bound is 1 − (1 − confidence)^(1/n).
    fewest = math.floor(math.log1p(-confidence) / math.log1p(-omega)) + 1
    if samples < fewest:
        raise ValueError(
            f"samples must be {fewest} or more to show omega={omega} with confidence={confidence}, but got {samples}."
        )
    x, y = x.detach(), y.detach()
    oracle = Oracle(f, x, bounds, eta, max_ascent_steps, limit)
    draw_proposal = _proposal(oracle, proposal, sigma, step_size)
    # Downwards from −1: a seed is not shared with solve(), whose draws decided that this point is tested.
    generator = torch.Generator(x.device).manual_seed(-1 - seed)

    value, gradient = oracle.slope(x, y)
    norm = gradient.norm().item()
    if not (math.isfinite(value) and math.isfinite(norm)):
        return Certificate(False, "non-finite", value, norm, 0, 0, 1.0)
    if norm > epsilon:
        return Certificate(False, "gradient above epsilon", value, norm, 0, 0, 1.0)
    improved = 0
    for _ in range(samples):
        x_new = oracle.project(x + draw_proposal(x, y, generator))
        improved += not oracle.ascend(x_new, y, epsilon, value - delta).value > value - delta
    bound = float(binomtest(improved, samples, alternative="less").proportion_ci(confidence, method="exact").high)
    holds = bound < omega
    reason = "equilibrium" if holds else "bound not below omega"
    return Certificate(holds, reason, value, norm, improved, samples, bound)


def _proposal(
    oracle: Oracle, proposal: str | Proposal, sigma: float, step_size: float
) -> Callable[[Tensor, Tensor, torch.Generator], Tensor]:
    if not callable(proposal) and proposal not in ("gaussian", "gradient"):
        raise ValueError(f"proposal must be 'gaussian', 'gradient' or a callable, but got {proposal!r}.")
    check_not_negative(sigma=sigma)
    check_positive(step_size=step_size)

    def draw(x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        if callable(proposal):
            v = proposal(x, y, oracle, generator)
            if not (isinstance(v, Tensor) and v.shape == x.shape):
                raise ValueError(f"proposal must return a tensor of x's shape {tuple(x.shape)}, but returned {v!r}.")
            return v.detach()
        noise = sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return noise if proposal == "gaussian" else noise - step_size * oracle.gradient_x(x, y)

    return draw


def _check_pair(x: Tensor, y: Tensor, bounds: Bounds | None) -> None:
    for name, point in {"x": x, "y": y}.items():
        if not (isinstance(point, Tensor) and point.is_floating_point() and bool(point.isfinite().all())):
            raise ValueError(f"{name} must be a finite floating-point tensor, but got {point!r}.")
        if point.dtype != x.dtype or point.device != x.device:
            raise ValueError(f"y must have the dtype and device of x, but got {point.dtype} on {point.device}.")
        if bounds is None:
            continue
        try:
            low, high = (torch.as_tensor(side).to(point).expand_as(point) for side in bounds)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"bounds must be (low, high), numbers or tensors that broadcast to {name}, but got {bounds!r}."
            ) from error
        if not bool((low < high).all()):
            raise ValueError(f"bounds must have low below high, but got {bounds!r}.")
        if not bool(((low <= point) & (point <= high)).all()):
            raise ValueError(f"{name} must lie within bounds {bounds!r}, but got {point!r}.")
