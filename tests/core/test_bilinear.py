"""Each method on the game f = xy, at the rates of the theory."""

import numpy as np
import pytest
import torch
from games import Point

from minmax_plugin.baselines import build_baseline
from minmax_plugin.baselines.optimizers import ExtraAdam, LookaheadMinmax, OptimisticAdam

ETA = 0.3
# betas (0, 0) and a large ε make a plain gradient step with learning rate lr/ε
AS_DESCENT = {"lr": ETA * 1e8, "betas": (0.0, 0.0), "eps": 1e8}


def distances(name, kind, arguments, rounds, **settings):
    """√(x² + y²) before the first round and after each."""
    x, y = Point([0.6]), Point([0.8])

    def f():
        return (x.p * y.p).sum()

    if name == "unrolled":
        settings["module"] = y
    optimizers = kind(x.parameters(), **arguments), kind(y.parameters(), **arguments)
    play = build_baseline(name, *optimizers, f, lambda: -f(), **settings)
    found = [1.0]
    for _ in range(rounds):
        play()
        found.append(torch.hypot(x.p, y.p).item())
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "kind", "arguments", "rate"),
    [
        ("gda-simultaneous", torch.optim.SGD, {"lr": ETA}, np.sqrt(1 + ETA**2)),
        ("extragradient", ExtraAdam, AS_DESCENT, np.sqrt(1 - ETA**2 + ETA**4)),
    ],
)
def test_the_bilinear_game_moves_at_the_rate_of_the_theory(name, kind, arguments, rate):
    found = distances(name, kind, arguments, 50)
    np.testing.assert_allclose(found, rate ** np.arange(51), rtol=1e-5)


def test_lookahead_makes_diverging_descent_ascent_contract():
    x, y = Point([0.6]), Point([0.8])
    optimizers = torch.optim.SGD(x.parameters(), lr=ETA), torch.optim.SGD(y.parameters(), lr=ETA)

    def f():
        return (x.p * y.p).sum()

    play = build_baseline("gda-simultaneous", *optimizers, f, lambda: -f())
    lookahead = LookaheadMinmax(*optimizers, period=10, alpha=0.5)
    rate = abs(0.5 + 0.5 * (1 + 1j * ETA) ** 10)
    assert rate < 1
    for n in range(1, 11):
        for _ in range(10):
            play()
            lookahead.step()
        assert torch.hypot(x.p, y.p).item() == pytest.approx(rate**n, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "kind", "arguments", "rounds", "settings"),
    [
        ("omd", OptimisticAdam, AS_DESCENT, 300, {}),
        ("lookahead", torch.optim.SGD, {"lr": ETA}, 300, {"period": 10}),
        ("unrolled", torch.optim.SGD, {"lr": ETA}, 300, {"k": 2}),
        ("lead", torch.optim.SGD, {"lr": 0.1, "momentum": 0.5}, 300, {"alpha": 5.1}),  # its paper's, 0.51 / lr
        ("omd", OptimisticAdam, {"lr": 0.03, "betas": (0.0, 0.999)}, 1500, {}),
        ("extragradient", ExtraAdam, {"lr": 0.03, "betas": (0.0, 0.999)}, 1500, {}),
    ],
)
def test_these_contract_on_the_bilinear_game(name, kind, arguments, rounds, settings):
    assert distances(name, kind, arguments, rounds, **settings)[-1] < 1e-3


def test_alternating_descent_ascent_neither_converges_nor_diverges():
    found = distances("gda-alternating", torch.optim.SGD, {"lr": ETA}, 300)
    assert 0.7 < found.min() < found.max() < 1.4


@pytest.mark.parametrize(
    ("name", "kind", "betas"),
    [("gda-simultaneous", torch.optim.Adam, (0.0, 0.999)), ("omd", OptimisticAdam, (0.9, 0.999))],
)
def test_adam_diverges_where_its_optimistic_form_contracts_and_so_does_that_with_momentum(name, kind, betas):
    assert distances(name, kind, {"lr": 0.03, "betas": betas}, 1500)[-1] > 1.5
