"""Games in trouble: what is not finite, rejections without end, skipped steps, bad settings."""

import math

import pytest
import torch
from games import small_game

from minmax_plugin import Always, Estimate, MinMaxGame, Player, Restore, Strict
from minmax_plugin.controls import Never

NONFINITE = [
    # what breaks, after the first cycle, and whether restoring the generator alone can mend it
    ("the min gradient", lambda x, y, a, b: x.grad.fill_(math.nan), False),
    ("the min weights", lambda x, y, a, b: x.data.fill_(math.inf), True),
    ("the max weights", lambda x, y, a, b: y.data.fill_(math.nan), False),
    ("the max moments", lambda x, y, a, b: (y.data.fill_(math.nan), b.state[y]["exp_avg"].fill_(math.nan)), False),
]


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize(("breaks", "mendable"), [c[1:] for c in NONFINITE], ids=[c[0] for c in NONFINITE])
def test_what_is_not_finite_is_taken_back_or_named(breaks, mendable, recover):
    x, y, a, b, game = small_game(
        acceptance=Always(),
        restore=Restore(max_player=False, moments=False, buffers=False),
        recover_nonfinite=recover,
    )
    a.step()
    b.step()
    game.decide(0.0)
    before = [t.clone() for t in (x.data, y.data, *a.state[x].values(), *b.state[y].values())]
    gradient_first = x.grad is not None and breaks is NONFINITE[0][1]
    if gradient_first:
        breaks(x, y, a, b)
    game.propose()
    if not gradient_first:
        breaks(x, y, a, b)
    if not (recover or mendable):
        with pytest.raises(
            FloatingPointError, match="the damage lies outside what is restored .* Use recover_nonfinite=True"
        ):
            game.decide(1.0)
        return
    decision = game.decide(1.0)
    assert (decision.accepted, decision.reason) == (False, "non-finite")
    if recover:
        after = [x.data, y.data, *a.state[x].values(), *b.state[y].values()]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert game.min_player.is_finite()
    assert game.max_player.is_finite()


def test_too_many_non_finite_proposals_end_with_the_last_good_pair():
    x, *_, game = small_game(max_nonfinite=3)
    game.decide(0.0)
    kept = x.detach().clone()
    for _ in range(2):
        game.propose()
        assert game.decide(math.nan).reason == "non-finite"
    game.propose()
    with pytest.raises(FloatingPointError, match="3 proposals in a row were not finite; the last good pair is in"):
        game.decide(math.nan)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("on_patience", ["stop", "accept", "raise"])
def test_an_escape_after_more_than_r_max_rejections(on_patience):
    *_, game = small_game(acceptance=Strict(), patience=3, on_patience=on_patience)
    game.decide(0.0)
    reasons = []

    def play():
        for i in range(5):
            game.propose()
            reasons.append(game.decide(1.0 + i).reason)
            if game.stopped:
                break

    if on_patience == "raise":
        with pytest.raises(RuntimeError, match="4 rejections in a row, more than patience=3"):
            play()
    else:
        play()
    assert (
        reasons
        == {
            "stop": ["worse"] * 4,
            "accept": ["worse", "worse", "worse", "patience", "worse"],
            "raise": ["worse"] * 3,
        }[on_patience]
    )


@pytest.mark.parametrize(("f", "kept"), [(lambda i: -float(i), "100%"), (lambda i: float(i), "0%")])
def test_an_acceptance_rate_near_0_or_1_warns(f, kept):
    *_, game = small_game(acceptance=Strict())
    game.decide(0.0)
    for i in range(1, 500):
        game.propose()
        game.decide(f(i))
    *_, resumed = small_game(acceptance=Strict())
    resumed.load_state_dict(game.state_dict())
    for one in (game, resumed):
        one.propose()
        with pytest.warns(UserWarning, match=f"MinMax accepted {kept} of the last 500 proposals"):
            one.decide(f(500))


