"""What a rejection restores of modules: buffers, replaced and shared ones too."""

import io
import math

import pytest
import torch
from exact import assert_identical, plain
from torch import nn

from minmax_plugin import MinMaxGame, Player, Restore
from minmax_plugin.controls import Never


class Replacing(nn.Module):
    """Replaces its buffers in each forward pass, one by a longer one, makes one, and one is None at first."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("avg", torch.zeros(2))
        self.register_buffer("past", torch.zeros(1))
        self.register_buffer("last", None)
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        with torch.no_grad():
            self.avg = 0.9 * self.avg + 0.1 * x.mean(dim=0)
            self.past = torch.cat([self.past, x.sum().reshape(1)])
            self.last = x.clone()
            self.count += 1
            if not hasattr(self, "made"):
                self.register_buffer("made", x.sum())
            else:
                self.made = self.made + x.sum()
        return x * self.weight


def buffers(module):
    return {name: None if b is None else b.clone() for name, b in module._buffers.items()}


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize("first_passes", [0, 2])
def test_replaced_buffers_are_restored_with_their_player(first_passes, recover):
    modules = Replacing(), Replacing()
    low, high = (torch.optim.Adam(m.parameters(), 0.1) for m in modules)
    for passed in range(first_passes):
        for module in modules:
            module(torch.full((3, 2), float(passed)))
    # a recover_nonfinite alone takes buffers back where something is not finite
    game = MinMaxGame(
        Player(low, modules[0]),
        Player(high, modules[1]),
        Never(),
        Restore(buffers=not recover),
        recover_nonfinite=recover,
    )
    game.decide(0.0)
    for cycle in range(3):
        modules[0].weight.grad = torch.ones(2)
        kept, tensors = [buffers(m) for m in modules], [dict(m._buffers) for m in modules]
        game.propose()
        for module in modules:
            module(torch.full((3, 2), 10.0 + cycle))
        proposal = [buffers(m) for m in modules]
        game.swap()
        assert_identical([buffers(m) for m in modules], proposal if recover else kept)
        game.swap()
        assert_identical([buffers(m) for m in modules], proposal)
        game.decide(math.nan if recover else 0.0)
        assert_identical([buffers(m) for m in modules], kept)
        assert all(m._buffers[k] is v for m, names in zip(modules, tensors, strict=True) for k, v in names.items())


@pytest.mark.parametrize("swapped", [False, True])
def test_replaced_buffers_survive_a_checkpoint_in_mid_cycle(swapped):
    class Averaging(nn.Linear):
        def __init__(self):
            torch.manual_seed(0)
            super().__init__(2, 1)
            self.register_buffer("avg", torch.zeros(2))
            self.register_buffer("off", None)
            self.part = nn.BatchNorm1d(1)
            self.register_buffer("shared", self.part.running_mean)

        def forward(self, x):
            self.avg = 0.5 * self.avg + x.detach().mean(dim=0)
            return self.part(super().forward(x))

    def build():
        modules = Averaging(), Averaging()
        optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in modules]
        players = [Player(o, m) for o, m in zip(optimizers, modules, strict=True)]
        return modules, MinMaxGame(*players, Never())

    modules, game = build()
    game.decide(0.0)
    modules[0](torch.ones(3, 2)).sum().backward()
    kept = [{k: v.clone() for k, v in m.state_dict().items()} for m in modules]
    game.propose()
    for module in modules:
        module(torch.full((3, 2), 5.0))
    proposal = [{k: v.clone() for k, v in m.state_dict().items()} for m in modules]
    if swapped:
        game.swap()
    file = io.BytesIO()
    torch.save([[m.state_dict() for m in modules], game.state_dict()], file)
    file.seek(0)
    states, of_game = torch.load(file, weights_only=True)
    modules, game = build()
    for module, state in zip(modules, states, strict=True):
        module.load_state_dict(state)
    game.load_state_dict(of_game)
    if swapped:
        game.swap()
    assert_identical([dict(m.state_dict()) for m in modules], proposal)
    game.decide(0.0)
    assert_identical([dict(m.state_dict()) for m in modules], kept)
    assert all(m.shared is m.part.running_mean for m in modules)


def test_modules_of_both_players_survive_a_swap():
    both = nn.Sequential(nn.BatchNorm1d(2), Replacing())
    players = [Player(torch.optim.SGD(part.parameters(), lr=0.1), [both, part]) for part in both]
    game = MinMaxGame(*players, Never())
    game.decide(0.0)
    both(torch.randn(8, 2)).sum().backward()
    kept = plain(both.state_dict())
    game.propose()
    both(torch.randn(8, 2))
    proposal = plain(both.state_dict())
    for state in (kept, proposal) * 2:
        game.swap()
        assert_identical(plain(both.state_dict()), state)
    game.decide(0.0)
    assert_identical(plain(both.state_dict()), kept)
