"""Snapshots: what is captured before a proposal, and put back, in place, when it is rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Player:
    """One side of the game: the optimizers that move it and the modules whose buffers go with it.

    Args:
        optimizers: one torch optimizer, or several.
        modules: modules whose buffers (batch-norm statistics, spectral-norm vectors) are the player's. The
            parameters are those of the optimizers.

    Raises:
        ValueError: if there is no optimizer.

    Examples:
        >>> net = nn.Linear(2, 1)
        >>> len(Player(torch.optim.SGD(net.parameters(), lr=0.1), net).parameters)
        2
    """

    def __init__(
        self, optimizers: Optimizer | Iterable[Optimizer], modules: nn.Module | Iterable[nn.Module] = ()
    ) -> None:
        self.optimizers = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self.modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        if not self.optimizers:
            raise ValueError("optimizers must hold at least one optimizer, but got none.")

    @property
    def parameters(self) -> list[Tensor]:
        return [p for o in self.optimizers for g in o.param_groups for p in g["params"]]

    @property
    def buffers(self) -> list[Tensor]:
        return [b for m in self.modules for b in m.buffers()]

    @property
    def has_gradient(self) -> bool:
        return any(p.grad is not None for p in self.parameters)

    def norm(self, whole: bool = False) -> Tensor:
        """Euclidean norm of all weights, a scalar on their device: not finite if any weight is not.

        ``whole`` takes in the buffers and the optimizer states.
        """
        if not whole:
            return _norm(self.parameters)
        states = [v for o in self.optimizers for s in o.state.values() for v in s.values() if isinstance(v, Tensor)]
        return _norm([*self.parameters, *self.buffers, *states])

    def is_finite(self) -> bool:
        """Whether all weights, buffers and optimizer states are finite; reads them all."""
        return bool(self.norm(whole=True).isfinite())

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of the present gradient, a scalar on its device."""
        return _norm([p.grad for p in self.parameters if p.grad is not None])


@dataclasses.dataclass(frozen=True)
class Restore:
    """Which parts go back when a proposal is rejected.

    The theory keeps (x, y) as it was, so both players go back with all that belongs to them; the authors'
    released code for four Gaussians puts back the generator's weights alone
    (``Restore(max_player=False, moments=False, buffers=False)``).

    Args:
        min_player: the weights of the player that proposes (the generator).
        max_player: the weights of the player that responds (the discriminator).
        moments: the optimizer states of each restored player.
        buffers: the module buffers of each restored player.

    Examples:
        >>> Restore.named("generator", moments=False).max_player
        False
    """

    min_player: bool = True
    max_player: bool = True
    moments: bool = True
    buffers: bool = True

    @classmethod
    def named(cls, players: str, moments: bool = True, buffers: bool = True) -> Restore:
        """The setting by name: ``players`` is ``"both"`` or ``"generator"``."""
        if players not in ("both", "generator"):
            raise ValueError(f"restore must be 'both' or 'generator', but got {players!r}.")
        return cls(max_player=players == "both", moments=moments, buffers=buffers)


