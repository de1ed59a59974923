"""The toolkit's optimizers under MinMax: a step that is deferred, and taken later."""

import pytest
import torch
from torch import nn

from minmax_plugin import MinMaxGame
from minmax_plugin.controls import Never
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer


class OwnRate(torch.optim.SGD):
    """Changes its rate in each step, and counts its steps in an attribute."""

    steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        for group in self.param_groups:
            group["lr"] *= 0.9


class Deferring:
    """Drives a deferred optimizer as the hook does: its step only marks the gradient as pending."""

    def takes_step(self, optimizer):
        return False

    def on_zero_grad(self, optimizer):
        pass


@pytest.mark.parametrize("adopted", [False, True])
def test_a_deferred_step_changes_nothing_until_it_is_taken(adopted):
    deferred = type("MinMaxOwnRate", (MinMaxOptimizer, OwnRate), {})
    optimizer = (OwnRate if adopted else deferred)([nn.Parameter(torch.ones(2))], lr=0.1)
    optimizer.__class__ = deferred  # what adopt() does
    optimizer.driver = Deferring()
    game = MinMaxGame(optimizer, torch.optim.SGD([nn.Parameter(torch.ones(2))]), Never())
    game.decide(0.0)
    (x,) = optimizer.param_groups[0]["params"]
    for rate in (0.1, 0.05):
        optimizer.param_groups[0]["lr"] = rate
        x.grad = torch.ones(2)
        optimizer.step()
        assert game.propose()
        assert optimizer.param_groups[0]["lr"] == 0.9 * rate
        assert optimizer.steps == 1
        optimizer.step()
        game.decide(0.0)
        assert optimizer.param_groups[0]["lr"] == rate
        assert optimizer.steps == 0
        assert x.tolist() == [1.0, 1.0]
