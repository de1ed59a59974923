"""What a rejection takes back beside weights and moments: state in groups, containers and attributes, new buffers."""

import collections
import gc
import io
import math
import weakref

import prodigyopt
import pytest
import pytorch_optimizer
import schedulefree
import torch
from exact import assert_identical
from torch import nn

from minmax_plugin import Always, MinMaxGame, Player, Restore
from minmax_plugin.controls import Never, RandomRate
from minmax_plugin.mmgen.optimizers import MinMaxOptimizer
from minmax_plugin.phase import Phase
from minmax_plugin.player import norm


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


def look(optimizer):
    """All that an optimizer keeps, copied."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    places = {id(p): i for i, p in enumerate(parameters)}
    own = {k: v for k, v in vars(optimizer).items() if not k.startswith("_") and k not in ("param_groups", "defaults")}
    states = own.pop("state").items()
    return plain(
        {
            "weights": parameters,
            "states": {places.get(id(k), k): v for k, v in states if not (isinstance(v, dict) and not v)},
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
            "attributes": own,
        }
    )


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, torch.optim.Optimizer):
        return look(value)
    if isinstance(value, dict):
        return {k: plain(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, (list, tuple, collections.deque)):
        return [plain(v) for v in value]
    return plain(vars(value)) if hasattr(value, "__dict__") and not callable(value) else value


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
def test_a_rejection_takes_back_all_that_a_step_changes(kind, first_steps):
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


class Deferring:
    """Drives a deferred optimizer as the hook does: its step only marks the gradient as pending."""

    def takes_step(self, optimizer):
        return False

    def on_zero_grad(self, optimizer):
        pass


@pytest.mark.parametrize("adopted", [False, True])
def test_a_step_that_a_deferred_defers_changes_nothing_until_it_is_taken(adopted):
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


# --- buffers ----------------------------------------------------------------------------------------------


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
def test_buffers_that_are_replaced_go_back_with_their_player(first_passes, recover):
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


def test_modules_that_both_players_are_given_come_back_from_a_swap():
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


# --- kinds of numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_players_are_restored_and_looked_at(dtype):
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([3 + 4j, 0], dtype=dtype))
    module.register_buffer("phase", torch.tensor([1j], dtype=dtype))
    y = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([module.weight], 0.1)
    player = Player(optimizer, module)
    assert norm([player]).item() == pytest.approx(5.0)
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