class Snapshot:
    """A copy of some tensors of one player, kept in storage of its own that is reused every cycle.

    :meth:`capture` copies live → kept, :meth:`restore` copies kept → live, and :meth:`swap` exchanges the
    two. Live tensors keep their storage (``data_ptr`` does not change), so graphs, views and distributed
    buckets that refer to them stay valid.

    An optimizer has no state for a parameter before its first real step. That absence is captured too: a
    restore takes the new state away again.

    Args:
        player: whose tensors.
        weights: whether to capture the parameters.
        moments: whether to capture the optimizer states.
        buffers: whether to capture the module buffers.
    """

    def __init__(self, player: Player, weights: bool, moments: bool, buffers: bool) -> None:
        self._player = player
        self._weights, self._moments, self._buffers = weights, moments, buffers
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []
        # Per parameter, the captured optimizer state: its tensors are among _live, the rest (an absent
        # state, a None momentum, an int step) is held here.
        self._states: list[dict[str, Any]] = []

    @torch.no_grad()
    def capture(self) -> None:
        self._states = [dict(optimizer.state.get(p, {})) for optimizer, p in self._owners()]
        self._live = self._fixed() + [v for state in self._states for v in state.values() if isinstance(v, Tensor)]
        if not _same_layout(self._live, self._kept):
            self._kept = [torch.empty_like(t) for t in self._live]
        _copy(self._kept, self._live)

    @torch.no_grad()
    def restore(self) -> None:
        _copy(self._live, self._kept)
        self._exchange_states()

    @torch.no_grad()
    def swap(self) -> None:
        aside = [t.clone() for t in self._live]
        _copy(self._live, self._kept)
        _copy(self._kept, aside)
        self._exchange_states()

    def state_dict(self) -> dict[str, Any]:
        """Copies of what is kept, for a checkpoint taken while a proposal is open."""
        # A state that was absent at the capture and is set aside by swap() is in no pair: it is its own copy.
        kept = {id(live): copy for live, copy in zip(self._live, self._kept, strict=True)}
        states = [
            {key: kept.get(id(v), v).clone() if isinstance(v, Tensor) else v for key, v in state.items()}
            for state in self._states
        ]
        return {"tensors": [t.clone() for t in self._kept[: len(self._fixed())]], "states": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave; the player's own state must be loaded before."""
        self._states, kept, live = [], list(state["tensors"]), self._fixed()
        for (optimizer, parameter), saved in zip(self._owners(), state["states"], strict=True):
            present = optimizer.state.get(parameter, {})
            self._states.append({k: present.get(k, v) if isinstance(v, Tensor) else v for k, v in saved.items()})
            tensors = {k: v for k, v in saved.items() if isinstance(v, Tensor)}
            kept += tensors.values()
            live += [self._states[-1][k] for k in tensors]
        self._live = live
        self._kept = [torch.empty_like(t) for t in live]
        _copy(self._kept, [k.to(t.device, t.dtype) for k, t in zip(kept, live, strict=True)])

    def _fixed(self) -> list[Tensor]:
        return (self._player.parameters if self._weights else []) + (self._player.buffers if self._buffers else [])

    def _owners(self) -> list[tuple[Optimizer, Tensor]]:
        if not self._moments:
            return []
        return [(o, p) for o in self._player.optimizers for g in o.param_groups for p in g["params"]]

    def _exchange_states(self) -> None:
        # A captured dict holds the very tensors that are copied in place, so putting the dict back restores
        # the rest: values that are no tensors, and entries that did not exist.
        for i, (optimizer, parameter) in enumerate(self._owners()):
            present = optimizer.state.pop(parameter, {})
            if self._states[i]:
                optimizer.state[parameter] = self._states[i]
            self._states[i] = dict(present)


def found_inf(optimizer: Optimizer) -> bool:
    """Whether a gradient scaler has told an optimizer that skips by itself (a fused one) to skip this step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


@torch.no_grad()
def _norm(tensors: Sequence[Tensor]) -> Tensor:
    floats = [t for t in tensors if t.is_floating_point()]
    # Half precision would overflow in its squares. (The maximum norm would not, but is many times slower.)
    norms = torch._foreach_norm([t.float() if t.dtype.itemsize < 4 else t for t in floats])
    return torch.linalg.vector_norm(torch.stack([n.to(norms[0].device, torch.float64) for n in norms]))


def _same_layout(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return len(a) == len(b) and all(
        s.shape == t.shape and s.dtype == t.dtype and s.device == t.device for s, t in zip(a, b, strict=True)
    )


def _copy(into: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    # Grouped: one kernel launch per device and dtype. The layouts are equal by construction, which matters
    # because the grouped copy broadcasts unequal shapes without a word.
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in zip(into, source, strict=True):
        pair = groups.setdefault((a.device, a.dtype), ([], []))
        pair[0].append(a)
        pair[1].append(b)
    for a_group, b_group in groups.values():
        torch._foreach_copy_(a_group, b_group)
