"""What a rejection restores beside weights and moments: state in groups, containers and attributes."""

import collections
import gc
import io
import weakref

import prodigyopt
import pytest
import pytorch_optimizer
import schedulefree
import torch
from exact import assert_identical, look
from torch import nn

from minmax_plugin import MinMaxGame
from minmax_plugin.controls import Never, RandomRate
from minmax_plugin.phase import Phase


class OwnRate(torch.optim.SGD):
    """Lowers its rate in its step, and keeps what no parameter owns: by name in its state, and in an attribute."""

    steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        self.state["seen"] = collections.deque([*self.state.get("seen", []), torch.tensor(self.steps)], maxlen=2)
        for group in self.param_groups:
            group["lr"] *= 0.9
            group.setdefault("count", torch.zeros(())).add_(1)
            group.setdefault("past", []).append(group["lr"])


def trained(kind, **settings):
    def build(parameters):
        optimizer = kind(parameters, **settings)
        optimizer.train()
        return optimizer

    return build


def galore(parameters):
    settings = dict(rank=1, update_proj_gap=2, scale=1.0, projection_type="std")
    return pytorch_optimizer.GaLore([{"params": list(parameters), **settings}], lr=0.1)


OPTIMIZERS = {
    "Prodigy": lambda p: prodigyopt.Prodigy(p, lr=1.0),
    "Schedule-Free Adam": trained(schedulefree.AdamWScheduleFree, lr=0.1),
    "Schedule-Free SGD": trained(schedulefree.SGDScheduleFree, lr=0.1),
    "SOAP": lambda p: pytorch_optimizer.SOAP(p, lr=0.1, precondition_frequency=2),
    "Ranger21": lambda p: pytorch_optimizer.Ranger21(p, num_iterations=100, lookahead_merge_time=2),  # attributes
    "Lookahead": lambda p: pytorch_optimizer.Lookahead(torch.optim.Adam(p, 0.1), k=2),  # an inner optimizer
    "GaLore": galore,  # an object
    "own rate": lambda p: OwnRate(p, lr=0.1, momentum=0.5),
}
FIRST_STEPS = [0, 1, 3]


def net():
    torch.manual_seed(1)
    return nn.Linear(4, 3)


class Run:
    """Both players with an optimizer of one kind, and gradients drawn by cycle."""

    def __init__(self, kind, acceptance, first_steps=0):
        self.optimizers = [OPTIMIZERS[kind](net().parameters()) for _ in range(2)]
        for step in range(first_steps):
            for optimizer in self.optimizers:
                self.gradient(optimizer, -1, step)
                optimizer.step()
        self.game = MinMaxGame(*self.optimizers, acceptance)
        self.game.decide(0.0)

    def gradient(self, optimizer, cycle, number):
        draws = torch.Generator().manual_seed(100 * cycle + number + 100)
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.randn(p.shape, generator=draws)

    def propose(self, cycle):
        self.gradient(self.optimizers[0], cycle, 0)
        assert self.game.propose()

    def respond(self, cycle, number):
        self.gradient(self.optimizers[1], cycle, number)
        self.optimizers[1].step()

    def moves(self, cycle):
        yield lambda: self.propose(cycle)
        for number in (1, 2, 3):
            yield lambda number=number: self.respond(cycle, number)
        yield lambda: self.game.decide(0.0)

    def look(self):
        return [look(optimizer) for optimizer in self.optimizers]


