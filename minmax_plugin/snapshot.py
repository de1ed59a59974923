"""Snapshots of the players: captured before a proposal, and restored in place when it is rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from minmax_plugin.checks import check_flags
from minmax_plugin.player import Player
from minmax_plugin.step_state import StepState
from minmax_plugin.trees import PLAIN, loaded, mapped, saved


@dataclasses.dataclass(frozen=True)
class Restore:
    """Which parts a rejection restores.

    The theory restores (x, y), so both players are restored with all that belongs to them. The authors' released
    code for four Gaussians restores the generator's weights alone
    (``Restore(max_player=False, moments=False, buffers=False)``).

    Args:
        min_player: The weights of the player that proposes (the generator).
        max_player: The weights of the player that responds (the discriminator).
        moments: The optimizer states of each restored player.
        buffers: The module buffers of each restored player.

    Raises:
        ValueError: If a setting is neither ``True`` nor ``False``.

    Examples:
        >>> Restore.named("generator", moments=False).max_player
        False
    """

    min_player: bool = True
    max_player: bool = True
    moments: bool = True
    buffers: bool = True

    def __post_init__(self) -> None:
        check_flags(**dataclasses.asdict(self))

    @property
    def determines_f(self) -> bool:
        """Whether a rejection restores all that f depends on."""
        return self.min_player and self.max_player and self.buffers

    @classmethod
    def named(cls, players: str, moments: bool = True, buffers: bool = True) -> Restore:
        """Make the setting by name: ``players`` is ``"both"`` or ``"generator"``."""
        if players not in ("both", "generator"):
            raise ValueError(f"restore must be 'both' or 'generator', but got {players!r}.")
        return cls(max_player=players == "both", moments=moments, buffers=buffers)


class Snapshot:
    """A copy of some tensors of one player, in separate storage that is reused every cycle.

    :meth:`capture` copies live → kept, :meth:`restore` copies kept → live, and :meth:`swap` exchanges the two. Live
    tensors keep their storage: ``data_ptr`` does not change. So graphs, views and distributed buckets that refer to
    them stay valid.

    A tensor may also be replaced by another one. A module replaces a buffer in its forward pass, and an optimizer
    replaces a moment. Or a tensor does not exist yet: an optimizer has no state before its first real step. So the
    containers of the tensors are captured too, and a restore gives them the same tensors again.

    Args:
        player: The player that has the tensors.
        weights: Whether to capture the parameters.
        moments: Whether to capture the optimizer states, and all else in the optimizers that a step changes.
        buffers: Whether to capture the module buffers.
    """

    def __init__(self, player: Player, weights: bool, moments: bool, buffers: bool) -> None:
        self._player = player
        self._weights, self._with_buffers = weights, buffers
        self._watched = player.all_optimizers if moments else []
        self._steps = StepState(self._watched)
        self._optimizers: list[Optimizer] = []  # whose states are captured; of several that share states, one
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._layout: list[Any] = []  # of the tensors in _kept
        self._groups: list[tuple[list[Tensor], list[Tensor]]] = []  # the same, by device and dtype
        # For each optimizer and module: the containers of the tensors in _live at the capture, and all other values.
        self._states: list[dict[Any, Any]] = []
        self._buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []

    def close(self) -> None:
        """Release the optimizers."""
        self._steps.close()

    @torch.no_grad()
    def capture(self) -> None:
        before, self._live = self._live, self._parameters()
        self._buffers = self._present_buffers()
        self._live += [b for _, held in self._buffers for b in held.values() if b is not None]
        self._optimizers = self._distinct()
        self._states = [self._copied_states(optimizer) for optimizer in self._optimizers]
        self._steps.capture()
        layout = [(t.shape, t.dtype, t.device) for t in self._live]
        if layout != self._layout:
            self._kept, self._layout = [torch.empty_like(t) for t in self._live], layout
            self._groups = _grouped(self._live, self._kept)
        elif list(map(id, self._live)) != list(map(id, before)):
            self._groups = _grouped(self._live, self._kept)
        for live, kept in self._groups:
            torch._foreach_copy_(kept, live)

    @torch.no_grad()
    def restore(self) -> None:
        for live, kept in self._groups:
            torch._foreach_copy_(live, kept)
        self._exchange()

    @torch.no_grad()
    def swap(self) -> None:
        for live, kept in self._groups:
            aside = [t.clone() for t in live]
            torch._foreach_copy_(live, kept)
            torch._foreach_copy_(kept, aside)
        self._exchange()

    @torch.no_grad()
    def state_dict(self) -> dict[str, Any]:
        """Return copies of the kept tensors, for a checkpoint while a proposal is open."""
        # A tensor that was absent at the capture, and that swap() set aside, is in no pair: it is its own copy.
        kept = {id(live): copy for live, copy in zip(self._live, self._kept, strict=True)}

        def held(value: Any) -> Any:
            return saved(value, lambda t: kept.get(id(t), t).clone(), objects=True)

        return {
            "tensors": [held(p) for p in self._parameters()],
            "buffers": [held(names) for _, names in self._buffers],
            "states": [held(self._states[i].get(p, {})) for i, p in self._owners()],
            "shared": [{k: held(v) for k, v in s.items() if not isinstance(k, Tensor)} for s in self._states],
            "steps": self._steps.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`. The player's own state must be loaded before."""
        self._live, self._kept, self._layout = [], [], []
        self._buffers, present = self._present_buffers(), self._parameters()
        if "buffers" in state:
            self._buffers = [
                (holder, loaded(names, held, self._pair))
                for (holder, held), names in zip(self._buffers, state["buffers"], strict=True)
            ]
        elif self._with_buffers:  # version 0.1.0 had them among the tensors
            present += self._player.buffers
        for tensor, live in zip(state["tensors"], present, strict=True):
            self._pair(tensor, live)
        self._optimizers = self._distinct()
        self._states = [{} for _ in self._optimizers]
        for (i, parameter), one in zip(self._owners(), state["states"], strict=True):
            if not _is_empty(one):
                now = self._optimizers[i].state.get(parameter, {})
                self._states[i][parameter] = loaded(one, now, self._pair, objects=True)
        for i, shared in enumerate(state.get("shared", [])):
            now = self._optimizers[i].state
            self._states[i].update({k: loaded(v, now.get(k), self._pair, objects=True) for k, v in shared.items()})
        self._groups = _grouped(self._live, self._kept)
        if "steps" in state:
            self._steps.load_state_dict(state["steps"])
        else:
            self._steps.capture()

    def _parameters(self) -> list[Tensor]:
        return self._player.parameters if self._weights else []

    def _present_buffers(self) -> list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]]:
        if not self._with_buffers:
            return []
        modules = dict.fromkeys(m for module in self._player.modules for m in module.modules())
        return [(m._buffers, dict(m._buffers)) for m in modules]

    def _distinct(self) -> list[Optimizer]:
        return list({id(o.state): o for o in self._watched}.values())

    def _owners(self) -> list[tuple[int, Tensor]]:
        return [(i, p) for i, o in enumerate(self._optimizers) for g in o.param_groups for p in g["params"]]

    def _copied_states(self, optimizer: Optimizer) -> dict[Any, Any]:
        """Return the states of an optimizer in new dicts. Their tensors are the same, and noted as live."""
        states: dict[Any, Any] = {}
        for owner, state in optimizer.state.items():
            if type(state) is not dict:
                states[owner] = mapped(state, self._noted, objects=True)
            elif not _is_empty(state):
                states[owner] = copied = dict(state)
                for key, value in state.items():
                    if isinstance(value, Tensor):
                        self._live.append(value)
                    elif type(value) not in PLAIN:
                        copied[key] = mapped(value, self._noted, objects=True)
        return states

    def _noted(self, tensor: Tensor) -> Tensor:
        self._live.append(tensor)
        return tensor

    def _pair(self, kept: Tensor, present: Tensor | None) -> Tensor:
        """Pair a loaded copy with its tensor: the present one, or a new one if that does not fit."""
        # Two tensors of the checkpoint may be one tensor now: an optimizer may move it from key to key.
        other = next((k for live, k in zip(self._live, self._kept, strict=True) if live is present), None)
        apart = other is not None and not torch.equal(other, kept.to(other))
        if present is None or present.shape != kept.shape or apart:
            device = present.device if present is not None else self._player.parameters[0].device
            present = kept.to(device, copy=True)
        self._live.append(present)
        self._kept.append(torch.empty_like(present).copy_(kept))
        return present

    def _exchange(self) -> None:
        # The captured containers hold the very tensors that are copied in place. Assigning them again restores the
        # rest: values that are no tensors, tensors that were replaced, and entries that did not exist.
        for i, optimizer in enumerate(self._optimizers):
            states = dict(optimizer.state)
            optimizer.state.clear()
            optimizer.state.update(self._states[i])
            self._states[i] = states
        for i, (holder, captured) in enumerate(self._buffers):
            if not (holder or captured):
                continue
            present = dict(holder)
            self._buffers[i] = holder, present
            for name in present.keys() - captured.keys():
                del holder[name]
            for name, buffer in captured.items():
                if name not in present or present[name] is not buffer:
                    holder[name] = buffer
        self._steps.exchange()


def _is_empty(state: Any) -> bool:
    """Whether an optimizer has no state for a parameter yet. A look-up may have left an empty dict."""
    return isinstance(state, dict) and not state


def _grouped(live: Sequence[Tensor], kept: Sequence[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    # One kernel launch per device and dtype. The layouts are equal by construction, which matters because the
    # grouped copy broadcasts unequal shapes without a word.
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in zip(live, kept, strict=True):
        pair = groups.setdefault((a.device, a.dtype), ([], []))
        pair[0].append(a)
        pair[1].append(b)
    return list(groups.values())


class PairSnapshot:
    """Snapshots of both players, by what a rejection restores.

    Args:
        min_player: The player that proposes.
        max_player: The player that responds.
        restore: What a rejection restores.
        recover_nonfinite: Whether to capture everything else too, so that any non-finite state can be undone.

    Examples:
        >>> x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        >>> players = [Player(torch.optim.SGD([p], lr=0.1)) for p in (x, y)]
        >>> incumbent = PairSnapshot(*players, Restore(max_player=False), recover_nonfinite=False)
        >>> incumbent.capture()
        >>> x.data += 1; y.data += 1
        >>> incumbent.restore()
        >>> x.item(), y.item()
        (1.0, 2.0)
    """

    def __init__(self, min_player: Player, max_player: Player, restore: Restore, recover_nonfinite: bool) -> None:
        self.settings = {**dataclasses.asdict(restore), "recover_nonfinite": recover_nonfinite}
        self._restored: list[Snapshot] = []
        self._rest: list[Snapshot] = []
        for player, restored in ((min_player, restore.min_player), (max_player, restore.max_player)):
            moments, buffers = restored and restore.moments, restored and restore.buffers
            if restored:
                self._restored.append(Snapshot(player, weights=True, moments=moments, buffers=buffers))
            if recover_nonfinite and not (restored and moments and buffers):
                self._rest.append(Snapshot(player, weights=not restored, moments=not moments, buffers=not buffers))

    @property
    def _all(self) -> list[Snapshot]:
        return [*self._restored, *self._rest]

    def close(self) -> None:
        """Stop watching the players' optimizers."""
        for snapshot in self._all:
            snapshot.close()

    def capture(self) -> None:
        """Capture the present pair."""
        for snapshot in self._all:
            snapshot.capture()

    def restore(self, everything: bool = False) -> None:
        """Restore what was captured, in place. ``everything`` is for a state that is not finite."""
        for snapshot in self._all if everything else self._restored:
            snapshot.restore()

    def swap(self, back: bool = False) -> None:
        """Exchange the present pair and what a rejection would restore, in place. ``back`` undoes an exchange."""
        # Undone in the opposite order, so that buffers which both players share are exchanged right.
        for snapshot in reversed(self._restored) if back else self._restored:
            snapshot.swap()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return all that :meth:`load_state_dict` needs, for a checkpoint in mid-cycle."""
        return [snapshot.state_dict() for snapshot in self._all]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Load the result of :meth:`state_dict`. The players' own state must be loaded before."""
        for snapshot, one in zip(self._all, state, strict=True):
            snapshot.load_state_dict(one)
