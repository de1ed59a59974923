import math

import numpy as np
import oracle
import pytest
import torch

from minmax_plugin import Always, ConstantRate, Decision, MinMaxGame, Never, Player, RandomRate, Restore, Strict

POLICIES = {
    "strict": (Strict(slack=0.01), lambda f_old, f_new, draw: f_new <= f_old - 0.01),
    "constant": (ConstantRate(rate=0.4), lambda f_old, f_new, draw: f_new <= f_old or draw < 0.4),
    "always": (Always(), lambda f_old, f_new, draw: True),
    "never": (Never(), lambda f_old, f_new, draw: False),
    "random": (RandomRate(rate=0.5), lambda f_old, f_new, draw: draw < 0.5),
}
OPTIMIZERS = {
    "adam": (
        oracle.Adam,
        lambda p, lr, ascend: torch.optim.Adam([p], lr=lr, betas=(0.5, 0.9), maximize=ascend),
    ),
    "momentum": (
        oracle.Momentum,
        lambda p, lr, ascend: torch.optim.SGD([p], lr=lr, momentum=0.8, maximize=ascend),
    ),
}
CYCLES = 40


def noise(cycle, k=5):
    random = np.random.default_rng([1, cycle])
    return 0.3 * random.normal(size=3), 0.3 * random.normal(size=(k, 3)), 0.2 * random.normal()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("players", ["both", "generator"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_step_equals_the_plain_implementation(policy, optimizer, players, moments, k):
    game = oracle.Game()
    acceptance, decide = POLICIES[policy]
    plain, build = OPTIMIZERS[optimizer]
    a, b, c = (torch.from_numpy(m) for m in (game.a, game.b, game.c))
    x, y = torch.nn.Parameter(torch.from_numpy(game.x0.copy())), torch.nn.Parameter(torch.from_numpy(game.y0.copy()))
    min_optimizer, max_optimizer = build(x, 0.05, False), build(y, 0.1, True)
    played = MinMaxGame(min_optimizer, max_optimizer, acceptance, Restore.named(players, moments), seed=7)
    storage = x.data_ptr(), y.data_ptr()

    def f(extra_x=0.0, extra_y=0.0):
        value = 0.5 * x @ a @ x + x @ b @ y - 0.5 * y @ c @ y + x[0].sin()
        return value + x @ torch.as_tensor(extra_x).expand(3).double() + y @ torch.as_tensor(extra_y).expand(3).double()

    draws = torch.rand(CYCLES, generator=torch.Generator().manual_seed(7)).tolist()
    expected = oracle.play(game, plain, k, CYCLES, decide, noise, draws, players == "both", moments)
    outcomes = set()
    for cycle, (x_plain, y_plain, accepted) in enumerate(expected):
        of_gradient, of_ascent, of_f = noise(cycle)
        assert played.propose() == (cycle > 0)
        for step in range(k):
            max_optimizer.zero_grad()
            f(extra_y=of_ascent[step]).backward()
            max_optimizer.step()
        decision = played.decide(f() + of_f)
        assert decision.accepted == accepted
        np.testing.assert_allclose(x.detach().numpy(), x_plain, rtol=1e-10)
        np.testing.assert_allclose(y.detach().numpy(), y_plain, rtol=1e-10)
        min_optimizer.zero_grad()
        f(extra_x=of_gradient).backward()
        outcomes.add(accepted)
    if policy not in ("always", "never"):
        assert outcomes == {True, False}
    assert (x.data_ptr(), y.data_ptr()) == storage


def small_game(**settings):
    x, y = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    x.grad = torch.ones(2)
    y.grad = torch.ones(2)
    optimizers = torch.optim.Adam([x], lr=0.1), torch.optim.Adam([y], lr=0.1)
    return x, y, *optimizers, MinMaxGame(*optimizers, **settings)


def test_decisions_are_recorded_as_they_fall():
    _, _, _, _, game = small_game(acceptance=Strict())
    values = [1.0, 0.5, 0.7, math.nan, math.inf, 0.5]
    decisions = [game.decide(values[0])]
    for value in values[1:]:
        game.propose()
        decisions.append(game.decide(torch.tensor(value)))
    assert decisions[1:] == [
        Decision(1, 1.0, 0.5, True, "improved", 0),
        Decision(2, 0.5, pytest.approx(0.7), False, "worse", 1),
        Decision(3, 0.5, pytest.approx(math.nan, nan_ok=True), False, "non-finite", 2),
        Decision(4, 0.5, math.inf, False, "non-finite", 3),
        Decision(5, 0.5, 0.5, True, "improved", 0),
    ]
    assert math.isnan(decisions[0].f_old)
    assert decisions[0].reason == "initial"
    assert (game.decisions, game.accepted, game.rejections) == (6, 3, 0)


def test_a_rejected_first_step_leaves_no_optimizer_state():
    x, _, min_optimizer, _, game = small_game(acceptance=Never())
    game.decide(1.0)
    game.propose()
    assert min_optimizer.state[x]
    game.decide(0.0)
    assert x not in min_optimizer.state
    assert x.tolist() == [1.0, 1.0]


def test_buffers_go_back_with_their_player():
    norm = torch.nn.BatchNorm1d(2)
    optimizer = torch.optim.Adam(norm.parameters())
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    for buffers in (True, False):
        game = MinMaxGame(Player(optimizer, norm), other, Never(), Restore(buffers=buffers))
        norm(torch.randn(8, 2)).sum().backward()
        game.decide(0.0)
        before = norm.running_mean.clone(), norm.num_batches_tracked.clone()
        game.propose()
        norm(torch.randn(8, 2))
        game.decide(1.0)
        assert torch.equal(norm.running_mean, before[0]) == buffers
        assert torch.equal(norm.num_batches_tracked, before[1]) == buffers


@pytest.mark.parametrize("players", ["both", "generator"])
def test_swap_shows_the_kept_pair_and_gives_the_proposal_back(players):
    x, y, min_optimizer, max_optimizer, game = small_game(restore=Restore.named(players))
    kept = x.clone(), y.clone()
    game.propose()
    max_optimizer.step()
    proposal = x.clone(), y.clone()
    game.swap()
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1] if players == "both" else proposal[1])
    assert x not in min_optimizer.state
    game.swap()
    assert torch.equal(x, proposal[0])
    assert torch.equal(y, proposal[1])
    assert min_optimizer.state[x]["step"] == 1


