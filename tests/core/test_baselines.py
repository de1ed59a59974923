"""Each method against the same method written a second time, plainly, in numpy."""

import copy
import functools
import io

import numpy as np
import oracle
import pytest
import torch
from games import Point

from minmax_plugin import MinMaxGame
from minmax_plugin.baselines import BASELINES, build_baseline
from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam
from minmax_plugin.baselines.tiada import TiAda
from minmax_plugin.controls import Never

ROUNDS = 40
LR = {"min": 0.05, "max": 0.1}
BETAS, EPS = (0.5, 0.9), 1e-8


# --- the plain implementation -----------------------------------------------------------------------------


class Noise:
    """The same draws for both implementations, in the order in which they evaluate their losses."""

    def __init__(self):
        self.random = np.random.default_rng(3)

    def __call__(self):
        return 0.3 * self.random.normal(size=3)


class Adam:
    """Adam's direction; complex numbers may go through it."""

    m, v, t = 0.0, 0.0, 0

    def __call__(self, gradient):
        self.t += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        return self.m / (1 - BETAS[0] ** self.t) / (np.sqrt(self.v / (1 - BETAS[1] ** self.t)) + EPS)


def descent(gradient):
    return gradient


def gradients(game, noise, x, y):
    of_y = -game.gradient_y(x, y) + noise()
    return game.gradient_x(x, y) + noise(), of_y


def simultaneous(game, noise, x, y):
    adam_x, adam_y = Adam(), Adam()
    while True:
        g, h = gradients(game, noise, x, y)
        x, y = x - LR["min"] * adam_x(g), y - LR["max"] * adam_y(h)
        yield x, y


def alternating(game, noise, x, y, k=1, period=None, alpha=None):
    adam_x, adam_y, slow, rounds = Adam(), Adam(), (x, y), 0
    while True:
        for _ in range(k):
            y = y - LR["max"] * adam_y(-game.gradient_y(x, y) + noise())
        x = x - LR["min"] * adam_x(game.gradient_x(x, y) + noise())
        rounds += 1
        if period and rounds % period == 0:
            x, y = slow = tuple(s + alpha * (fast - s) for s, fast in zip(slow, (x, y), strict=True))
        yield x, y


def optimistic(game, noise, x, y):
    adam_x, adam_y, of_x, of_y = Adam(), Adam(), 0.0, 0.0
    while True:
        g, h = gradients(game, noise, x, y)
        d, e = adam_x(g), adam_y(h)
        x = x - 2 * LR["min"] * d + LR["min"] * of_x
        y = y - 2 * LR["max"] * e + LR["max"] * of_y
        of_x, of_y = d, e
        yield x, y


def extragradient(game, noise, x, y):
    adam_x, adam_y = Adam(), Adam()
    while True:
        g, h = gradients(game, noise, x, y)
        x_ahead, y_ahead = x - LR["min"] * adam_x(g), y - LR["max"] * adam_y(h)
        g, h = gradients(game, noise, x_ahead, y_ahead)
        x, y = x - LR["min"] * adam_x(g), y - LR["max"] * adam_y(h)
        yield x, y


def unrolled(game, noise, x, y, k, rule):
    adam_x, rule_y = Adam(), rule()
    while True:
        y = y - LR["max"] * rule_y(-game.gradient_y(x, y) + noise())
        draws = [noise() for _ in range(k + 1)]

        def value(x, y=y, rule_y=rule_y, draws=draws):
            rule_y = copy.deepcopy(rule_y)
            for draw in draws[:-1]:
                y = y - LR["max"] * rule_y(-game.gradient_y(x, y) + draw)
            return game.value(x, y) + x @ draws[-1]

        # the derivative by a complex step: exact to the last digits
        g = np.array([value(x + 1e-30j * direction).imag / 1e-30 for direction in np.eye(3)])
        x = x - LR["min"] * adam_x(g)
        yield x, y


MOMENTUM = 0.5


class HeavyBall:
    """What x + β Δx adds to a step of learning rate 1."""

    velocity = 0.0

    def __call__(self, gradient):
        self.velocity = MOMENTUM * self.velocity + gradient
        return self.velocity


def lead(game, noise, x, y, alpha, rule):
    rule_x, rule_y, moved_x, moved_y = rule(), rule(), np.zeros(3), np.zeros(3)
    while True:
        of_y, of_x = noise(), noise()
        to_y = game.gradient_y(x, y) - of_y + alpha * game.b.T @ moved_x
        to_x = game.gradient_x(x, y) + of_x + alpha * game.b @ moved_y
        moved_x, moved_y = -LR["min"] * rule_x(to_x), LR["max"] * rule_y(to_y)
        x, y = x + moved_x, y + moved_y
        yield x, y


