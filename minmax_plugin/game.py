"""The algorithm as a state machine over any modules and optimizers: propose → respond → decide."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torch.amp import GradScaler
from torch.optim import Optimizer

from minmax_plugin.acceptance import Acceptance, Comparison
from minmax_plugin.checks import check_flags, check_kind, check_patience, check_seed
from minmax_plugin.decision import Decision
from minmax_plugin.deferred import steps_taken
from minmax_plugin.estimators import Estimate, Estimator, Reading, read
from minmax_plugin.phase import Phase, check_resumable, phase_of
from minmax_plugin.player import Player, by_device, found_inf, norm, players_of
from minmax_plugin.policies import build_acceptance
from minmax_plugin.scaling import ScaledSteps
from minmax_plugin.snapshot import PairSnapshot, Restore
from minmax_plugin.watch import RATE_WINDOW, IdleWatch, check_nonfinite, check_rejections, warn_of_rate


class MinMaxGame:
    """min over x, max over y of f(x, y), by proposals that are accepted or rolled back.

    One cycle is that of arXiv:2006.12376, Algorithm 1, as the paper uses it for GANs. It has three parts:

    1. In :meth:`propose` the min player takes one optimizer step, x' = x + v.
    2. The caller ascends f(x', ·) from y with k ordinary steps of the max player's optimizer, which gives y'.
    3. In :meth:`decide` the game gets f_new ≈ f(x', y'). It accepts (x', y') as the incumbent, or restores (x, y), in
       place.

    The min player's next gradient is then taken at the incumbent.

    Under ``torch.distributed`` every rank makes the same decision. The game averages f over the ranks, and the draws
    come from equal seeds. A proposal that is not finite on one rank is rejected on all.

    A rejection restores weights, buffers and all state of the optimizers, in any place. It does not restore a learning
    rate that was set between two steps, for example by a schedule.

    Args:
        min_player: The optimizer of the min player (the generator), or a :class:`Player`.
        max_player: The optimizer of the max player (the discriminator), or a :class:`Player`.
        acceptance: The policy, its name, or a dict as :func:`build_acceptance` takes it. The default rejects
            outliers and accepts all else. ``"constant"`` is the paper's rule for GANs.
        restore: The parts that a rejection restores. By default that is everything, as in the theory.
        estimator: The estimator of f. Without one, the caller gives f to :meth:`decide`.
        seed: The seed of the acceptance draw, which has a separate random stream. It must be the same on all ranks.
        update_reference_on_reject: Whether a rejected proposal's f_new becomes f_old all the same. The released code
            for four Gaussians does so. The theory does not.
        patience: The rejections in a row above which ``on_patience`` applies, the paper's r_max. ``None`` for never.
        on_patience: What happens above ``patience``. ``"stop"`` sets :attr:`stopped`, because the theory's algorithm
            ends there. ``"accept"`` accepts the proposal, and ``"raise"`` raises.
        recover_nonfinite: Whether to capture both players whole, so that any non-finite state can be undone. It costs
            a copy of all parts that ``restore`` does not capture.
        max_nonfinite: The number of non-finite proposals in a row before giving up.
        group: The process group; the default one if not given.

    Raises:
        ValueError: If an argument is of the wrong kind or out of range. Also if an optimizer is only a wrapper, or the
            players share parameters.

    There are two departures from the paper. The response is k optimizer steps by the caller, not an ascent to
    ‖∇y f‖ ≤ ε' (:func:`minmax_plugin.solve` does that). The first cycle has no proposal and only sets f_old.

    Examples:
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
        (True, 'warm-up')
    """

    def __init__(
        self,
        min_player: Player | Optimizer,
        max_player: Player | Optimizer,
        acceptance: Acceptance | str | Mapping[str, Any] | None = None,
        restore: Restore | None = None,
        estimator: Estimator | None = None,
        seed: int = 0,
        update_reference_on_reject: bool = False,
        patience: int | None = None,
        on_patience: str = "stop",
        recover_nonfinite: bool = False,
        max_nonfinite: int = 10,
        group: Any = None,
    ) -> None:
        check_patience(patience, on_patience, max_nonfinite)
        check_flags(update_reference_on_reject=update_reference_on_reject, recover_nonfinite=recover_nonfinite)
        check_seed(seed)
        check_kind("restore", restore, Restore, "such as Restore.named('both')")
        check_kind("estimator", estimator, Estimator, "such as FreshBatch(...)")
        if group is not None:
            check_kind("group", group, distributed.ProcessGroup, "such as torch.distributed.new_group(...)")
        self.acceptance = build_acceptance("outlier" if acceptance is None else acceptance)
        self.restore = Restore() if restore is None else restore
        self.estimator = estimator
        self.update_reference_on_reject = update_reference_on_reject
        self.patience, self.on_patience, self.max_nonfinite = patience, on_patience, max_nonfinite
        self.recover_nonfinite = recover_nonfinite
        self._group = group
        self._draws = torch.Generator().manual_seed(int(seed))
        self.phase = Phase.BETWEEN
        self.decisions = 0  # cycles
        self.proposals = 0  # cycles with a proposal
        self.accepted = 0  # proposals that were accepted
        self.rejections = 0  # in a row
        self.nonfinite = 0  # in a row
        self._watched = 0  # acceptances since the last look at their rate
        self._stepped = False
        self._idle, self._scaled = IdleWatch(), ScaledSteps()
        self._release: list[Callable[[], Any]] = []
        self.f_old = self._f_old_error = self._norm_old = math.nan
        self._changes: deque[tuple[float, float]] = deque(maxlen=self.acceptance.memory)
        self.replace(min_player, max_player)

    def replace(self, min_player: Player | Optimizer, max_player: Player | Optimizer) -> None:
        """Continue with other players: networks that grow, optimizers that are built again.

        Then f is another function, so :attr:`f_old` is forgotten.

        Raises:
            RuntimeError: If a proposal is open. Call :meth:`close` first.
            ValueError: If an argument cannot be a player, as at the start.
        """
        if self.open:
            raise RuntimeError("a proposal is open: call decide() or close() before replace().")
        players = players_of(min_player, max_player)
        for release in self._release:
            release()
        self.min_player, self.max_player = players
        self._incumbent = PairSnapshot(*players, self.restore, self.recover_nonfinite)
        self.close()
        hooks = [o.register_step_post_hook(self._on_min_step) for o in self.min_player.optimizers]
        self._release = [self._incumbent.close, *(hook.remove for hook in hooks)]

    @property
    def open(self) -> bool:
        """Whether there is a proposal that has not been decided."""
        return self.phase in (Phase.OPEN, Phase.SHOWN)

    @property
    def stopped(self) -> bool:
        """Whether the algorithm has ended: more than ``patience`` rejections in a row, with ``on_patience="stop"``."""
        beyond = self.patience is not None and self.rejections > self.patience
        return self.on_patience == "stop" and beyond

    def propose(self, scaler: GradScaler | None = None) -> bool:
        """Capture what a rejection would restore, then step the min player with its present gradient.

        Args:
            scaler: The gradient scaler that scaled the present gradient; by default that of a prepared optimizer. The
                game steps through it and then calls its ``update()``. The caller's own ``update()`` belongs right after
                each ``scaler.step(max_optimizer)``, before :meth:`decide`.

        Returns:
            Whether a proposal is open now. It is ``False`` where the min player has no gradient yet, or the gradient
            scaler skipped its step.

        Raises:
            RuntimeError: If the last proposal has not been decided, or the scaler has another scale than at the last
                decision.
            ValueError: If ``scaler`` is no gradient scaler.

        Warns:
            UserWarning: After three cycles in a row without a gradient.
        """
        if self.open:
            raise RuntimeError("the last proposal is still open: call decide() before propose().")
        has_gradient = self.min_player.has_gradient
        scaler = self.min_player.scaler if scaler is None else scaler
        if scaler is not None:
            self._scaled.use(scaler, has_gradient)
        self._idle.look(self.min_player)
        self.phase = Phase.BETWEEN
        if has_gradient or self.recover_nonfinite:
            self.capture()
        if not has_gradient:
            return False
        if self.estimator is not None:
            self.estimator.evaluate_incumbent()
        self._stepped = False
        with steps_taken(self.min_player.optimizers):
            if scaler is not None:
                self._scaled.step(self.min_player.optimizers)
            else:
                for optimizer in self.min_player.optimizers:
                    optimizer.step()
        if self._stepped:
            self.phase = Phase.OPEN
        return self._stepped

    def decide(self, f_new: Tensor | float | Estimate | None = None) -> Decision:
        """Accept the open proposal or roll it back, given f after the response.

        Without an open proposal, or without an f_old to compare with, the present pair is accepted and ``f_new``
        becomes f_old. The first f_old is made this way.

        Args:
            f_new: The value of f at the present pair, in the units of f, or an :class:`Estimate`. If it is not given,
                the game asks its estimator.

        Returns:
            The decision.

        Raises:
            ValueError: If ``f_new`` is not one number, or is not given and the game has no estimator.
            FloatingPointError: If a state is not finite and cannot be undone, or after ``max_nonfinite`` such
                proposals in a row. It looks at f and all weights, and with ``recover_nonfinite`` at all else.
            RuntimeError: After more than ``patience`` rejections in a row, with ``on_patience="raise"``. Also if the
                incumbent is shown in the proposal's place.
        """
        self._check_shown()
        players = self.min_player, self.max_player
        norms = [norm(player.parameters for player in players)]
        if self.recover_nonfinite:
            # Adam counts its steps on the host, so each device has a norm of its own: nothing is copied to another.
            norms += [norm([tensors]) for tensors in by_device(t for player in players for t in player.state)]
        reading = read(self._estimate(f_new), norms, self._group)
        decision = self._judge(reading, torch.rand((), generator=self._draws).item())
        self._commit(decision, reading)
        return decision

    def _judge(self, reading: Reading, draw: float) -> Decision:
        """Ask the policy about a reading, given a uniform ``draw``. This changes nothing."""
        f_old, error = reading.f_old, reading.difference_error
        if f_old is None:
            f_old, error = self.f_old, math.hypot(reading.standard_error, self._f_old_error)
        if not reading.finite:
            accepted, reason = False, "non-finite"
        elif math.isnan(f_old):
            accepted, reason = True, "initial"
        elif not self.open:
            accepted, reason = True, "no proposal"
        else:
            norms = self._norm_old, reading.norm
            facts = Comparison(
                self.decisions, f_old, reading.f_new, draw, error, *norms, self._changes, self.rejections
            )
            accepted, reason = self.acceptance(facts)
            patient = self.patience is None or self.rejections < self.patience
            if not accepted and self.on_patience == "accept" and not patient:
                accepted, reason = True, "patience"
        counts = self.open or not reading.finite
        rejections = (0 if accepted else self.rejections + 1) if counts else self.rejections
        return Decision(self.decisions, f_old, reading.f_new, error, accepted, reason, rejections)

    def _commit(self, decision: Decision, reading: Reading) -> None:
        """Carry a decision out: restore the incumbent or replace it, and count."""
        restored = not decision.accepted and self.phase is not Phase.BETWEEN
        if restored:
            self._incumbent.restore(everything=not reading.finite)
        if self.estimator is not None:
            # After a value that is not finite another batch is read, because the batch may be the reason.
            self.estimator.settle(decision.accepted, restored and self.restore.determines_f and reading.finite)
        if not reading.finite:
            self._check_undone()
        elif decision.accepted or self.update_reference_on_reject:
            self.f_old, self._f_old_error = reading.f_new, reading.standard_error
        self.nonfinite = 0 if reading.finite else self.nonfinite + 1
        self.rejections = decision.rejections
        self.decisions += 1
        if self.open:
            self.proposals += 1
            self.accepted += decision.accepted
            self._changes.append((decision.f_new - decision.f_old, reading.norm - self._norm_old))
            self._watch(decision.accepted)
        if decision.accepted:
            self._norm_old = reading.norm
        elif not (restored and self.restore.min_player and self.restore.max_player):
            self._norm_old = math.nan
        self.phase = Phase.BETWEEN
        self._scaled.note()
        check_nonfinite(self.nonfinite, self.max_nonfinite)
        if self.on_patience == "raise":
            check_rejections(self.rejections, self.patience)

    def capture(self) -> None:
        """Capture the present pair without a proposal, so that a cycle that ends non-finite can be undone.

        It is useful with ``recover_nonfinite``, before the max player's first step.
        """
        self._incumbent.capture()
        self.phase = Phase.CAPTURED

    def close(self) -> None:
        """Accept an open proposal without a test and forget f_old, because f is about to become another function.

        This happens where a network grows a layer. The new f says nothing about this proposal.

        Raises:
            RuntimeError: If the incumbent is shown in the proposal's place.
        """
        self._check_shown()
        self.phase = Phase.BETWEEN
        self.f_old = self._f_old_error = self._norm_old = math.nan
        self._changes.clear()
        if self.estimator is not None:
            self.estimator.reset()

    def swap(self) -> None:
        """Exchange the open proposal and the incumbent, in place; call it again to return.

        It is for hooks that must see the incumbent in mid-cycle: an average of weights, a checkpoint. Parts that a
        rejection would not restore are not exchanged, because they are final as soon as they move.
        """
        if self.open:
            self._incumbent.swap(back=self.phase is Phase.SHOWN)
            self.phase = Phase.OPEN if self.phase is Phase.SHOWN else Phase.SHOWN

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs for an exact resume, at any phase of a cycle.

        That is f_old, counters and the draw's random state. Between two cycles it includes the min player's pending
        gradient, and while a proposal is open the snapshot. The caller saves the players' own state (modules and
        optimizers). The result is safe for ``torch.load(weights_only=True)``.
        """
        state = {name: getattr(self, name) for name in _SAVED}
        state |= {"phase": self.phase.value, "settings": self._incumbent.settings, "draws": self._draws.get_state()}
        state["value"] = {} if self.estimator is None else self.estimator.state_dict()
        state |= {"estimator": self._kind, "changes": list(map(list, self._changes)), "norm_old": self._norm_old}
        if not self.open:
            gradients = [p.grad for p in self.min_player.parameters]
            state["gradients"] = [None if g is None else g.clone() for g in gradients]
        if self.phase is not Phase.BETWEEN:
            state["snapshots"] = self._incumbent.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`. Modules and optimizers must be loaded before.

        Where an estimator of another kind read f, :attr:`f_old` is forgotten, as it is where f changes. An open
        proposal is then accepted untested.

        Raises:
            ValueError: If the state was saved with another ``restore`` or ``recover_nonfinite`` in mid-cycle.
        """
        check_resumable(state, self._incumbent.settings)
        self._scaled.forget()
        for name in _SAVED:
            setattr(self, name, state[name])
        self.phase = phase_of(state)
        self._draws.set_state(state["draws"].cpu())
        self._changes = deque(map(tuple, state.get("changes", ())), self.acceptance.memory)
        self._norm_old = state.get("norm_old", math.nan)
        kind = self._kind
        if state.get("estimator", kind) != kind:
            self._changes.clear()
            self.f_old = self._f_old_error = math.nan
        elif self.estimator is not None:
            self.estimator.load_state_dict(state["value"])
        if self.phase is not Phase.BETWEEN:
            self._incumbent.load_state_dict(state["snapshots"])
        if "gradients" in state:
            for parameter, gradient in zip(self.min_player.parameters, state["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)

    @property
    def _kind(self) -> str:
        return "NoneType" if self.estimator is None else self.estimator.kind

    def _check_shown(self) -> None:
        if self.phase is Phase.SHOWN:
            raise RuntimeError("the incumbent is shown in the proposal's place: call swap() once more before.")

    def _on_min_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped |= not found_inf(optimizer)

    def _estimate(self, f_new: Tensor | float | Estimate | None) -> Estimate:
        if f_new is None:
            if self.estimator is None:
                raise ValueError("decide() needs f_new: give it, or give the game an estimator with estimator=...")
            f_new = self.estimator.evaluate_proposal()
        return f_new if isinstance(f_new, Estimate) else Estimate(f_new)

    def _check_undone(self) -> None:
        if not (self.min_player.is_finite() and self.max_player.is_finite()):
            raise FloatingPointError(
                f"decision {self.decisions}: something is not finite, and the damage lies outside what is restored "
                f"({self.restore}, recover_nonfinite={self.recover_nonfinite}). Use recover_nonfinite=True to make "
                "every such state recoverable, or lower the learning rates."
            )

    def _watch(self, accepted: bool) -> None:
        self._watched += accepted
        if self.proposals % RATE_WINDOW == 0:
            kept, self._watched = self._watched, 0
            warn_of_rate(self.acceptance, kept)


_SAVED = ("f_old", "_f_old_error", "decisions", "proposals", "accepted", "rejections", "nonfinite", "_watched")
