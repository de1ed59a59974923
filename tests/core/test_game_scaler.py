"""Gradient scalers: one safe form, and a refusal of the unsafe one."""

import io
import math

import pytest
import torch
from games import small_game

from minmax_plugin import Always, ConstantRate, MinMaxGame
from minmax_plugin.controls import Never
from minmax_plugin.deferred import DeferredOptimizer, deferring


def scaler(**settings):
    return torch.amp.GradScaler("cpu", **{"init_scale": 2.0**10, "growth_interval": 2, **settings})


class Run:
    """Two players of two weights each on f = Σ (x y + x² − y²), trained through scalers or without."""

    def __init__(self, scalers=(None, None), fused=False, acceptance=None):
        self.x, self.y = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.full((2,), 0.5))
        self.a = torch.optim.Adam([self.x], 0.1, fused=fused)
        self.b = torch.optim.Adam([self.y], 0.1, maximize=True, fused=fused)
        self.own, self.other = scalers
        self.game = MinMaxGame(self.a, self.b, acceptance or ConstantRate(rate=0.3))
        self.opened = []

    def f(self):
        return (self.x * self.y + self.x**2 - self.y**2).sum()

    def gradient(self, optimizer, scaler):
        optimizer.zero_grad()
        (self.f() if scaler is None else scaler.scale(self.f())).backward()

    def cycle(self, k=2, until=None):
        self.opened.append(self.game.propose(self.own))
        for _ in range(k):
            x = self.x.grad
            self.gradient(self.b, self.other)
            self.x.grad = x
            if self.other is None:
                self.b.step()
            else:
                self.other.step(self.b)
                self.other.update()
        self.decision = self.game.decide(self.f())
        self.gradient(self.a, self.own)


def both(shared, **settings):
    if not shared:
        return scaler(**settings), scaler(**settings)
    return (scaler(**settings),) * 2


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_scaled_run_is_the_plain_run_to_the_last_bit(shared, fused):
    plain, scaled = Run(fused=fused), Run(both(shared), fused)
    scales, reasons = set(), set()
    for _ in range(20):
        plain.cycle()
        scaled.cycle()
        assert torch.equal(scaled.x, plain.x)
        assert torch.equal(scaled.y, plain.y)
        scales.add(scaled.own.get_scale())
        reasons.add(scaled.decision.reason)
    assert len(scales) > 5  # it did change on the way
    assert {"improved", "worse"} <= reasons


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_step_that_the_scaler_skips_is_no_proposal_and_lowers_the_scale(shared, fused):
    run = Run(both(shared), fused, Never())
    run.cycle()
    before, scale, f_old = run.x.detach().clone(), run.own.get_scale(), run.game.f_old
    run.x.grad[0] = math.inf
    run.cycle(k=0)
    assert run.opened == [False, False]
    assert (run.decision.reason, run.decision.accepted) == ("no proposal", True)
    assert run.game.f_old == f_old
    assert torch.equal(run.x, before)
    assert run.own.get_scale() == scale / 2
    run.cycle(k=0)
    assert run.decision.reason == "never"
    assert (run.game.decisions, run.game.proposals) == (3, 1)


def test_an_update_while_a_gradient_is_pending_is_refused():
    run = Run(both(shared=True))
    run.cycle()
    weights = run.x.detach().clone()
    run.own.unscale_(run.b)
    run.own.update()  # at the end of the iteration, where it stands in other loops
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"right after the scaler.step\(\) of the max player, before decide\(\)"):
            run.game.propose(run.own)
    assert torch.equal(run.x, weights)
    assert not run.game.open
    run.a.zero_grad()  # without that gradient there is nothing to refuse
    assert not run.game.propose(run.own)


def test_an_update_in_the_first_cycle_is_refused_too():
    run = Run((scaler(), None))
    run.cycle()
    run.own.update(8.0)
    with pytest.raises(RuntimeError, match="no longer has the scale of the pending gradient"):
        run.game.propose(run.own)


@pytest.mark.parametrize("shared", [False, True])
def test_a_scaled_run_resumes_with_its_pending_gradient(shared):
    def state(run):
        parts = (run.a, run.b, run.own, run.other, run.game)
        return [run.x.detach().clone(), run.y.detach().clone(), *(part.state_dict() for part in parts)]

    run = Run(both(shared))
    for _ in range(5):
        run.cycle()
    file = io.BytesIO()
    torch.save(state(run), file)
    file.seek(0)
    x, y, *states = torch.load(file, weights_only=True)
    resumed = Run(both(shared, init_scale=2.0))
    resumed.x.data, resumed.y.data = x, y
    for part, saved in zip((resumed.a, resumed.b, resumed.own, resumed.other, resumed.game), states, strict=True):
        part.load_state_dict(saved)
    for _ in range(5):
        run.cycle()
        resumed.cycle()
    assert repr(state(resumed)) == repr(state(run))


def test_clipping_a_gradient_that_was_unscaled_by_hand():
    run = Run(both(shared=True), acceptance=Always())
    run.cycle()
    run.own.unscale_(run.a)
    norm = torch.nn.utils.clip_grad_norm_([run.x], 1e-3).item()
    assert norm < 10
    assert run.game.propose(run.own)


def test_optimizers_without_a_gradient_are_left_out():
    x, y, z = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    own = scaler()
    game = MinMaxGame([torch.optim.SGD([x], lr=0.5), torch.optim.SGD([y])], torch.optim.SGD([z]), Always())
    own.scale(x.sum()).backward()
    assert game.propose(own)
    assert x.item() == 0.5


@pytest.mark.parametrize("enabled", [False, True])
def test_bfloat16_autocast_trains(enabled):
    torch.manual_seed(0)
    generator, discriminator = torch.nn.Linear(4, 2), torch.nn.Linear(2, 1)
    a, b = torch.optim.Adam(generator.parameters(), 1e-2), torch.optim.Adam(discriminator.parameters(), 1e-2)
    shared = scaler(enabled=enabled)
    game = MinMaxGame(a, b, ConstantRate(rate=0.3))

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = discriminator(generator(torch.randn(32, 4))), discriminator(torch.randn(32, 2) + 2)
            return torch.nn.functional.softplus(logits[0]).mean() + torch.nn.functional.softplus(-logits[1]).mean()

    reasons = set()
    for _ in range(60):
        game.propose(scaler=shared)
        b.zero_grad()
        value = loss()
        shared.scale(value).backward()
        shared.step(b)
        shared.update()
        reasons.add(game.decide(-value).reason)
        a.zero_grad()
        shared.scale(-loss()).backward()
    assert {"improved", "chance", "worse"} <= reasons
    assert game.min_player.is_finite()


@pytest.mark.parametrize("given", [lambda: None, 2.0**16, "cpu"])
def test_what_is_no_scaler_is_named(given):
    *_, game = small_game()
    with pytest.raises(ValueError, match="scaler must be a torch.amp.GradScaler, or None, .*: pass the scaler itself"):
        game.propose(given)
    assert not game.open


def test_a_deferred_optimizer_steps_through_a_scaler():
    class Waits(DeferredOptimizer, torch.optim.SGD):
        @deferring
        def step(self, closure=None):
            return None

    x, y = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer, scaler = Waits([x], lr=0.5), torch.amp.GradScaler("cpu")
    game = MinMaxGame(optimizer, torch.optim.SGD([y], lr=0.1), Always())
    game.decide(0.0)
    scaler.scale((x * 1.0).sum()).backward()
    optimizer.step()
    assert x.item() == 1.0
    assert game.propose(scaler=scaler)
    assert x.item() == 0.5
