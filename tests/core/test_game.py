"""The game against the plain implementation, and what a decision keeps and restores."""

import math

import numpy as np
import oracle
import pytest
import torch
from games import CYCLES, ESTIMATORS, OPTIMIZERS, POLICIES, SEED, Played, batch_estimator, noise, noise_of, small_game

from minmax_plugin import ConstantRate, Decision, MinMaxGame, Player, Restore, Significant, Strict
from minmax_plugin.controls import Never, RandomRate


def compare(policy, optimizer, estimator, k, players, moments, update):
    played = Played(
        policy,
        optimizer,
        k,
        estimator,
        players=players,
        moments=moments,
        update_reference_on_reject=update,
    )
    storage = played.x.data_ptr(), played.y.data_ptr()
    draws = torch.rand(CYCLES, generator=torch.Generator().manual_seed(7)).tolist()
    decide, plain, read = POLICIES[policy][1], OPTIMIZERS[optimizer][0], ESTIMATORS[estimator][1](noise_of)
    expected = oracle.play(
        oracle.Game(),
        plain,
        k,
        CYCLES,
        decide,
        noise,
        draws,
        read,
        players == "both",
        moments,
        update,
    )
    outcomes = set()
    for cycle, (x, y, accepted) in enumerate(expected):
        for move in played.moves(cycle):
            result = move()
            if isinstance(result, Decision):
                decision = result
        assert decision.accepted == accepted
        np.testing.assert_allclose(played.x.detach().numpy(), x, rtol=1e-9)
        np.testing.assert_allclose(played.y.detach().numpy(), y, rtol=1e-9)
        outcomes.add(accepted)
    if policy not in ("always", "never"):
        assert outcomes == {True, False}
    assert (played.x.data_ptr(), played.y.data_ptr()) == storage


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("players", ["both", "generator"])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_and_restore_equals_the_plain_implementation(policy, players, moments):
    for optimizer, k in (("adam", 1), ("fused", 3), ("momentum", 2)):
        compare(policy, optimizer, "fresh", k, players, moments, update=False)


@pytest.mark.parametrize("update_reference_on_reject", [False, True])
@pytest.mark.parametrize("players", ["both", "generator"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_equals_the_plain_implementation(estimator, players, update_reference_on_reject):
    for policy in ("constant", "reversed"):
        compare(policy, "adam", estimator, 2, players, True, update_reference_on_reject)


@pytest.mark.parametrize("reread", [None, "fresh", "paired"])
def test_a_decision_by_its_noise_equals_the_plain_rule(reread):
    run = Played("constant", "adam", 2)
    terms = batch_estimator(reread, lambda: run.f() + 3.0 * torch.randn(16).double(), [], seed=SEED)
    rule = Significant(z=1.0, otherwise=RandomRate(rate=0.5))
    draws = torch.rand(CYCLES, generator=torch.Generator().manual_seed(7)).tolist()
    run.game = MinMaxGame(run.min_optimizer, run.max_optimizer, rule, estimator=terms, seed=7)
    number, kept, outcomes = 0, None, set()

    def noise_terms(number):
        return 3.0 * torch.randn(16, generator=torch.Generator().manual_seed(SEED * 1_000_003 + number)).double()

    def error(noise):
        return noise.std().item() / 4

    for cycle in range(CYCLES):
        propose, *ascents, decide, descend = run.moves(cycle)
        old = None
        if cycle and reread:
            old = run.f().item() + noise_terms(number).mean().item()
            old_noise = noise_terms(number)
            number += reread == "fresh"
        propose()
        for ascend in ascents:
            ascend()
        new_noise = noise_terms(number)
        new = run.f().item() + new_noise.mean().item()
        number += 1
        decision = decide()
        if cycle:
            if reread == "paired":
                expected_error = error(new_noise - old_noise)
            else:
                expected_error = math.hypot(error(new_noise), error(old_noise) if reread else kept[1])
            old = kept[0] if old is None else old
            stands_out = abs(new - old) > expected_error
            assert decision.f_old == pytest.approx(old, rel=1e-9)
            assert decision.f_new == pytest.approx(new, rel=1e-9)
            assert decision.standard_error == pytest.approx(expected_error, rel=1e-6, abs=1e-12)
            assert decision.accepted == (new <= old if stands_out else draws[cycle] < 0.5)
            outcomes.add(decision.reason)
        if decision.accepted:
            kept = new, error(new_noise)
        descend()
    # paired, the noise cancels to nothing, and here the ascent outweighs every proposal
    assert outcomes == ({"worse"} if reread == "paired" else {"improved", "worse", "random"})


def test_decisions_are_recorded_as_they_fall():
    _, _, _, _, game = small_game(acceptance=Strict(), max_nonfinite=3)
    nan = pytest.approx(math.nan, nan_ok=True)
    expected = [
        # f_new, then the record
        (1.0, Decision(0, nan, 1.0, nan, True, "initial", 0)),
        (0.5, Decision(1, 1.0, 0.5, nan, True, "improved", 0)),
        (0.75, Decision(2, 0.5, 0.75, nan, False, "worse", 1)),
        (math.nan, Decision(3, 0.5, nan, nan, False, "non-finite", 2)),
        (math.inf, Decision(4, 0.5, math.inf, nan, False, "non-finite", 3)),
        (0.5, Decision(5, 0.5, 0.5, nan, True, "improved", 0)),
    ]
    for i, (value, decision) in enumerate(expected):
        if i:
            game.propose()
        assert game.decide(torch.tensor(value)) == decision
    assert (game.decisions, game.proposals, game.accepted, game.rejections) == (6, 5, 2, 0)


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


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize("players", ["both", "generator"])
def test_swap_shows_the_kept_pair_and_gives_the_proposal_back(players, recover):
    x, y, min_optimizer, max_optimizer, game = small_game(restore=Restore.named(players), recover_nonfinite=recover)
    kept = x.clone(), y.clone()
    game.propose()
    max_optimizer.step()
    proposal = x.clone(), y.clone()
    game.swap()
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1] if players == "both" else proposal[1])
    assert x not in min_optimizer.state
    for end in (lambda: game.decide(0.0), game.close):  # it would take the one for the other
        with pytest.raises(RuntimeError, match="the incumbent is shown"):
            end()
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


