import random

import numpy as np
import torch
from torch import nn

from minmax_plugin import FreshBatch, inference


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
    assert value.after().f_new != value.after().f_new
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [m.training for m in net] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_an_evaluation_can_be_repeated_from_its_number():
    values = FreshBatch(lambda: torch.randn(()), [], seed=3)
    drawn = [values.after() for _ in range(5)]
    again = FreshBatch(lambda: torch.randn(()), [], seed=3)
    again.evaluations = 3
    assert repr([again.after(), again.after()]) == repr(drawn[3:])


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
