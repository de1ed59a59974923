"""A game's state: what resumes, to the last bit, and what is refused."""

import copy
import math

import pytest
import torch
from exact import assert_identical
from games import Played, small_game

from minmax_plugin import Estimate, Estimator, MinMaxGame, Outlier, Player, Restore, Strict
from minmax_plugin.controls import Never
from minmax_plugin.phase import Phase

PHASES = [(cycle, move) for cycle in (3, 4) for move in range(5)]  # two cycles of propose, 2 ascents, decide, descend


@pytest.mark.parametrize("estimator", ["fresh", "reread", "paired", "paired, held"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
@pytest.mark.parametrize(
    "restore",
    [dict(players=p, moments=m, buffers=m) for p in ("both", "generator") for m in (True, False)],
    ids=lambda r: f"{r['players']}-{'moments' if r['moments'] else 'weights'}",
)
def test_a_run_resumes_to_the_last_bit_at_every_phase(tmp_path, estimator, optimizer, restore):
    def build():
        return Played("constant", optimizer, 2, estimator, recover_nonfinite=not restore["moments"], **restore)

    def play(run, save_at=(), start=(0, -1), swapped=False):
        for cycle in range(8):
            for i, move in enumerate(run.moves(cycle)):
                if (cycle, i) <= start:
                    continue
                move()
                if (cycle, i) in save_at:
                    torch.save(run.state_dict(), tmp_path / f"{cycle}-{i}-plain.pt")
                    run.game.swap()  # as the toolkit saves it, the kept pair being shown
                    torch.save(run.state_dict(), tmp_path / f"{cycle}-{i}-swapped.pt")
                    run.game.swap()
        return run.state_dict()

    whole = play(build(), save_at=PHASES)
    for phase in PHASES:
        for kind in ("plain", "swapped"):
            run = build()
            run.load_state_dict(torch.load(tmp_path / f"{phase[0]}-{phase[1]}-{kind}.pt", weights_only=True))
            if run.game.phase is Phase.SHOWN:
                run.game.swap()
            assert_identical(play(run, start=phase), whole)


VALUES = [1.0, 0.5, 0.75, 0.4, 0.6, math.nan, math.nan]
DRIFT = [
    0.0,
    0.1,
    0.19,
    0.3,
    0.39,
    9.0,
    math.nan,
    0.5,
    -9.0,
    0.59,
    9.0,
    9.1,
    9.19,
]  # a jump that fails, and one that stays


@pytest.mark.parametrize(
    ("policy", "values", "reasons"),
    [
        (Strict(), VALUES, {"initial", "improved", "worse", "non-finite"}),
        (Outlier(window=4, warmup=2), DRIFT, {"initial", "warm-up", "usual", "outlier of f", "non-finite"}),
    ],
    ids=["strict", "outlier"],
)
def test_a_resumed_game_counts_on(policy, values, reasons):

    def play(game, values):
        decisions = []
        for value in values:
            game.propose()
            decisions.append(game.decide(Estimate(value, standard_error=0.1)))
        return decisions, [game.decisions, game.proposals, game.accepted, game.rejections, game.nonfinite]

    decisions, counts = play(small_game(acceptance=policy)[-1], values)
    assert {decision.reason for decision in decisions} == reasons
    for cut in range(1, len(values)):
        (x, y, *_, first), (x2, y2, *_, then) = (small_game(acceptance=policy) for _ in range(2))
        play(first, values[:cut])
        x2.data.copy_(x.data)
        y2.data.copy_(y.data)
        then.load_state_dict(first.state_dict())
        assert repr(play(then, values[cut:])) == repr((decisions[cut:], counts))


def test_a_state_is_a_copy():
    run = Played("constant", "adam", 2, "paired")
    saved = []
    for cycle in range(6):
        for move in run.moves(cycle):
            move()
            state = run.game.state_dict()
            saved.append((state, copy.deepcopy(state)))
    for state, at_once in saved:
        assert_identical(state, at_once)


def test_a_state_of_the_first_version_loads():
    def build():
        torch.manual_seed(0)
        nets = [torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)) for _ in range(2)]
        optimizers = [torch.optim.Adam(net.parameters(), 0.1) for net in nets]
        game = MinMaxGame(*(Player(o, net) for o, net in zip(optimizers, nets, strict=True)), Never())
        return [*nets, *optimizers, game]

    def step(net, optimizer):
        net(torch.randn(8, 2)).square().sum().backward()
        return optimizer.step()

    parts = g, d, a, b, game = build()
    step(g, a)
    step(d, b)
    game.decide(0.0)
    kept = copy.deepcopy([part.state_dict() for part in parts[:4]])
    game.propose()
    step(d, b)
    state = copy.deepcopy([part.state_dict() for part in parts])
    for snapshot in state[-1]["snapshots"]:  # buffers were among the tensors, and nothing else was known of
        held = [buffer for of_module in snapshot.pop("buffers") for buffer in of_module.values()]
        snapshot["tensors"] += held
        del snapshot["shared"], snapshot["steps"]
        assert set(snapshot) == {"tensors", "states"}
    others = build()
    for part, of_part in zip(others, state, strict=True):
        part.load_state_dict(of_part)
    step(others[1], others[3])
    others[-1].decide(0.0)
    assert_identical([part.state_dict() for part in others[:4]], kept)


@pytest.mark.parametrize("other", [dict(restore=Restore(moments=False)), dict(recover_nonfinite=True)], ids=str)
def test_snapshots_of_other_settings_are_refused(other):
    settings = dict(restore=Restore(buffers=False), recover_nonfinite=False)
    *_, game = small_game(**settings)
    game.decide(0.0)
    between = game.state_dict()
    game.propose()
    opened = game.state_dict()
    *_, resumed = small_game(**{**settings, **other})
    resumed.load_state_dict(between)
    with pytest.raises(
        ValueError, match="was saved in mid-cycle with .*use the restore settings and recover_nonfinite that it was"
    ):
        resumed.load_state_dict(opened)


def test_a_gradient_that_is_pending_survives_a_capture():
    x, *_, game = small_game(recover_nonfinite=True)
    game.decide(0.0)
    x.grad = torch.ones_like(x)
    game.capture()
    state = game.state_dict()
    x.grad = None
    game.load_state_dict(state)
    assert game.propose()


class Own(Estimator):
    def evaluate_proposal(self):
        return Estimate(1.0)

    def load_state_dict(self, state):
        assert state == {}


class Other(Own):
    def load_state_dict(self, state):
        raise AssertionError("it is of another class")


def test_an_estimator_of_another_class_forgets_f_old():
    *_, game = small_game(estimator=Own())
    game.decide()
    for estimator, f_old in ((Own(), 1.0), (Other(), math.nan)):
        *_, again = small_game(estimator=estimator)
        again.load_state_dict(game.state_dict())
        assert again.f_old == f_old or (math.isnan(again.f_old) and math.isnan(f_old))
