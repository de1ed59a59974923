"""Warnings of a game that does nothing, and errors of one that cannot go further."""

from __future__ import annotations

import warnings

from minmax_plugin.acceptance import Acceptance, Strict
from minmax_plugin.player import Player

RATE_WINDOW = 500  # decisions between two looks at the acceptance rate
IDLE_CYCLES = 3  # in a row without a gradient, from which on it is no accident; the first cycle never has one


class IdleWatch:
    """Counts the cycles in a row in which the min player has no gradient or a zero one, and warns once."""

    def __init__(self) -> None:
        self._idle = 0
        self._looks = 0  # at the gradient's norm, for which the device is waited for
        self._warned = False

    def look(self, player: Player) -> None:
        """Look at the gradient of a player that is about to propose."""
        idle = not player.has_gradient
        if not idle and self._looks < IDLE_CYCLES:
            self._looks += 1
            idle = not bool(player.gradient_norm())
        self._idle = self._idle + 1 if idle else 0
        if self._idle < IDLE_CYCLES or self._warned:
            return
        self._warned = True
        if any(p.requires_grad for p in player.parameters):
            mend = (
                "Call the min player's zero_grad() just before its backward pass, after decide(), and not between that "
                "pass and propose(). Or its optimizer may have other parameters than its loss depends on."
            )
        else:
            mend = "None of the parameters of its optimizer requires a gradient."
        warnings.warn(
            f"MinMax found no gradient of the min player in {IDLE_CYCLES} cycles in a row: it does not train. {mend}",
            stacklevel=3,
        )


def warn_of_rate(acceptance: Acceptance, kept: int) -> None:
    """Warn where a policy that tests accepted nearly all, or nearly none, of the last proposals."""
    share = kept / RATE_WINDOW
    if isinstance(acceptance, Strict) and not 0.01 <= share <= 0.99:
        warnings.warn(
            f"MinMax accepted {share:.0%} of the last {RATE_WINDOW} proposals: the accept test decides nothing. "
            "Look at min_decrease, the acceptance rate, and the noise of f.",
            stacklevel=4,
        )


def check_nonfinite(times: int, most: int) -> None:
    """Give up after ``most`` proposals in a row that were not finite.

    Raises:
        FloatingPointError: If there were as many.
    """
    if times >= most:
        raise FloatingPointError(
            f"{times} proposals in a row were not finite; the last good pair is in place. Lower the learning rates, or "
            "raise max_nonfinite."
        )


def check_rejections(times: int, patience: int | None) -> None:
    """Give up after more than ``patience`` rejections in a row.

    Raises:
        RuntimeError: If there were more.
    """
    if patience is not None and times > patience:
        raise RuntimeError(f"{times} rejections in a row, more than patience={patience}; the incumbent is in place.")
