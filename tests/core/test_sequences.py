"""Random sequences of accepts, rejects, skips, swaps, saves and non-finite values keep the game's promises."""

import io
import math

import torch
from exact import assert_identical
from hypothesis import given, settings
from hypothesis import strategies as st

from minmax_plugin import MinMaxGame, Restore, Strict
from minmax_plugin.controls import RandomRate

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["step", "step", "step", "skip"]),  # does the scaler let the min player's step through
        st.integers(0, 3),  # ascent steps
        st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan, math.inf, -math.inf]),  # f_new
        st.sampled_from([None, None, "swap", "resume"]),  # what happens in mid-cycle
    ),
    max_size=12,
)
RESTORES = st.builds(Restore, moments=st.booleans(), max_player=st.booleans(), buffers=st.booleans())


class Run:
    def __init__(self, restore, policy):
        torch.manual_seed(0)
        self.nets = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
        self.a = torch.optim.Adam(self.nets[0].parameters(), 0.1)
        self.b = torch.optim.Adam(self.nets[1].parameters(), 0.1, maximize=True)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)  # room to be halved at each skip
        self.game = MinMaxGame(self.a, self.b, policy, restore, max_nonfinite=100)

    def value(self):
        return self.nets[1](self.nets[0](torch.ones(1, 2)).tanh()).sum()

    def gradient(self, optimizer):
        optimizer.zero_grad()
        value = self.value()
        (self.scaler.scale(value) if optimizer is self.a else value).backward()

    def players(self):
        return [
            {"weights": net.state_dict(), "moments": optimizer.state_dict()["state"]}
            for net, optimizer in zip(self.nets, (self.a, self.b), strict=True)
        ]

    def resumed(self):
        stateful = (*self.nets, self.a, self.b, self.scaler, self.game)
        *nets, a, b, scaler, game = copied([part.state_dict() for part in stateful])
        other = Run(self.game.restore, self.game.acceptance)
        for net, state in zip(other.nets, nets, strict=True):
            net.load_state_dict(state)
        other.a.load_state_dict(a)
        other.b.load_state_dict(b)
        other.scaler.load_state_dict(scaler)
        other.game.load_state_dict(game)
        return other


def copied(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(EVENTS, RESTORES, st.sampled_from([Strict(), RandomRate(rate=0.5)]))
def test_the_games_promises(events, restore, policy):
    run = Run(restore, policy)
    rejections = 0
    for event, ascents, f_new, middle in events:
        run.gradient(run.a)
        kept, f_old = copied(run.players()), run.game.f_old
        if event == "skip":
            run.nets[0].weight.grad[0, 0] = math.inf
        opened = run.game.propose(run.scaler)
        assert opened == (event == "step")
        for _ in range(ascents):
            run.gradient(run.b)
            run.b.step()
        proposal = copied(run.players())
        if middle == "swap":
            run.game.swap()
            shown = run.players()
            if opened:  # the generator is the kept one
                assert_identical(shown[0]["weights"], kept[0]["weights"])
            run.game.swap()
            assert_identical(run.players(), proposal)
        elif middle == "resume":
            run = run.resumed()
            assert_identical(run.players(), proposal)
        decision = run.game.decide(f_new)
        finite = math.isfinite(f_new)
        after = run.players()
        if decision.accepted:
            assert_identical(after, proposal)
            assert run.game.f_old == f_new
            rejections = 0 if opened else rejections
        else:
            assert opened or not finite
            rejections += 1
            assert run.game.f_old == f_old or math.isnan(f_old)
            assert_identical(after[0]["weights"], kept[0]["weights"])
            expected = kept if restore.max_player else proposal
            assert_identical(after[1]["weights"], expected[1]["weights"])
            if restore.moments:
                assert_identical(after[0]["moments"], kept[0]["moments"])
        assert decision.rejections == run.game.rejections == rejections
        assert (decision.reason == "non-finite") == (not finite)
        if finite and opened and math.isfinite(f_old) and policy == Strict():
            assert decision.accepted == (f_new <= f_old)
    assert run.game.decisions == len(events)
