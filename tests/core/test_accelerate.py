"""What Accelerate has prepared: the game takes it, and plays as without Accelerate's wrappers."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState
from exact import assert_identical
from torch import nn
from torch.nn.functional import softplus

from minmax_plugin import Always, MinMaxGame, Player
from minmax_plugin.controls import Never, RandomRate


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Accelerate keeps its settings for the process, and looks for what other trainings have left."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    reset()
    yield
    reset()


def reset():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Run:
    """A small GAN in a loop of Accelerate; ``game`` is False for the loop without MinMax."""

    def __init__(self, parts=1, precision="no", acceptance=None, game=True, optimizer="Adam", players=True):
        reset()
        torch.manual_seed(0)
        self.parts = parts
        self.accelerator = Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=parts)
        generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        discriminator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
        kind = getattr(torch.optim, optimizer)
        optimizers = (kind(m.parameters(), lr=1e-2) for m in (generator, discriminator))
        self.g, self.d, self.opt_g, self.opt_d = self.accelerator.prepare(generator, discriminator, *optimizers)
        self.game = None
        if game:
            given = (Player(self.opt_g, self.g), Player(self.opt_d, self.d)) if players else (self.opt_g, self.opt_d)
            self.game = MinMaxGame(*given, acceptance or Always())
            self.accelerator.register_for_checkpointing(self.game)

    def loss(self, of_generator):
        fake = self.g(torch.randn(16, 4))
        if of_generator:
            return softplus(-self.d(fake)).mean()
        return softplus(-self.d(1 + torch.randn(16, 2))).mean() + softplus(self.d(fake.detach())).mean()

    def gradient(self, module, optimizer=None):
        losses = []
        for _ in range(self.parts):
            with self.accelerator.accumulate(module):
                loss = self.loss(module is self.g)
                losses.append(loss.item())
                self.accelerator.backward(loss)
                if optimizer is not None:
                    optimizer.step()
        return losses

    def cycle(self):
        if self.game is not None:
            self.game.propose()
        else:
            self.opt_g.step()
        self.opt_g.zero_grad()
        self.opt_d.zero_grad()
        losses = self.gradient(self.d, self.opt_d)
        if self.game is not None:
            self.game.decide(sum(losses))
        return losses + self.gradient(self.g)

    def weights(self):
        return [p.detach().clone() for m in (self.g, self.d) for p in m.state_dict().values()]


@pytest.mark.parametrize("players", [True, False])
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("parts", [1, 3])
def test_always_is_the_loop_without_the_game_to_the_last_bit(parts, precision, players):
    plain = Run(parts, precision, game=False)
    losses = [plain.cycle() for _ in range(8)]
    ours = Run(parts, precision, players=players)
    assert [ours.cycle() for _ in range(8)] == losses
    assert_identical(ours.weights(), plain.weights())
    assert ours.game.accepted == ours.game.proposals == 7


def test_a_rejection_restores_what_was_prepared():
    run = Run(parts=2, precision="bf16", acceptance=Never())
    run.cycle()
    before = [p.detach().clone() for p in run.g.parameters()]
    for _ in range(4):
        run.cycle()
    assert_identical([p.detach() for p in run.g.parameters()], before)
    assert run.game.proposals == 4


def test_a_run_resumes_from_the_state_that_accelerate_saves(tmp_path):
    settings = dict(parts=2, precision="bf16", acceptance=RandomRate(0.5))
    run = Run(**settings)
    for _ in range(6):
        run.cycle()
    run.accelerator.save_state(tmp_path)
    losses = [run.cycle() for _ in range(6)]
    resumed = Run(**settings)
    resumed.accelerator.load_state(tmp_path)
    assert [resumed.cycle() for _ in range(6)] == losses
    assert_identical(resumed.weights(), run.weights())
    assert 0 < run.game.accepted < run.game.proposals


def test_a_proposal_is_stepped_through_the_scaler_of_a_prepared_optimizer():
    x, y = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    Accelerator(cpu=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    a, b = (AcceleratedOptimizer(torch.optim.SGD([p], lr=0.5), scaler=scaler) for p in (x, y))
    game = MinMaxGame(a, b, Always())
    for value, wanted, opens in ((1.0, 0.5, True), (float("inf"), 0.5, False)):
        a.zero_grad()
        scaler.scale(value * x.sum()).backward()
        assert game.propose() is opens
        assert x.item() == wanted
        b.zero_grad()
        scaler.scale(y.sum()).backward()
        b.step()
        game.decide(0.0)
