"""Players of complex numbers, of few bits, and with sparse gradients."""

import math

import pytest
import torch
from torch import nn

from minmax_plugin import Always, MinMaxGame, Player
from minmax_plugin.controls import Never
from minmax_plugin.player import norm


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_players_are_restored_and_looked_at(dtype):
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([3 + 4j, 0], dtype=dtype))
    module.register_buffer("phase", torch.tensor([1j], dtype=dtype))
    y = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([module.weight], 0.1)
    player = Player(optimizer, module)
    assert norm([player.parameters]).item() == pytest.approx(5.0)
    game = MinMaxGame(player, torch.optim.SGD([y]), Never())
    module.weight.grad = torch.ones(2, dtype=dtype)
    optimizer.step()
    game.decide(0.0)

    def parts():
        return [module.weight.detach(), module.phase, *optimizer.state[module.weight].values()]

    kept = [part.clone() for part in parts()]
    for damage in (None, complex(0, math.nan)):
        game.propose()
        module.phase.add_(1)
        if damage is not None:
            module.weight.data[1] = damage
        assert game.decide(0.0).reason == ("never" if damage is None else "non-finite")
        assert all(torch.equal(a, b) for a, b in zip(parts(), kept, strict=True))
    module.phase.fill_(complex(math.inf, 0))
    assert not player.is_finite()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool])
def test_parameters_of_few_bits_are_restored(dtype):
    x = nn.Parameter(torch.ones(2))
    few = nn.Parameter(torch.ones(2).to(dtype), requires_grad=False)
    y = nn.Parameter(torch.ones(1))
    game = MinMaxGame(torch.optim.SGD([x, few], lr=0.1), torch.optim.SGD([y]), Never())
    game.decide(0.0)
    x.grad = torch.ones(2)
    game.propose()
    few.data = torch.zeros(2).to(dtype)
    assert game.decide(0.0).reason == "never"
    assert few.float().tolist() == [1.0, 1.0]


def test_a_player_without_any_real_number_is_finite():
    assert Player(torch.optim.SGD([nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False)])).is_finite()


def test_a_sparse_gradient_is_no_trouble():
    embedding = nn.Embedding(5, 2, sparse=True)
    y = nn.Parameter(torch.ones(1))
    game = MinMaxGame(torch.optim.SparseAdam(embedding.parameters(), 0.1), torch.optim.SGD([y]), Always())
    for _ in range(4):
        opened = game.propose()
        game.decide(0.0)
        embedding.zero_grad()
        embedding(torch.tensor([1, 1, 3])).sum().backward()
    assert opened
    assert game.min_player.gradient_norm().item() == pytest.approx(10**0.5)
