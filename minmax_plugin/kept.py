"""The kept pair while a proposal is open: what a rejection puts back, and what the guard holds beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from minmax_plugin.snapshot import Player, Restore, Snapshot


class KeptPair:
    """Snapshots of both players, by what is restored.

    Args:
        min_player: the player that proposes.
        max_player: the player that responds.
        restore: what a rejection puts back.
        guard: whether everything else is captured too, so that any non-finite state can be undone.

    Examples:
        >>> import torch
        >>> x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        >>> players = [Player(torch.optim.SGD([p], lr=0.1)) for p in (x, y)]
        >>> kept = KeptPair(*players, Restore(max_player=False), guard=False)
        >>> kept.capture()
        >>> x.data += 1; y.data += 1
        >>> kept.put_back()
        >>> x.item(), y.item()
        (1.0, 2.0)
    """

    def __init__(self, min_player: Player, max_player: Player, restore: Restore, guard: bool) -> None:
        self.captured = False  # whether the snapshots hold this cycle's pair
        self._settings = _settings(restore, guard)
        self._restored: list[Snapshot] = []
        self._guarded: list[Snapshot] = []  # the rest
        for player, restored in ((min_player, restore.min_player), (max_player, restore.max_player)):
            moments, buffers = restored and restore.moments, restored and restore.buffers
            if restored:
                self._restored.append(Snapshot(player, weights=True, moments=moments, buffers=buffers))
            if guard and not (restored and moments and buffers):
                rest = Snapshot(player, weights=not restored, moments=not moments, buffers=not buffers)
                self._guarded.append(rest)

    def close(self) -> None:
        """Watch the players' optimizers no more."""
        for snapshot in [*self._restored, *self._guarded]:
            snapshot.close()

    def capture(self) -> None:
        """Capture the present pair."""
        self.captured = True
        for snapshot in [*self._restored, *self._guarded]:
            snapshot.capture()

    def put_back(self, guarded: bool = False) -> None:
        """Restore what was captured, in place; with what is ``guarded``, if a state is not finite."""
        for snapshot in self._restored + self._guarded * guarded if self.captured else []:
            snapshot.restore()

    def swap(self, back: bool = False) -> None:
        """Exchange what a rejection would restore and the present pair, in place; ``back`` undoes an exchange."""
        # Undone in the opposite order, so that buffers which both players were given come back too.
        for snapshot in reversed(self._restored) if back else self._restored:
            snapshot.swap()

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs, for a checkpoint at any phase of a cycle."""
        state = {"_captured": self.captured, "settings": self._settings}
        if self.captured:
            state["snapshots"] = [snapshot.state_dict() for snapshot in [*self._restored, *self._guarded]]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave; the players' own state must be loaded before."""
        self.captured = state["_captured"]
        if self.captured:
            for snapshot, saved in zip([*self._restored, *self._guarded], state["snapshots"], strict=True):
                snapshot.load_state_dict(saved)


def check_settings(state: Mapping[str, Any], restore: Restore, guard: bool) -> None:
    """Refuse a state of a game, saved in mid-cycle, whose snapshots are not those of these settings.

    Raises:
        ValueError: with the settings that it was saved with.
    """
    own = _settings(restore, guard)
    saved = state.get("settings", own)  # an earlier version did not tell
    other = {name: saved[name] for name in own if saved[name] != own[name]}
    if state["_captured"] and other:
        raise ValueError(
            f"it was saved in mid-cycle with {other}, so that it has not what a rejection restores here: use the "
            "restore settings and guard that it was saved with, or what was saved at the end of a cycle."
        )


def _settings(restore: Restore, guard: bool) -> dict[str, bool]:
    return {**dataclasses.asdict(restore), "guard": guard}
