"""The examples in docs/examples train, each in a few steps here, and do what they say."""

import runpy
from pathlib import Path

import pytest
import torch

from minmax_plugin import Always, MinMaxGame

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
def example(request, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)  # of minmax-train's tests; Accelerate would look for other ranks
    return runpy.run_path(str(EXAMPLES / request.param))


@pytest.mark.parametrize("example", ["accelerate_gan.py"], indirect=True)
def test_the_loop_of_accelerate_trains(example):
    samples, game = example["train"](cycles=30)
    assert (game.decisions, game.proposals) == (30, 29)
    assert samples.shape == (2000, 2)
    assert torch.isfinite(samples).all()


@pytest.mark.parametrize("example", ["super_resolution.py"], indirect=True)
def test_one_adversarial_loss_among_several_trains(example):
    losses, game = example["train"](steps=60)
    assert game.proposals == 59
    first, last = losses[0], losses[-1]
    assert last[0] < 0.7 * first[0]  # L1
    always, _ = example["train"](steps=8, acceptance=Always())
    assert losses[:8] == always  # the default keeps all of an undisturbed run


@pytest.mark.parametrize("example", ["super_resolution.py"], indirect=True)
def test_f_has_the_generator_s_own_terms(example):
    """A step that ruins the pictures is rolled back, also where the adversarial loss does not see it."""
    decisions = []

    class Ruined(MinMaxGame):
        def propose(self):
            opens = super().propose()
            if self.decisions == 40:
                with torch.no_grad():
                    self.min_player.parameters[-1].add_(20.0)  # the bias of the last layer
            return opens

        def decide(self):
            decisions.append(super().decide())

    train = example["train"]
    train.__globals__.update(MinMaxGame=Ruined, softplus=lambda score: 0 * score)
    losses, _ = train(steps=50)
    assert [decision.index for decision in decisions if not decision.accepted] == [40]
    assert losses[-1][0] < losses[0][0]
