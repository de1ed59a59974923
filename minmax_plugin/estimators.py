"""Estimators of f, from the last ascent step, a fresh batch, or both values on one batch. A game reads them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, distributed, nn

from minmax_plugin.checks import check_callable, check_flags, check_seed, is_count
from minmax_plugin.player import modules_of
from minmax_plugin.randomness import inference, seed_all

if TYPE_CHECKING:
    from minmax_plugin.settings import EstimatorSettings


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate of f at the proposal and, where it was read again, at the incumbent.

    Numbers may be tensors of one element, on any device: the game reads them all at once.

    Args:
        f_new: The value of f at the proposal, after the response.
        standard_error: The standard error of ``f_new``; NaN where there is none.
        f_old: The value of f at the incumbent, read again. ``None`` compares with the value at its acceptance.
        difference_error: The standard error of ``f_new - f_old``, given with ``f_old``; NaN where there is none.

    Examples:
        >>> Estimate(f_new=0.5, standard_error=0.01).f_old is None
        True
    """

    f_new: float | Tensor
    standard_error: float | Tensor = math.nan
    f_old: float | Tensor | None = None
    difference_error: float | Tensor = math.nan


class Estimator:
    """Base of the estimators of f that a game can be given.

    :meth:`evaluate_incumbent` runs just before a proposal is applied. :meth:`evaluate_proposal` runs after the
    response.

    Examples:
        >>> class Constant(Estimator):
        ...     def evaluate_proposal(self):
        ...         return Estimate(1.0)
        >>> Constant().evaluate_proposal().f_new
        1.0
    """

    kind: ClassVar[str] = "Estimator"
    """A game that resumes with an estimator of another kind forgets f_old; the names are those of version 0.1.0."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.kind = vars(cls).get("kind", cls.__name__)

    def evaluate_incumbent(self) -> None:
        """Read what the comparison needs of the incumbent. By default that is nothing."""

    def evaluate_proposal(self) -> Estimate:
        raise NotImplementedError

    def settle(self, accepted: bool, restored: bool) -> None:
        """Learn how the proposal was decided, once the incumbent is in place.

        Args:
            accepted: Whether the pair that was read last is the incumbent now.
            restored: Whether the incumbent is again what it was, in all that f depends on.
        """

    def reset(self) -> None:
        """Drop what was read of the incumbent, because f is another function now."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class LastBatch(Estimator):
    """Read f from the last ascent step's own forward pass; it is free, and one ascent step behind.

    Args:
        read: A function that returns that value.

    Raises:
        ValueError: If ``read`` is no function.

    Examples:
        >>> LastBatch(lambda: 0.5).evaluate_proposal().f_new
        0.5
    """

    kind = "LastAscent"

    def __init__(self, read: Callable[[], Tensor | float]) -> None:
        check_callable("read", read)
        self._read = read

    def evaluate_proposal(self) -> Estimate:
        return Estimate(self._read())


class FreshBatch(Estimator):
    """Evaluate f on batches that the ascent has not used, in inference mode, with separate random numbers.

    Batch norm takes the batch's own statistics there, as in the training.

    Evaluation number n draws from a seed made of ``seed`` and n, so a count is enough to resume. By default f_old is
    the value that the incumbent was accepted with, from its own batch. ``reread`` estimates it again at each
    decision, on another batch. So one lucky low value does not block for ever.

    Args:
        function: A function that computes f at the present (x, y), on a batch drawn from torch's random state. It
            returns one number, or a 1-D tensor of independent terms whose mean is f. The terms are of samples or of
            groups of samples, and give the standard error.
        modules: The modules that it evaluates, or one module.
        seed: The seed of the random numbers that ``function`` draws.
        batches: The number of evaluations that are averaged.
        reread: Whether f_old is read again.

    Raises:
        ValueError: For an argument of the wrong kind, or ``batches`` below 1.

    Examples:
        >>> f = FreshBatch(lambda: torch.randn(100), [], batches=4)
        >>> estimate = f.evaluate_proposal()
        >>> bool(abs(estimate.f_new) < 0.2), bool(0.04 < estimate.standard_error < 0.06)
        (True, True)
    """

    kind = "FreshBatch"

    def __init__(
        self,
        function: Callable[[], Tensor | float],
        modules: nn.Module | Sequence[nn.Module],
        seed: int = 0,
        batches: int = 1,
        reread: bool = False,
    ) -> None:
        check_callable("function", function)
        check_seed(seed)
        check_flags(reread=reread)
        if not is_count(batches):
            raise ValueError(f"batches must be 1 or more, but got {batches!r}.")
        self._function = function
        self._modules = modules_of("modules", modules)
        self._seed, self._batches, self._reread = int(seed), int(batches), reread
        self.evaluations = 0
        self._old: Tensor | None = None

    def evaluate_incumbent(self) -> None:
        if self._reread:
            self._old = self._evaluate()

    def evaluate_proposal(self) -> Estimate:
        old, self._old = self._old, None
        if old is None:
            new = self._evaluate()
            return Estimate(new.mean(), _error(new))
        new = self._evaluate()
        old = old.to(new.device)  # a checkpoint may have brought it from elsewhere
        return Estimate(new.mean(), _error(new), old.mean(), _error_of_two(new, old))

    def reset(self) -> None:
        self._old = None

    def _evaluate(self) -> Tensor:
        terms = []
        with inference(self._modules, batch_statistics=True):
            for _ in range(self._batches):
                seed_all(self._seed * 1_000_003 + self.evaluations)
                self.evaluations += 1
                terms.append(torch.as_tensor(self._function(), dtype=torch.float64).reshape(-1))
        return torch.cat(terms)

    def state_dict(self) -> dict[str, Any]:
        return {"evaluations": self.evaluations, "old": self._old}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.evaluations = state["evaluations"]
        self._old = state["old"]


