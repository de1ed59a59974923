"""The phases of a game's cycle, and whether a saved game can continue from one."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class Phase(enum.Enum):
    """The place of a game in its cycle."""

    BETWEEN = "between"  # the incumbent is in place, and nothing is captured
    CAPTURED = "captured"  # the incumbent is captured, but there is no proposal
    OPEN = "open"  # a proposal is in place
    SHOWN = "shown"  # a proposal is open, and the incumbent is in its place for a while


def phase_of(state: Mapping[str, Any]) -> Phase:
    """Return the phase in which a game was saved. Version 0.1.0 saved three flags for it."""
    if "phase" in state:
        return Phase(state["phase"])
    if state["open"]:
        return Phase.SHOWN if state["swapped"] else Phase.OPEN
    return Phase.CAPTURED if state["_captured"] else Phase.BETWEEN


def check_resumable(state: Mapping[str, Any], settings: Mapping[str, bool]) -> None:
    """Refuse a state of a game, saved in mid-cycle, whose snapshots are not those of these settings.

    Args:
        state: The state of the game.
        settings: The parts that a rejection restores now, as in :class:`PairSnapshot`.

    Raises:
        ValueError: If it must be refused. The message has the settings that it was saved with.
    """
    saved = dict(state["settings"])
    if "guard" in saved:  # its name in version 0.1.0
        saved["recover_nonfinite"] = saved.pop("guard")
    other = {name: saved[name] for name in settings if saved[name] != settings[name]}
    if phase_of(state) is not Phase.BETWEEN and other:
        raise ValueError(
            f"it was saved in mid-cycle with {other}, so that it has not what a rejection restores here: use the "
            "restore settings and recover_nonfinite that it was saved with, or what was saved at the end of a cycle."
        )
