"""The algorithm as a state machine over any modules and optimizers: propose → respond → decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from minmax_plugin.acceptance import Acceptance, ConstantRate
from minmax_plugin.snapshot import Player, Restore, Snapshot


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one proposal.

    Attributes:
        index: the decision's number, from 0.
        f_old: f at the last kept pair; NaN where there was none yet.
        f_new: f at the proposal, after the response.
        accepted: whether the proposal was kept.
        reason: ``initial`` (no proposal or no f_old yet), ``improved``, ``chance``, ``worse``,
            ``non-finite``, or a control's name.
        rejections: rejections in a row, this one included.
    """

    index: int
    f_old: float
    f_new: float
    accepted: bool
    reason: str
    rejections: int


class MinMaxGame:
    """min over x, max over y of f(x, y), by proposals that are kept or taken back.

    One cycle (arXiv:2006.12376, Algorithm 1, as the paper uses it for GANs): :meth:`propose` takes one
    optimizer step of the min player, x' = x + v; the caller ascends f(x', ·) from y with k ordinary steps of
    the max player's optimizer, giving y'; :meth:`decide` is told f_new ≈ f(x', y') and keeps (x', y') or
    restores (x, y), in place. The next gradient of the min player is then taken at the kept pair.

    Args:
        min_player: the optimizer of the min player (the generator), or a :class:`Player`.
        max_player: the optimizer of the max player (the discriminator), or a :class:`Player`.
        acceptance: the policy; the practical rule with rate 1/5 if not given.
        restore: what a rejection puts back; everything if not given, as in the theory.
        seed: of the acceptance draw, which has a random stream of its own.

    Departures from the paper: the response is k optimizer steps by the caller, not an ascent to
    ‖∇y f‖ ≤ ε'; the first cycle has no proposal and only sets f_old. From the released code: f_old stays at
    the kept pair's value on a rejection, and the sign of the test is the theory's.

    Example:
        >>> x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        >>> min_opt, max_opt = torch.optim.SGD([x], lr=0.1), torch.optim.SGD([y], lr=0.1, maximize=True)
        >>> game = MinMaxGame(min_opt, max_opt)
        >>> def f():
        ...     return (x * x + x * y - y * y).sum()
        >>> for cycle in range(3):
        ...     _ = game.propose()  # instead of min_opt.step()
        ...     max_opt.zero_grad(); f().backward(); max_opt.step()
        ...     decision = game.decide(f())
        ...     min_opt.zero_grad(); f().backward()
        >>> decision.accepted, decision.reason
        (True, 'improved')
    """

    def __init__(
        self,
        min_player: Player | Optimizer,
        max_player: Player | Optimizer,
        acceptance: Acceptance | None = None,
        restore: Restore | None = None,
        seed: int = 0,
    ) -> None:
        self.min_player = min_player if isinstance(min_player, Player) else Player(min_player)
        self.max_player = max_player if isinstance(max_player, Player) else Player(max_player)
        self.acceptance = ConstantRate() if acceptance is None else acceptance
        self.restore = Restore() if restore is None else restore
        chosen = [(self.min_player, self.restore.min_player), (self.max_player, self.restore.max_player)]
        self._snapshots = [
            Snapshot(player, self.restore.moments, self.restore.buffers) for player, wanted in chosen if wanted
        ]
        self._draws = torch.Generator().manual_seed(seed)
        self.open = False
        self.f_old = math.nan
        self.decisions = 0
        self.accepted = 0
        self.rejections = 0

    def propose(self) -> bool:
        """Capture what a rejection would restore, then step the min player with its present gradient.

        Returns:
            Whether a proposal is open now; ``False`` where the min player has no gradient yet.

        Raises:
            RuntimeError: if the last proposal has not been decided.
        """
        if self.open:
            raise RuntimeError("the last proposal is still open: call decide() before propose().")
        if not self.min_player.has_gradient:
            return False
        for snapshot in self._snapshots:
            snapshot.capture()
        for optimizer in self.min_player.optimizers:
            optimizer.step()
        self.open = True
        return True

    def decide(self, f_new: Tensor | float) -> Decision:
        """Keep or take back the open proposal, given f after the response.

        Where no proposal is open, or none has a value to be compared with, the present pair is the kept
        one and ``f_new`` its value: this is how f_old comes about at the start.

        Args:
            f_new: f at the present pair, in the units of f; a tensor is read (one synchronisation on a GPU).

        Returns:
            The decision.
        """
        f_old = self.f_old
        f_new = f_new.item() if isinstance(f_new, Tensor) else float(f_new)
        draw = torch.rand((), generator=self._draws).item()
        if not math.isfinite(f_new):
            accepted, reason = not self.open, "non-finite"
        elif not self.open or math.isnan(f_old):
            accepted, reason = True, "initial"
        else:
            accepted, reason = self.acceptance(self.decisions, f_old, f_new, draw)
        if accepted:
            self.rejections = 0
            if math.isfinite(f_new):
                self.f_old = f_new
        else:
            self.rejections += 1
            for snapshot in self._snapshots:
                snapshot.restore()
        self.open = False
        decision = Decision(self.decisions, f_old, f_new, accepted, reason, self.rejections)
        self.decisions += 1
        self.accepted += accepted
        return decision

    def swap(self) -> None:
        """Exchange the open proposal and the last kept pair, in place; call it again to return.

        For whoever must look at a decided pair in mid-cycle: an average of weights, a checkpoint. Parts that
        a rejection would not restore are not exchanged: they are settled as soon as they move.
        """
        if self.open:
            for snapshot in self._snapshots:
                snapshot.swap()

    def state_dict(self) -> dict[str, Any]:
        """f_old, counters and the draw's random state; an open proposal is not saved."""
        return {
            "f_old": self.f_old,
            "decisions": self.decisions,
            "accepted": self.accepted,
            "rejections": self.rejections,
            "draws": self._draws.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self.f_old = state["f_old"]
        self.decisions = state["decisions"]
        self.accepted = state["accepted"]
        self.rejections = state["rejections"]
        self._draws.set_state(state["draws"].cpu())