def tiada(game, noise, x, y):
    v_x = v_y = 1e-8
    while True:
        g, h = gradients(game, noise, x, y)
        v_x, v_y = v_x + g @ g, v_y + h @ h
        x, y = x - LR["min"] / max(v_x, v_y) ** 0.6 * g, y - LR["max"] / v_y**0.4 * h
        yield x, y


class ComplexGame(oracle.Game):
    """The oracle's game, for complex points too."""

    def gradient_x(self, x, y):
        return self.a @ x + self.b @ y + np.array([np.cos(x[0]), 0.0, 0.0])


# --- the two side by side ---------------------------------------------------------------------------------


METHODS = {
    "simultaneous": ("gda-simultaneous", {}, torch.optim.Adam, simultaneous),
    "alternating": ("gda-alternating", {}, torch.optim.Adam, alternating),
    "alternating, k = 3": ("gda-alternating", {"k": 3}, torch.optim.Adam, alternating),
    "optimistic": ("omd", {}, OptimisticAdam, optimistic),
    "extragradient": ("extragradient", {}, ExtraAdam, extragradient),
    "lookahead": ("lookahead", {"period": 3, "alpha": 0.3}, torch.optim.Adam, alternating),
    "lookahead, k = 2": ("lookahead", {"k": 2, "period": 4, "alpha": 0.5}, torch.optim.Adam, alternating),
    "unrolled": ("unrolled", {"k": 4}, torch.optim.Adam, functools.partial(unrolled, rule=Adam)),
    "unrolled, SGD": ("unrolled", {"k": 3}, torch.optim.SGD, functools.partial(unrolled, rule=lambda: descent)),
    "lead": ("lead", {"alpha": 0.6}, torch.optim.SGD, functools.partial(lead, rule=HeavyBall)),
    "lead, Adam": ("lead", {"alpha": 0.3}, torch.optim.Adam, functools.partial(lead, rule=Adam)),
    "tiada": ("tiada", {}, TiAda, tiada),
}


class Experiment:
    """One method on the oracle's game, with noise; ``maximize`` lets the max player ascend +f."""

    def __init__(self, method, noise, maximize=False):
        name, settings, kind, _ = METHODS[method]
        game = oracle.Game()
        a, b, c = (torch.from_numpy(m) for m in (game.a, game.b, game.c))
        self.x, self.y = Point(game.x0), Point(game.y0)

        def f():
            x, y = self.x.p, self.y.p
            return 0.5 * x @ a @ x + x @ b @ y - 0.5 * y @ c @ y + x[0].sin()

        def min_loss():
            return f() + self.x.p @ torch.from_numpy(noise())

        def max_loss():
            return (1 if maximize else -1) * (f() - self.y.p @ torch.from_numpy(noise()))

        min_kind = torch.optim.Adam if name == "unrolled" else kind
        momentum = {"momentum": MOMENTUM if name == "lead" else 0.0}
        more = {torch.optim.SGD: momentum, TiAda: {}}
        adam = {"betas": BETAS, "eps": EPS}
        self.optimizers = (
            min_kind(self.x.parameters(), lr=LR["min"], **more.get(min_kind, adam)),
            kind(self.y.parameters(), lr=LR["max"], maximize=maximize, **more.get(kind, adam)),
        )
        module = {"module": self.y} if name == "unrolled" else {}
        self.play = build_baseline(name, *self.optimizers, min_loss, max_loss, **settings, **module)

    def state(self):
        return [part.state_dict() for part in (self.x, self.y, *self.optimizers)]

    def load(self, state):
        for part, saved in zip((self.x, self.y, *self.optimizers), state, strict=True):
            part.load_state_dict(saved)

    @property
    def pair(self):
        return self.x.p.detach(), self.y.p.detach()


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_round_equals_the_plain_implementation(method, maximize):
    _, settings, _, plain = METHODS[method]
    game = ComplexGame()
    experiment = Experiment(method, Noise(), maximize)
    storage = [p.data_ptr() for p in experiment.pair]
    expected = plain(game, Noise(), game.x0, game.y0, **settings)
    for _, (x, y) in zip(range(ROUNDS), expected, strict=False):
        experiment.play()
        np.testing.assert_allclose(experiment.pair[0].numpy(), x, rtol=1e-9)
        np.testing.assert_allclose(experiment.pair[1].numpy(), y, rtol=1e-9)
    assert [p.data_ptr() for p in experiment.pair] == storage