class PairedBatch(FreshBatch):
    """Evaluate f at both pairs on one batch, with one noise, which then largely cancels (common random numbers).

    The batch and its noise are held for ``hold`` decisions. The value that an accepted proposal was read with is then
    its value as the incumbent, and a rejection restores the incumbent that was read before. So a decision needs one
    evaluation, and each new batch one more. Where a rejection does not restore both players, the incumbent is read
    again.

    This departs from the paper, whose f_old and f_new are of two batches. :class:`FreshBatch` undoes it.

    Args:
        function: As for :class:`FreshBatch`.
        modules: As for :class:`FreshBatch`.
        seed: As for :class:`FreshBatch`.
        batches: As for :class:`FreshBatch`.
        hold: The number of decisions on one batch. f may also change between a decision and the next proposal, because
            the min player's training pass moves spectral norm's vectors. f_old sees that only with 1.

    Raises:
        ValueError: For an argument of the wrong kind, or ``batches`` or ``hold`` below 1.

    Examples:
        >>> weight = torch.zeros(1)
        >>> f = PairedBatch(lambda: weight + torch.randn(100), [])
        >>> f.evaluate_incumbent()
        >>> _ = weight.add_(0.5)
        >>> estimate = f.evaluate_proposal()
        >>> round(float(estimate.f_new - estimate.f_old), 3), round(float(estimate.difference_error), 3)
        (0.5, 0.0)
    """

    kind = "FreshBatch"

    def __init__(
        self,
        function: Callable[[], Tensor | float],
        modules: nn.Module | Sequence[nn.Module],
        seed: int = 0,
        batches: int = 1,
        hold: int = 1,
    ) -> None:
        super().__init__(function, modules, seed, batches)
        if not is_count(hold):
            raise ValueError(f"hold must be 1 decision or more, but got {hold!r}.")
        self._hold = int(hold)
        self._age = 0  # decisions on the present batch
        self._new: Tensor | None = None

    def evaluate_incumbent(self) -> None:
        if self._age >= self._hold:
            self.reset()
        if self._old is None:
            self._old, self._age = self._evaluate(), 0

    def evaluate_proposal(self) -> Estimate:
        old = self._old
        if old is None:
            self._new, self._age = self._evaluate(), 0
            return Estimate(self._new.mean(), _error(self._new))
        self.evaluations -= self._batches  # the same batch and noise again
        self._new = new = self._evaluate()
        old = old.to(new.device)  # a checkpoint may have brought it from elsewhere
        # A checkpoint's may be of another number of batches.
        error = _error(new - old) if len(new) == len(old) else _error_of_two(new, old)
        return Estimate(new.mean(), _error(new), old.mean(), error)

    def settle(self, accepted: bool, restored: bool) -> None:
        if accepted:
            self._old = self._new
        elif not restored:
            self._old = None
        self._new = None
        self._age += 1

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "age": self._age}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._age = state.get("age", 0)  # version 0.1.0 had a batch for each decision


NO_GRADIENT = ("does not require grad", "does not have a grad_fn", "have been used in the graph")  # torch's words


