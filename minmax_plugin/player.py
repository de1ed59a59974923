"""The two sides of a game: optimizers, and the modules whose buffers go with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from minmax_plugin.trees import leaves


class Player:
    """One side of the game: the optimizers that move it and the modules whose buffers go with it.

    Args:
        optimizers: one torch optimizer, or several. Those that Accelerate has prepared are taken out of their
            wrappers, with the gradient scaler that these may have.
        modules: modules whose buffers (batch-norm statistics, spectral-norm vectors) are the player's. The
            parameters are those of the optimizers.

    Raises:
        ValueError: if there is no optimizer, or if an argument is something else.

    Examples:
        >>> net = nn.Linear(2, 1)
        >>> len(Player(torch.optim.SGD(net.parameters(), lr=0.1), net).parameters)
        2
    """

    def __init__(
        self, optimizers: Optimizer | Iterable[Optimizer], modules: nn.Module | Iterable[nn.Module] = ()
    ) -> None:
        self.optimizers = optimizers_of("optimizers", optimizers)
        self.scaler: GradScaler | None = next(filter(None, map(_scaler_of, _several(optimizers))), None)
        self.modules = modules_of("modules", modules)

    @property
    def all_optimizers(self) -> list[Optimizer]:
        """The optimizers, and after them those that they hold as attributes (lookahead, SAM)."""
        found = list(self.optimizers)
        for optimizer in found:  # which grows meanwhile
            found += [o for o in inner_optimizers(optimizer).values() if all(o is not other for other in found)]
        return found

    @property
    def parameters(self) -> list[Tensor]:
        return [p for o in self.optimizers for g in o.param_groups for p in g["params"]]

    @property
    def buffers(self) -> list[Tensor]:
        return [b for m in self.modules for b in m.buffers()]

    @property
    def has_gradient(self) -> bool:
        return any(p.grad is not None for p in self.parameters)

    @property
    def state(self) -> list[Tensor]:
        """The buffers, and the tensors of the optimizer states."""
        return [*self.buffers, *(t for o in self.all_optimizers for state in o.state.values() for t in leaves(state))]

    def is_finite(self) -> bool:
        """Whether all weights, buffers and optimizer states are finite; reads them all."""
        return bool(norm([self.parameters, self.state]).isfinite())

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of the present gradient, a scalar on its device; 0 where there is none."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return _norm([g.coalesce().values() if g.is_sparse else g for g in gradients])  # torch 2.6 has no sparse norm


def players_of(
    min_player: Player | Optimizer | Iterable[Optimizer], max_player: Player | Optimizer | Iterable[Optimizer]
) -> tuple[Player, Player]:
    """Both players of a game, from players or optimizers.

    Raises:
        ValueError: if one is neither, or if they share parameters.

    Examples:
        >>> optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters())
        >>> players_of(optimizer, optimizer)
        Traceback (most recent call last):
        ValueError: max_player must not have parameters of min_player, but got 2 of them.
    """
    given = {"min_player": min_player, "max_player": max_player}
    low, high = (p if isinstance(p, Player) else _player(name, p) for name, p in given.items())
    shared = set(map(id, low.parameters)) & set(map(id, high.parameters))
    if shared:
        raise ValueError(f"max_player must not have parameters of min_player, but got {len(shared)} of them.")
    return low, high


def _player(name: str, given: Any) -> Player:
    given = _several(given)
    optimizers_of(name, given)  # an error names the argument
    return Player(given)


def modules_of(name: str, given: Any) -> list[nn.Module]:
    """One module, or several, as a list.

    Raises:
        ValueError: for anything that is no module.

    Examples:
        >>> modules_of("modules", "generator")
        Traceback (most recent call last):
        ValueError: modules must be torch modules, but got 'generator'.
    """
    modules = _several(given)
    for module in modules:
        if not isinstance(module, nn.Module):
            raise ValueError(f"{name} must be torch modules, but got {_kind(module)}.")
    return modules


def optimizers_of(name: str, given: Any) -> list[Optimizer]:
    """One optimizer, or several, as a list. Those that Accelerate has prepared are taken out of their wrappers.

    Raises:
        ValueError: for anything else, and for another wrapper that only hands its steps on.

    Examples:
        >>> optimizers_of("min_player", nn.Linear(2, 1))
        Traceback (most recent call last):
        ValueError: min_player must be a torch optimizer, but got a Linear: pass the optimizer of its parameters.
    """
    optimizers = [optimizer.optimizer if _is_prepared(optimizer) else optimizer for optimizer in _several(given)]
    for optimizer in optimizers:
        _check_optimizer(name, optimizer)
    if not optimizers:
        raise ValueError(f"{name} must hold at least one optimizer, but got none.")
    if len({id(optimizer) for optimizer in optimizers}) < len(optimizers):
        raise ValueError(f"{name} must be different optimizers, but got one of them twice.")
    return optimizers


def inner_optimizers(optimizer: Any) -> dict[str, Optimizer]:
    """The optimizers that an object holds as attributes, by name."""
    return {name: v for name, v in getattr(optimizer, "__dict__", {}).items() if isinstance(v, Optimizer)}


def _check_optimizer(name: str, given: Any) -> None:
    """Refuse what is no optimizer, or one that does not run its own step hooks, by which a proposal is seen."""
    if isinstance(given, Optimizer):
        keeps_hooks = "_optimizer_step_post_hooks" in vars(given)
        runs_them = any(getattr(vars(kind).get("step"), "hooked", False) for kind in type(given).__mro__)
        if keeps_hooks and runs_them:
            return
    for attribute, inner in inner_optimizers(given).items():
        public = attribute.lstrip("_")
        attribute = public if getattr(given, public, None) is inner else attribute
        raise ValueError(
            f"{name} must be the torch optimizer itself, but got {_kind(given)}, which wraps one: pass its attribute "
            f"{attribute!r}, the {type(inner).__name__}."
        )
    if isinstance(given, Optimizer):
        raise ValueError(
            f"{name} must be a torch optimizer that runs step hooks, but got {_kind(given)}, which does not: call "
            "torch.optim.Optimizer.__init__ in its __init__."
        )
    mend = ": pass the optimizer of its parameters" if isinstance(given, nn.Module) else ""
    raise ValueError(f"{name} must be a torch optimizer, but got {_kind(given)}{mend}.")


def _is_prepared(optimizer: Any) -> bool:
    """Whether Accelerate has prepared an optimizer: its wrapper only hands steps on, where gradients are complete."""
    return type(optimizer).__module__ == "accelerate.optimizer"


def _scaler_of(optimizer: Any) -> GradScaler | None:
    return optimizer.scaler if _is_prepared(optimizer) else None


def _several(given: Any) -> list[Any]:
    """The items of an iterable, or one object, as a list. A module is one, also where it can be iterated over."""
    single = isinstance(given, (str, bytes, nn.Module)) or not isinstance(given, Iterable)
    return [given] if single else list(given)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, (str, bytes, int, float, type)):
        return repr(value)
    return f"a {type(value).__name__}"


def found_inf(optimizer: Optimizer) -> bool:
    """Whether a gradient scaler has told an optimizer that skips by itself (a fused one) to skip this step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def norm(groups: Iterable[Sequence[Tensor]]) -> Tensor:
    """Compute the sum of the Euclidean norms of some groups of tensors, a scalar on the first one's device.

    It is not finite if any tensor is not.

    Args:
        groups: The groups, such as the weights of each player.

    Examples:
        >>> norm([[torch.tensor([3.0, 4.0])], [torch.ones(1)]]).item()
        6.0
    """
    first, *others = map(_norm, groups)
    for other in others:
        first = first + other.to(first.device)
    return first


def by_device(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group tensors by their device.

    Args:
        tensors: The tensors, of any shapes.

    Examples:
        >>> [len(group) for group in by_device([torch.ones(1), torch.ones(2)])]
        [2]
    """
    groups: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device, []).append(tensor)
    return list(groups.values())


@torch.no_grad()
def _norm(tensors: Sequence[Tensor]) -> Tensor:
    floats = [t for t in tensors if t.is_floating_point() or t.is_complex()]
    reals = [t if t.dtype in SINGLES else _real(t) for t in floats]
    if not reals:
        return torch.zeros((), dtype=torch.float64)
    norms = torch._foreach_norm(reals)
    return torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]), dtype=torch.float64)


SINGLES = frozenset({torch.float32, torch.float64})


def _real(tensor: Tensor) -> Tensor:
    """The same numbers in a form whose norm can be had: real, and of 4 bytes or more."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    # Half precision would overflow in its squares. (The maximum norm would not, but is many times slower.)
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor
