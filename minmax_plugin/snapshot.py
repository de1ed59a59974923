"""Snapshots: what is captured before a proposal, and put back, in place, when it is rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from minmax_plugin.checks import check_flags, inner_optimizers, modules_of, optimizers_of
from minmax_plugin.step_state import StepState
from minmax_plugin.trees import PLAIN, leaves, loaded, mapped, saved


class Player:
    """One side of the game: the optimizers that move it and the modules whose buffers go with it.

    Args:
        optimizers: one torch optimizer, or several.
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

    def norm(self, whole: bool = False) -> Tensor:
        """Euclidean norm of all weights, a scalar on their device: not finite if any weight is not.

        ``whole`` takes in the buffers and the optimizer states.
        """
        if not whole:
            return _norm(self.parameters)
        states = [t for o in self.all_optimizers for state in o.state.values() for t in leaves(state)]
        return _norm([*self.parameters, *self.buffers, *states])

    def is_finite(self) -> bool:
        """Whether all weights, buffers and optimizer states are finite; reads them all."""
        return bool(self.norm(whole=True).isfinite())

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of the present gradient, a scalar on its device; 0 where there is none."""
        return _norm([p.grad for p in self.parameters if p.grad is not None])


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
        ValueError: max_player must have parameters of its own, but got 2 of those of min_player.
    """
    given = {"min_player": min_player, "max_player": max_player}
    low, high = (p if isinstance(p, Player) else Player(optimizers_of(name, p)) for name, p in given.items())
    shared = set(map(id, low.parameters)) & set(map(id, high.parameters))
    if shared:
        raise ValueError(f"max_player must have parameters of its own, but got {len(shared)} of those of min_player.")
    return low, high


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

    Raises:
        ValueError: if a setting is neither ``True`` nor ``False``.

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

    A tensor may also be exchanged for another one: a module replaces a buffer in its forward pass, an optimizer
    a moment. Or it is not there yet, as an optimizer has no state before its first real step. So what holds the
    tensors is captured too, and a restore gives it the same tensors again.

    Args:
        player: whose tensors.
        weights: whether to capture the parameters.
        moments: whether to capture the optimizer states, and what else a step of the optimizers changes in them.
        buffers: whether to capture the module buffers.
    """

    def __init__(self, player: Player, weights: bool, moments: bool, buffers: bool) -> None:
        self._player = player
        self._weights, self._with_buffers = weights, buffers
        self._watched = player.all_optimizers if moments else []
        self._steps = StepState(self._watched)
        self._optimizers: list[Optimizer] = []  # whose states are captured: one for states that several share
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._groups: list[tuple[list[Tensor], list[Tensor]]] = []  # the same, by device and dtype
        # Of each optimizer and each module, what held the tensors of _live at the capture, and values that are none.
        self._states: list[dict[Any, Any]] = []
        self._buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []

    def close(self) -> None:
        """Give the optimizers free."""
        self._steps.close()

    @torch.no_grad()
    def capture(self) -> None:
        before, self._live = self._live, self._parameters()
        self._buffers = self._present_buffers()
        self._live += [b for _, held in self._buffers for b in held.values() if b is not None]
        self._optimizers = self._distinct()
        self._states = [self._copied_states(optimizer) for optimizer in self._optimizers]
        self._steps.capture()
        if not _same_layout(self._live, self._kept):
            self._kept = [torch.empty_like(t) for t in self._live]
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
        """Copies of what is kept, for a checkpoint taken while a proposal is open."""
        # What was absent at the capture and is set aside by swap() is in no pair: it is its own copy.
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
        """Load what :meth:`state_dict` gave; the player's own state must be loaded before."""
        self._live, self._kept = [], []
        self._buffers, present = self._present_buffers(), self._parameters()
        if "buffers" in state:
            self._buffers = [
                (holder, loaded(names, held, self._pair))
                for (holder, held), names in zip(self._buffers, state["buffers"], strict=True)
            ]
        elif self._with_buffers:  # an earlier version had them among the tensors
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
        """The states of an optimizer in dicts of their own; their tensors are the same, and noted as live."""
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
        """Pair a loaded copy with the tensor that it belongs to: the present one, or if it does not fit, a new one."""
        # What the checkpoint holds apart may be one tensor now, where an optimizer hands it on from key to key, say.
        other = next((k for live, k in zip(self._live, self._kept, strict=True) if live is present), None)
        apart = other is not None and not torch.equal(other, kept.to(other))
        if present is None or present.shape != kept.shape or apart:
            device = present.device if present is not None else self._player.parameters[0].device
            present = kept.to(device, copy=True)
        self._live.append(present)
        self._kept.append(torch.empty_like(present).copy_(kept))
        return present

    def _exchange(self) -> None:
        # What is captured holds the very tensors that are copied in place. Putting it in place again restores the
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


def found_inf(optimizer: Optimizer) -> bool:
    """Whether a gradient scaler has told an optimizer that skips by itself (a fused one) to skip this step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


@torch.no_grad()
def _norm(tensors: Sequence[Tensor]) -> Tensor:
    floats = [t for t in tensors if t.is_floating_point() or t.is_complex()]
    reals = [t if t.dtype in SINGLES else _real(t) for t in floats]
    if not reals:
        return torch.zeros((), dtype=torch.float64)
    norms = torch._foreach_norm(reals)
    return torch.linalg.vector_norm(torch.stack([n.to(norms[0].device, torch.float64) for n in norms]))


SINGLES = frozenset({torch.float32, torch.float64})


def _real(tensor: Tensor) -> Tensor:
    """The same numbers in a form whose norm can be had: real, and of 4 bytes or more."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    # Half precision would overflow in its squares. (The maximum norm would not, but is many times slower.)
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def _is_empty(state: Any) -> bool:
    """Whether an optimizer has no state for a parameter yet; a look-up may have left it an empty dict."""
    return isinstance(state, dict) and not state


def _same_layout(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return len(a) == len(b) and all(
        s.shape == t.shape and s.dtype == t.dtype and s.device == t.device for s, t in zip(a, b, strict=True)
    )


def _grouped(live: Sequence[Tensor], kept: Sequence[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    # One kernel launch per device and dtype. The layouts are equal by construction, which matters because the
    # grouped copy broadcasts unequal shapes without a word.
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in zip(live, kept, strict=True):
        pair = groups.setdefault((a.device, a.dtype), ([], []))
        pair[0].append(a)
        pair[1].append(b)
    return list(groups.values())