def test_learning_rates_are_not_rolled_back():
    _, _, min_optimizer, _, game = small_game(acceptance=Never())
    game.decide(0.0)
    game.propose()
    min_optimizer.param_groups[0]["lr"] = 0.01
    game.decide(1.0)
    assert min_optimizer.param_groups[0]["lr"] == 0.01


def test_an_open_proposal_must_be_decided_first():
    *_, game = small_game()
    game.propose()
    with pytest.raises(RuntimeError, match=r"still open: call decide\(\) before propose\(\)"):
        game.propose()


def test_the_draw_has_a_stream_of_its_own_and_is_resumed():
    def reasons(game, n):
        return [(game.propose(), game.decide(float(i)))[1].reason for i in range(n)]

    *_, whole = small_game(acceptance=ConstantRate(rate=0.5))
    outside = torch.get_rng_state()
    expected = reasons(whole, 40)
    assert torch.equal(torch.get_rng_state(), outside)
    *_, first = small_game(acceptance=ConstantRate(rate=0.5))
    *_, second = small_game(acceptance=ConstantRate(rate=0.5), seed=99)
    begun = reasons(first, 15)
    second.load_state_dict(first.state_dict())
    assert begun + [(second.propose(), second.decide(float(i)))[1].reason for i in range(15, 40)] == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Restore.named("all"), "restore must be 'both' or 'generator', but got 'all'"),
        (lambda: Player([]), "optimizers must hold at least one optimizer"),
    ],
)
def test_a_bad_setting_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