def lacks_gradient(error: RuntimeError) -> bool:
    """Whether an evaluation failed because a term of the loss, such as a gradient penalty, needs gradients."""
    return any(sign in str(error) for sign in NO_GRADIENT)


def batch_estimator(
    settings: EstimatorSettings,
    function: Callable[[], Tensor | float],
    modules: nn.Module | Sequence[nn.Module],
    seed: int,
    drifts: bool = False,
) -> Estimator:
    """Make the estimator that the settings ask for, if it reads batches of its own: ``fresh`` or ``paired``.

    Args:
        settings: The settings of the estimator.
        function: As for :class:`FreshBatch`.
        modules: As for :class:`FreshBatch`.
        seed: As for :class:`FreshBatch`.
        drifts: Whether f changes by itself between a decision and the next proposal. Then no batch is held.
    """
    if settings.type == "paired":
        return PairedBatch(function, modules, seed, settings.batches, 1 if drifts else settings.hold)
    return FreshBatch(function, modules, seed, settings.batches, settings.reread)


def _error(terms: Tensor) -> Tensor | float:
    """Compute the standard error of the mean of independent terms; NaN for a single one."""
    return terms.std() / math.sqrt(len(terms)) if len(terms) > 1 else math.nan


def _error_of_two(new: Tensor, old: Tensor) -> Tensor | float:
    """Compute the standard error of the difference of two independent means."""
    return (_error(new) ** 2 + _error(old) ** 2) ** 0.5


class Reading(NamedTuple):
    """An :class:`Estimate` in plain numbers, the norm of the weights, and whether all are finite."""

    f_new: float
    standard_error: float
    f_old: float | None
    difference_error: float
    norm: float
    finite: bool


@torch.no_grad()
def read(estimate: Estimate, norms: Sequence[Tensor], group: Any = None) -> Reading:
    """Read an estimate and the norms of the players.

    Everything is read at once, with one synchronisation and one reduction. A value that is not finite on one rank is
    not finite in the sum.

    Args:
        estimate: The estimate of f on this rank.
        norms: The norm of all weights, and more that must be finite. The reduction runs on their device.
        group: The process group.

    Raises:
        ValueError: If a value of the estimate is not one real number.

    Examples:
        >>> read(Estimate(torch.tensor([0.5])), [torch.ones(())]).f_new
        0.5
        >>> read(Estimate(torch.ones(4)), [torch.ones(())])
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
    numbers: list[Any] = [_number(name, value) for name, value in given.items()]
    ranks = distributed.get_world_size(group) if distributed.is_available() and distributed.is_initialized() else 1
    if ranks > 1:
        device = norms[0].device
        norms = [norms[0], torch.stack([n.to(device) for n in norms]).sum()]  # as many on each rank
        read = torch.stack([torch.as_tensor(n, dtype=torch.float64, device=device) for n in (*norms, *numbers)])
        read[-2:] **= 2
        distributed.all_reduce(read, group=group)
        # The ranks' batches are independent: the variance of their mean is the mean variance over their number.
        read /= ranks
        read[-2:] = (read[-2:] / ranks).sqrt()
        values = read.tolist()
    else:
        values = _values([*norms, *numbers])
    of_players, (f, old, error, difference) = values[: len(norms)], values[len(norms) :]
    finite = all(map(math.isfinite, (*of_players, f, *([old] if again else []))))
    return Reading(f, error, old if again else None, difference, of_players[0], finite)


def _values(scalars: Sequence[Tensor | float]) -> list[float]:
    """Read scalars: those on a device with one synchronisation, and those on the host where they are."""
    values = [math.nan if isinstance(scalar, Tensor) else scalar for scalar in scalars]
    for on_host in (True, False):
        places = {i: s for i, s in enumerate(scalars) if isinstance(s, Tensor) and (s.device.type == "cpu") is on_host}
        if places:
            device = next(iter(places.values())).device
            read = torch.stack([scalar.to(device) for scalar in places.values()]).tolist()
            for i, value in zip(places, read, strict=True):
                values[i] = value
    return values


def _number(name: str, value: Any) -> Tensor | float:
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.is_complex():
            return value.detach().double().reshape(())
        kind = "complex tensor" if value.is_complex() else "tensor"
        mend = ": give the mean of f" if value.numel() > 1 else ""
        raise ValueError(f"{name} must be one real number, but got a {kind} of shape {tuple(value.shape)}{mend}.")
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be one real number, but got {value!r}.") from None
