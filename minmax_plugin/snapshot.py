"""Snapshots: what is captured before a proposal, and put back, in place, when it is rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
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

    Example:
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

    Example:
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
    """

    def __init__(self, player: Player, moments: bool, buffers: bool) -> None:
        self._player = player
        self._moments = moments
        self._buffers = buffers
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []
        # Optimizer state that is no tensor (a None momentum, an int step), and state that is absent.
        self._values: list[tuple[Optimizer, Tensor, dict[str, Any]]] = []

    @torch.no_grad()
    def capture(self) -> None:
        live = list(self._player.parameters)
        if self._buffers:
            live += self._player.buffers
        self._values = []
        if self._moments:
            for optimizer in self._player.optimizers:
                for parameter in (p for g in optimizer.param_groups for p in g["params"]):
                    state = optimizer.state.get(parameter, {})
                    live += [v for v in state.values() if isinstance(v, Tensor)]
                    self._values.append((optimizer, parameter, dict(state)))
        self._live = live
        if not _same_layout(live, self._kept):
            self._kept = [torch.empty_like(t) for t in live]
        _copy(self._kept, live)

    @torch.no_grad()
    def restore(self) -> None:
        _copy(self._live, self._kept)
        self._exchange_values()

    @torch.no_grad()
    def swap(self) -> None:
        aside = [t.clone() for t in self._live]
        _copy(self._live, self._kept)
        _copy(self._kept, aside)
        self._exchange_values()

    def _exchange_values(self) -> None:
        # The captured dicts hold the very tensors that are copied in place above, so putting a dict back
        # restores the rest: values that are no tensors, and entries that did not exist.
        for i, (optimizer, parameter, state) in enumerate(self._values):
            present = optimizer.state.pop(parameter, {})
            if state:
                optimizer.state[parameter] = state
            self._values[i] = (optimizer, parameter, dict(present))


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