def test_each_look_at_the_acceptance_rate_is_at_proposals_of_its_own():
    *_, game = small_game(acceptance=Strict())
    game.decide(0.0)
    for i in range(1, 1000):
        game.propose()
        game.decide(-float(i) if i % 2 and i < 500 else 1.0)  # the first half of them are not worth a warning
    game.propose()
    with pytest.warns(UserWarning, match="MinMax accepted 0% of the last 500 proposals"):
        game.decide(1.0)


def test_a_step_of_one_of_several_optimizers_is_a_proposal():
    x, y, z = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    stepping, skipping = (torch.optim.Adam([p], fused=True) for p in (x, y))
    game = MinMaxGame(Player([stepping, skipping]), torch.optim.Adam([z]), Never())
    game.decide(0.0)
    skipping.found_inf = torch.ones(())  # as a gradient scaler tells it
    x.grad, y.grad = torch.ones(1), torch.full((1,), math.inf)
    assert game.propose()
    assert game.decide(0.0).reason == "never"
    assert x.item() == y.item() == 1


def test_non_finite_rejections_do_not_hide_the_escape():
    *_, game = small_game(acceptance=Strict(), patience=2, on_patience="accept")
    game.decide(0.0)
    reasons = []
    for value in (1.0, 1.0, math.nan, 1.0):
        game.propose()
        reasons.append(game.decide(value).reason)
    assert reasons == ["worse", "worse", "non-finite", "patience"]


@pytest.mark.parametrize("f_old", [math.nan, math.inf])
def test_a_kept_pair_that_reads_as_non_finite_is_no_ground_to_accept(f_old):
    *_, game = small_game(acceptance=Always())
    game.decide(0.0)
    game.propose()
    assert game.decide(Estimate(0.0, f_old=f_old)).reason == "non-finite"


def test_the_guard_looks_at_moments_and_buffers_too():
    x, _, optimizer, _, game = small_game(acceptance=Always(), recover_nonfinite=True)
    optimizer.step()
    game.decide(0.0)
    game.propose()
    optimizer.state[x]["exp_avg_sq"].fill_(math.inf)
    assert game.decide(0.0).reason == "non-finite"
    assert optimizer.state[x]["exp_avg_sq"].isfinite().all()


def test_the_guard_takes_buffers_back():
    norm = torch.nn.BatchNorm1d(2)
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    player = Player(torch.optim.Adam(norm.parameters()), norm)
    game = MinMaxGame(player, other, Always(), Restore(buffers=False), recover_nonfinite=True)
    game.decide(0.0)
    norm(torch.randn(8, 2)).sum().backward()
    game.propose()
    norm.running_var.fill_(math.inf)
    assert game.decide(0.0).reason == "non-finite"
    assert norm.running_var.isfinite().all()


def test_the_guard_covers_a_cycle_without_a_proposal():
    x, y, *_, game = small_game(recover_nonfinite=True)
    x.grad = None
    assert not game.propose()
    y.data.fill_(math.nan)
    assert game.decide(0.0).reason == "non-finite"
    assert y.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_weights_of_half_precision_are_finite(dtype):
    x = torch.nn.Parameter(torch.full((4,), 6e4, dtype=dtype))
    assert Player(torch.optim.SGD([x])).is_finite()


def test_a_player_of_several_optimizers_and_modules():
    parts = [torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)]
    optimizers = [torch.optim.Adam(parts[0].parameters()), torch.optim.SGD(parts[1].parameters(), momentum=0.9)]
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    game = MinMaxGame(Player(optimizers, parts), other, Never())
    game.decide(0.0)
    for _ in range(3):
        before = [t.clone() for part in parts for t in part.state_dict().values()]
        parts[1](parts[0](torch.randn(8, 2))).square().sum().backward()
        before[-3:] = [t.clone() for t in parts[1].buffers()]
        game.propose()
        parts[1](parts[0](torch.randn(8, 2)))
        game.decide(0.0)
        after = [t for part in parts for t in part.state_dict().values()]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert not any(o.state for o in optimizers)
