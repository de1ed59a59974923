import math
import random

import numpy as np
import pytest
import torch
from games import Reads, batch_estimator, small_game
from torch import nn

from minmax_plugin import Always, FreshBatch, PairedBatch, Restore, inference
from minmax_plugin.controls import Never


def network():
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_an_evaluation_leaves_no_trace():
    net = network()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    def f():
        assert not any(m.training for m in net.modules())
        assert not torch.is_grad_enabled()
        return net(torch.randn(8, 4)).sum() + random.random() + np.random.rand()

    value = FreshBatch(f, [net], seed=3)
    assert value.evaluate_proposal().f_new != value.evaluate_proposal().f_new
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [m.training for m in net] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_an_evaluation_can_be_repeated_from_its_number():
    def f():
        return torch.randn(()) + random.random() + np.random.rand()

    values = FreshBatch(f, [], seed=3)
    drawn = [values.evaluate_proposal() for _ in range(5)]
    torch.rand(1), random.random(), np.random.rand()  # the training has moved on
    again = FreshBatch(f, [], seed=3)
    again.evaluations = 3
    assert repr([again.evaluate_proposal(), again.evaluate_proposal()]) == repr(drawn[3:])


def test_batch_norm_takes_the_statistics_of_the_batch_and_keeps_its_own():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.Linear(4, 1))
    frozen = torch.nn.BatchNorm1d(1).eval()
    batch = 5 + torch.randn(64, 3)
    net(batch)
    before = [b.clone() for b in net.buffers()]
    read = FreshBatch(lambda: frozen(net(batch)).mean(), [net, frozen]).evaluate_proposal()
    assert all(map(torch.equal, before, net.buffers()))
    assert net.training
    assert net[1].track_running_stats
    with torch.no_grad():
        normed = torch.nn.functional.batch_norm(net[0](batch), None, None, training=True)
        assert float(read.f_new) == pytest.approx(float(frozen(net[3](normed)).mean()), abs=1e-5)
    with inference([net]):
        as_deployed = float(frozen(net(batch)).mean())
    assert abs(as_deployed - float(read.f_new)) > 1e-3


def test_flags_and_states_come_back_after_an_error():
    net = network()
    outside = torch.get_rng_state()
    try:
        with inference([net], seed=1):
            torch.rand(1)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert net.training
    assert net[2].training
    assert torch.equal(torch.get_rng_state(), outside)


def terms(size=400):
    return lambda: x[0] + torch.randn(size)


x = [0.0]


def test_the_standard_error_is_that_of_the_mean():
    means = [FreshBatch(terms(), [], seed=seed).evaluate_proposal() for seed in range(200)]
    spread = torch.tensor([float(m.f_new) for m in means]).std()
    assert abs(means[0].standard_error / spread - 1) < 0.2
    averaged = FreshBatch(terms(), [], batches=4).evaluate_proposal()
    assert abs(averaged.standard_error / means[0].standard_error - 0.5) < 0.1


def test_a_paired_comparison_sees_the_change_and_not_the_noise():
    results = {}
    for reread in ("paired", "fresh"):
        estimator = batch_estimator(reread, terms(), [])
        x[0] = 1.0
        estimator.evaluate_incumbent()
        x[0] = 1.01
        results[reread] = estimator.evaluate_proposal()
        x[0] = 0.0
    assert abs(results["paired"].f_new - results["paired"].f_old - 0.01) < 1e-6
    assert results["paired"].difference_error < 1e-6
    assert abs(results["fresh"].difference_error / (2**0.5 / 20) - 1) < 0.1


@pytest.mark.parametrize(
    ("settings", "evaluations"),  # of 1 decision without a proposal and 11 with one
    [
        (dict(acceptance=Always()), 12 + 2),
        (dict(acceptance=Never()), 12 + 2),
        (dict(acceptance=Never(), restore=Restore(max_player=False)), 12 + 10),
        (dict(acceptance=Never(), restore=Restore(buffers=False)), 12 + 10),
        (dict(acceptance=Always(), restore=Restore(max_player=False)), 12 + 2),
    ],
)
def test_a_held_batch_costs_one_evaluation_a_decision(settings, evaluations):
    calls = []
    estimator = PairedBatch(lambda: calls.append(None) or torch.randn(()), [], hold=4)
    *_, game = small_game(estimator=estimator, **settings)
    game.decide()
    for _ in range(11):
        game.propose()
        game.decide()
    assert len(calls) == evaluations


def test_a_batch_whose_value_is_not_finite_is_not_held():
    values = iter([1.0, math.nan, 2.0, 3.0])
    *_, game = small_game(estimator=PairedBatch(lambda: next(values), [], hold=100), recover_nonfinite=True)
    game.decide()
    game.propose()
    assert game.decide().reason == "non-finite"
    game.propose()
    decision = game.decide()
    assert (decision.f_old, decision.f_new) == (2.0, 3.0)


def test_one_number_has_no_standard_error():
    assert math.isnan(FreshBatch(lambda: 1.0, []).evaluate_proposal().standard_error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(batches=0), "batches must be 1 or more, but got 0"),
        (dict(hold=0), "hold must be 1 decision or more, but got 0"),
        (dict(hold=2.0), "hold must be 1 decision or more, but got 2.0"),
        (dict(reread="twice"), "reread must be True or False, but got 'twice'"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        (PairedBatch if "hold" in settings else FreshBatch)(lambda: 0.0, [], **settings)


@pytest.mark.parametrize("reread", [None, "fresh", "paired"])
def test_reading_f_does_not_wait_for_its_value(reread):
    estimator = batch_estimator(reread, terms(), [], batches=2)
    with Reads() as reads:
        torch.ones(1).item()
        assert reads.count == 1  # it does notice
        estimator.evaluate_incumbent()
        estimator.evaluate_proposal()
    assert reads.count == 1