def test_a_guard_takes_no_more_back_where_all_is_finite():
    weights_alone = Restore(max_player=False, moments=False, buffers=False)
    x, y, min_optimizer, max_optimizer, game = small_game(
        acceptance=Never(), restore=weights_alone, recover_nonfinite=True
    )
    game.decide(0.0)
    game.propose()
    max_optimizer.step()
    answer = y.detach().clone()
    game.decide(1.0)
    assert x.tolist() == [1.0, 1.0]
    assert torch.equal(y, answer)
    assert min_optimizer.state[x]["step"] == max_optimizer.state[y]["step"] == 1


@pytest.mark.parametrize("reread", [None, "fresh", "paired"])
def test_nothing_that_was_read_of_f_outlives_a_stage(reread):
    value = batch_estimator(reread, lambda: torch.randn(()), [])
    x, _, _, max_optimizer, game = small_game(acceptance=Never(), estimator=value)
    game.decide()
    game.propose()
    game.close()
    stepped = x.detach().clone()
    assert game.decide().reason == "initial"
    assert torch.equal(x, stepped)  # the proposal was kept
    game.propose()
    assert game.decide().reason == "never"
    game.replace(torch.optim.SGD([x], lr=0.1), max_optimizer)
    assert game.decide().reason == "initial"
    assert game.propose()
    with pytest.raises(RuntimeError, match=r"a proposal is open: call decide\(\) or close\(\) before replace\(\)"):
        game.replace(torch.optim.SGD([x], lr=0.1), max_optimizer)


def test_weights_of_another_shape_are_captured_anew():
    x, *_, game = small_game(acceptance=Never())
    game.decide(0.0)
    for shape in ((2,), (1,), (2, 3)):
        x.grad = None
        x.data = torch.rand(shape)
        x.grad = torch.ones(shape)
        before = x.detach().clone()
        game.propose()
        game.decide(1.0)
        assert torch.equal(x, before)


def test_an_open_proposal_must_be_decided_first():
    *_, game = small_game()
    game.propose()
    with pytest.raises(RuntimeError, match=r"still open: call decide\(\) before propose\(\)"):
        game.propose()


def test_the_draw_has_a_stream_of_its_own():
    *_, game = small_game(acceptance=ConstantRate(rate=0.5))
    outside = torch.get_rng_state()
    reasons = [(game.propose(), game.decide(float(i)))[1].reason for i in range(40)]
    assert torch.equal(torch.get_rng_state(), outside)
    assert set(reasons) == {"initial", "chance", "worse"}


def test_the_stream_is_at_the_number_of_decisions_whatever_they_were():
    *_, game = small_game(acceptance=ConstantRate(rate=0.5))
    for i, draw in enumerate(torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()):
        values = math.nan if i % 3 == 2 else float(i), draw < 0.5
        game.propose()
        reason = game.decide(values[0]).reason
        assert reason == ("initial" if i == 0 else "non-finite" if i % 3 == 2 else "chance" if values[1] else "worse")


def test_a_value_that_is_not_finite_is_not_tracked():
    *_, game = small_game(acceptance=Strict(), update_reference_on_reject=True)
    for value, reason in ((1.0, "initial"), (2.0, "worse"), (math.nan, "non-finite"), (1.5, "improved")):
        game.propose()
        assert game.decide(value).reason == reason