@pytest.mark.parametrize("method", METHODS)
def test_the_optimizers_state_resumes_a_run_to_the_last_bit(method):
    whole = Experiment(method, Noise())
    for _ in range(ROUNDS):
        whole.play()
    noise = Noise()
    first = Experiment(method, noise)
    for _ in range(17):  # between two backtrackings
        first.play()
    state = through_a_file(first.state())
    second = Experiment(method, noise)
    second.load(state)
    for _ in range(17, ROUNDS):
        second.play()
    assert all(torch.equal(a, b) for a, b in zip(second.pair, whole.pair, strict=True))


def test_an_open_extrapolation_is_resumed():
    def moves(optimizer, p, n):
        for _ in range(n):
            p.grad = p.detach().cos()
            optimizer.step() if optimizer.extrapolated else optimizer.extrapolate()

    def new():
        p = torch.nn.Parameter(torch.arange(3.0))
        return ExtraAdam([p], lr=0.1), p

    whole, p = new()
    moves(whole, p, 10)
    first, q = new()
    moves(first, q, 5)
    assert first.extrapolated
    second, r = new()
    second.load_state_dict(through_a_file(first.state_dict()))
    r.data.copy_(q.data)
    moves(second, r, 5)
    assert torch.equal(r, p)


def test_slow_weights_begin_where_a_state_without_them_is_loaded():
    x, y = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizers = torch.optim.SGD([x], lr=0.1), torch.optim.SGD([y], lr=0.1)
    plain = optimizers[0].state_dict()
    lookahead = LookaheadMinmax(*optimizers, period=1)
    optimizers[0].load_state_dict(plain)
    x.data.fill_(1.0)
    y.data.fill_(1.0)
    assert lookahead.step()
    assert (x.item(), y.item()) == (1.0, 0.5)


def test_the_correction_is_the_slope_along_the_other_player_s_move():
    """The mixed derivative of a game where it is not constant, and the players' turns."""
    x, y = Point([0.3]), Point([0.7])

    def f():
        return (x.p.sin() * y.p.exp()).sum()

    optimizers = [torch.optim.SGD(p.parameters(), lr=0.1) for p in (x, y)]
    play = build_baseline("lead", *optimizers, f, lambda: -f(), alpha=2.0)
    expected, moved = np.array([0.3, 0.7]), 0.0
    for _ in range(4):
        a, b = expected
        b_new = b + 0.1 * (np.sin(a) * np.exp(b) + 2 * np.cos(a) * np.exp(b) * moved)
        a_new = a - 0.1 * (np.cos(a) * np.exp(b_new) + 2 * np.cos(a) * np.exp(b_new) * (b_new - b))
        expected, moved = np.array([a_new, b_new]), a_new - a
        play.ascend()
        play.descend()
        np.testing.assert_allclose([x.p.item(), y.p.item()], expected, rtol=1e-12)


def test_alpha_1_is_the_plain_method_to_the_last_bit():
    plain, ours = Experiment("alternating", Noise()), Experiment("alternating", Noise())
    lookahead = LookaheadMinmax(*ours.optimizers, period=3, alpha=1.0)
    for _ in range(10):
        plain.play()
        ours.play()
        lookahead.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.pair, plain.pair, strict=True))


def test_a_rejected_proposal_restores_an_optimistic_step():
    optimizers, players = [], []
    for _ in range(2):
        players.append(torch.nn.Parameter(torch.ones(2)))
        optimizers.append(OptimisticAdam([players[-1]], lr=0.1))
        players[-1].grad = torch.ones(2)
        optimizers[-1].step()
    game = MinMaxGame(*optimizers, acceptance=Never())
    game.decide(0.0)
    before = copy.deepcopy([(p.detach(), o.state_dict()) for p, o in zip(players, optimizers, strict=True)])
    game.propose()
    assert not torch.equal(players[0].detach(), before[0][0])
    game.decide(0.0)
    after = [(p.detach(), o.state_dict()) for p, o in zip(players, optimizers, strict=True)]
    assert str(after) == str(before)


@pytest.mark.parametrize("kind", [OptimisticAdam, ExtraAdam, functools.partial(TiAda, exponent=0.4)])
def test_each_group_steps_with_the_learning_rate_that_it_has_now(kind):
    p, q = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = kind([dict(params=[p]), dict(params=[q], lr=0.2)], lr=0.1)

    def play():
        p.grad, q.grad = torch.ones(1), torch.ones(1)
        if kind is ExtraAdam:
            optimizer.extrapolate()
        optimizer.step()
        return p.item(), q.item()

    first = play()
    assert first[1] == pytest.approx(2 * first[0])
    optimizer.param_groups[0]["lr"] = 0.0
    second = play()
    assert second[0] == first[0]
    assert second[1] < first[1] < 0


def test_every_name_is_a_method_here():
    assert {name for name, *_ in METHODS.values()} == set(BASELINES)