@pytest.mark.parametrize("first_steps", FIRST_STEPS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_rejection_restores_all_that_a_step_changes(kind, first_steps):
    run = Run(kind, Never(), first_steps)
    kept = run.look()
    for cycle in range(3):
        *before, decide = run.moves(cycle)
        for move in before:
            move()
        proposal = run.look()
        run.game.swap()
        assert_identical(run.look(), kept)
        run.game.swap()
        assert_identical(run.look(), proposal)
        decide()
        assert_identical(run.look(), kept)


@pytest.mark.parametrize("kind", sorted(set(OPTIMIZERS) - {"Lookahead", "GaLore", "own rate"}))  # these do not load
def test_such_a_run_resumes_to_the_last_bit_at_every_phase(kind):
    saved = {}

    def play(run, start=(0, -1), save=False):
        for cycle in range(5):
            for i, move in enumerate(run.moves(cycle)):
                if (cycle, i) <= start:
                    continue
                move()
                for swapped in (False, True) if save else ():
                    if swapped:
                        run.game.swap()
                    parts = [{"weights": o.param_groups[0]["params"], "own": o.state_dict()} for o in run.optimizers]
                    attributes = [look(optimizer)["attributes"] for optimizer in run.optimizers]
                    file = io.BytesIO()
                    torch.save([parts, attributes, run.game.state_dict()], file)
                    saved[cycle, i, swapped] = file
                    if swapped:
                        run.game.swap()
        return run.look()

    whole = play(Run(kind, RandomRate(rate=0.5)), save=True)
    for (cycle, i, _), file in saved.items():
        file.seek(0)
        parts, attributes, game = torch.load(file, weights_only=True)
        run = Run(kind, RandomRate(rate=0.5))
        for optimizer, part, own in zip(run.optimizers, parts, attributes, strict=True):
            optimizer.load_state_dict(part["own"])
            vars(optimizer).update(own)
            for p, weight in zip(optimizer.param_groups[0]["params"], part["weights"], strict=True):
                p.data.copy_(weight.detach())
        run.game.load_state_dict(game)
        if run.game.phase is Phase.SHOWN:
            run.game.swap()
        assert_identical(play(run, start=(cycle, i)), whole)


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
@pytest.mark.parametrize("kind", ["Adam", "Prodigy"])
def test_a_rate_that_is_set_between_steps_stays(kind, rate):
    build = {"Adam": torch.optim.Adam, "Prodigy": prodigyopt.Prodigy}[kind]
    x, y = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = build([x], lr=rate.clone() if isinstance(rate, torch.Tensor) else rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    game = MinMaxGame(optimizer, torch.optim.SGD([y]), Never())
    game.decide(0.0)
    for cycle in range(1, 4):
        x.grad = torch.ones(2)
        game.propose()
        schedule.step()
        game.decide(0.0)
        assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1 * 0.5**cycle)
        assert x.tolist() == [1.0, 1.0]


def test_a_tuple_that_is_set_between_steps_stays_where_a_step_changes_the_rate():
    class Decaying(torch.optim.Adam):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["lr"] *= 0.9

    x, y = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Decaying([x], lr=0.1)
    game = MinMaxGame(optimizer, torch.optim.SGD([y]), Never())
    game.decide(0.0)
    x.grad = torch.ones(2)
    game.propose()
    optimizer.param_groups[0]["betas"] = (0.5, 0.9)
    game.decide(0.0)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.9)


def test_an_optimizer_that_was_replaced_does_not_hold_the_game():
    def optimizer():
        return torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)

    first = optimizer(), optimizer()
    game = MinMaxGame(*first)
    game.replace(optimizer(), optimizer())
    held = weakref.ref(game)
    del game
    gc.collect()
    assert held() is None


def test_a_loaded_state_keeps_apart_what_is_one_tensor_now():
    class HandsOn(torch.optim.SGD):
        """Keeps the last two gradients; before the first step both are one tensor."""

        @torch.no_grad()
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                state = self.state[p]
                state["older"], state["newer"] = state.get("newer", p.grad), p.grad
                p.sub_(state["older"] + state["newer"])

    def build():
        x, y = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        optimizer = HandsOn([x])
        return x, optimizer, MinMaxGame(optimizer, torch.optim.SGD([y]), Never())

    x, optimizer, game = build()
    game.decide(0.0)
    for gradient in (1.0, 2.0):
        x.grad = torch.full((1,), gradient)
        optimizer.step()
    x.grad = torch.full((1,), 4.0)
    game.propose()
    state = game.state_dict()
    x, optimizer, game = build()
    gradient = torch.full((1,), 4.0)
    optimizer.state[x] = {"older": gradient, "newer": gradient}
    game.load_state_dict(state)
    game.decide(0.0)
    assert {k: v.item() for k, v in optimizer.state[x].items()} == {"older": 1.0, "newer": 2.0}
