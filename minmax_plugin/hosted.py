"""A game inside a host's own training loop, which steps both players by itself."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from minmax_plugin.decision import Decision
from minmax_plugin.estimators import Estimator
from minmax_plugin.game import MinMaxGame
from minmax_plugin.phase import Phase
from minmax_plugin.player import Player, found_inf
from minmax_plugin.pool import BatchPool
from minmax_plugin.recorder import DecisionRecorder
from minmax_plugin.settings import MinMaxSettings

LAST_WITH_ONE_STEP = (
    "{}(estimator='last') with k = 1 reads f before the discriminator has answered the proposal, which is not "
    "the algorithm; use estimator='fresh', or {} of 2 or more."
)


class Turn(enum.Enum):
    """Whose turn it is in the host's loop."""

    GENERATOR = "generator"  # the pair is decided; the generator has no gradient yet
    PENDING = "pending"  # the generator has a gradient, which is the next proposal
    DISCRIMINATOR = "discriminator"  # it takes its ascent steps
    ANSWERED = "answered"  # its ascent has reached the tolerance in this cycle


class HostedGame:
    """Base of the hooks by which a host's own loop plays a game.

    The loop takes k discriminator steps and then one generator step. The generator's step is deferred: its gradient
    is pending. Before the next iteration it is applied, as the proposal. The discriminator's steps follow. When the
    loop turns to the generator again, f is read and the proposal is decided. The loop then computes the next
    generator gradient at the incumbent.

    A host tells each event by a method: :meth:`begin_iteration`, :meth:`begin_ascent`, :meth:`takes_ascent_step`,
    :meth:`begin_descent` and :meth:`takes_descent_step`. Several generator steps in a cycle are one proposal, and are
    taken as they come.

    Args:
        settings: The settings.
    """

    def __init__(self, settings: MinMaxSettings) -> None:
        self.settings = settings
        self.seed = settings.seed
        self.decision: Decision | None = None
        self.counts = {"disc_steps": 0, "images": 0}
        self.game: Any = None  # a MinMaxGame, as soon as there are optimizers
        self._turn = Turn.GENERATOR
        self._accumulating = False  # the discriminator has a gradient that it has not stepped with
        self._pool: BatchPool | None = None
        self._recorder: DecisionRecorder | None = None

    # --- what a host gives -------------------------------------------------------------------------------

    def load_pool(self) -> Sequence[Any]:
        """Load the batches of real data that f is read on."""
        raise NotImplementedError

    def make_estimator(self, batch: Callable[[], Any], seed: int) -> Estimator:
        """Make the estimator of f that the settings ask for; ``batch`` draws from the pool."""
        raise NotImplementedError

    def say(self, message: str) -> None:
        """Write a line into the host's log."""
        raise NotImplementedError

    def after_rejection(self) -> None:
        """Repair what the generator's forward pass left behind, after a rejection has restored its weights."""

    # --- the start ---------------------------------------------------------------------------------------

    def start(self, min_player: Player, max_player: Player, rank: int) -> None:
        """Begin the game.

        Args:
            min_player: The generator.
            max_player: The discriminator.
            rank: The rank of this process. Each rank reads f on batches of its own.
        """
        own_seed = (self.seed or 0) + 1009 * rank
        self._pool = BatchPool(self.load_pool, own_seed)
        estimator = self.make_estimator(self._pool.draw, own_seed)
        self.game = MinMaxGame(min_player, max_player, estimator=estimator, seed=self.seed or 0, **self.settings.game)

    def record_in(self, folder: str | Path) -> None:
        """Write each decision to ``decisions.jsonl`` in a folder, where the settings ask for it."""
        if self.settings.record:
            decisions = self.game.decisions if self.game else 0
            self._recorder = DecisionRecorder(Path(folder) / "decisions.jsonl", decisions)

    # --- the events of a loop ----------------------------------------------------------------------------

    def begin_iteration(self) -> None:
        """Before an iteration: apply a pending step as the proposal."""
        if self._turn is Turn.PENDING:
            self._turn = Turn.GENERATOR
            self.game.propose()
        elif self.game.recover_nonfinite and self._turn is Turn.GENERATOR and not self.game.open:
            self.game.capture()  # no proposal in this cycle, but its start can be restored

    def begin_ascent(self) -> None:
        """The discriminator begins to make a gradient."""
        self._accumulating = True
        if self._turn is not Turn.ANSWERED:
            self._turn = Turn.DISCRIMINATOR

    def takes_ascent_step(self) -> bool:
        """Whether a step of the discriminator is taken. It is not once the ascent has reached its tolerance."""
        self._accumulating = False
        if self._turn is Turn.DISCRIMINATOR and self._has_answered():
            self._turn = Turn.ANSWERED
        taken = self._turn is not Turn.ANSWERED
        self.counts["disc_steps"] += taken
        return taken

    def begin_descent(self) -> None:
        """The loop turns to the generator: decide, where the discriminator has responded."""
        if self._turn in (Turn.DISCRIMINATOR, Turn.ANSWERED):
            self._decide()

    def takes_descent_step(self, optimizer: Optimizer, several: bool = False) -> bool:
        """Whether a step of the generator is taken now. A deferred one is pending.

        Args:
            optimizer: The generator's optimizer.
            several: Whether a cycle has several of them.
        """
        if several:  # all of a cycle's are one proposal, taken as they come
            return self.game.open or not self.game.propose()
        if not found_inf(optimizer):
            self._turn = Turn.PENDING
        return False

    def _has_answered(self) -> bool:
        tolerance = self.settings.ascent_tolerance
        return tolerance is not None and bool(self.game.max_player.gradient_norm() <= tolerance)

    def _decide(self) -> None:
        self._turn = Turn.GENERATOR
        self.decision = self.game.decide()
        if not self.decision.accepted:
            self.after_rejection()
            if self.decision.undid:
                self.say(self.decision.story)
        if self._recorder is not None:
            self._recorder.write(self.decision)

    # --- what other hooks see ----------------------------------------------------------------------------

    def show_incumbent(self) -> None:
        """Put the incumbent in the place of an open proposal, for whatever looks at the weights."""
        if self.game is not None and self.game.phase is Phase.OPEN:
            self.game.swap()

    def show_proposal(self) -> None:
        """Undo :meth:`show_incumbent`."""
        if self.game is not None and self.game.phase is Phase.SHOWN:
            self.game.swap()

    def summary(self, k: int) -> str:
        """Describe the whole run in one line, with ``k`` ascent steps in a cycle."""
        game, n = self.game, self.counts
        return (
            f"MinMax: {game.decisions} cycles (k = {k}), {game.accepted} of {game.proposals} proposals accepted; "
            f"{n['disc_steps']} discriminator steps on {n['images']} images."
        )

    # --- exact resume ------------------------------------------------------------------------------------

    def game_state(self) -> dict[str, Any]:
        """Return what an exact resume needs, besides the players' own state."""
        phase = {turn.value: self._turn is turn for turn in (Turn.PENDING, Turn.ANSWERED)}
        phase["responded"] = self._turn in (Turn.DISCRIMINATOR, Turn.ANSWERED)
        more: dict[str, Any] = {}
        if self.decision is not None:
            more["decision"] = dataclasses.asdict(self.decision)
        if self._accumulating:
            more["accumulated"] = [None if p.grad is None else p.grad.clone() for p in self.game.max_player.parameters]
        return {**phase, **more, "seed": self.seed, "counts": dict(self.counts), "game": self.game.state_dict()}

    def load_game_state(self, state: dict[str, Any]) -> None:
        """Load the result of :meth:`game_state`. The players' own state must be loaded before."""
        self.game.load_state_dict(state["game"])
        flags = {Turn.PENDING: "pending", Turn.ANSWERED: "answered", Turn.DISCRIMINATOR: "responded"}
        self._turn = next((turn for turn, flag in flags.items() if state[flag]), Turn.GENERATOR)
        self.counts.update(state["counts"])
        self.decision = Decision(**state["decision"]) if "decision" in state else None
        self._accumulating = "accumulated" in state
        for parameter, gradient in zip(self.game.max_player.parameters, state.get("accumulated", []), strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
