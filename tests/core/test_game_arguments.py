"""Wrong arguments: one clear error each, at the start; and warnings of a game that can do nothing."""

import math

import numpy as np
import pytest
import pytorch_lightning
import schedulefree
import torch
from games import Reads, small_game
from lightning_fabric import Fabric
from torch import nn

from minmax_plugin import (
    Estimate,
    Estimator,
    FreshBatch,
    LastBatch,
    MinMaxGame,
    Outlier,
    Player,
    Restore,
    Strict,
    build_acceptance,
)
from minmax_plugin.controls import Never, RandomRate


def sgd(net=None):
    return torch.optim.SGD((net or nn.Linear(2, 1)).parameters(), lr=0.1)


def same():
    optimizer = sgd()
    return MinMaxGame(optimizer, optimizer)


def shared():
    net = nn.Linear(2, 1)
    return MinMaxGame(sgd(net), torch.optim.Adam([net.bias, nn.Parameter(torch.ones(1))]))


class Handmade(torch.optim.SGD):
    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters)}]
        self.state = {}


class Handless(torch.optim.Optimizer):
    """As some libraries write a wrapper: an optimizer by name, that hands on its steps."""

    def __init__(self, inner):
        self.inner, self.param_groups, self.state = inner, inner.param_groups, inner.state

    def step(self, closure=None):
        self.inner.step(closure)


BAD = [
    (lambda: MinMaxGame(nn.Linear(2, 1), sgd()), "min_player must be a torch optimizer, but got a Linear: pass the"),
    (lambda: MinMaxGame(sgd(), nn.Sequential(nn.Linear(2, 1))), "max_player must be a torch optimizer, but got a Seq"),
    (lambda: MinMaxGame(sgd(), nn.Linear(2, 1).parameters()), "max_player must be a torch optimizer, but got a Param"),
    (lambda: MinMaxGame(sgd(), None), "max_player must be a torch optimizer, but got None"),
    (lambda: MinMaxGame("adam", sgd()), "min_player must be a torch optimizer, but got 'adam'"),
    (lambda: MinMaxGame(sgd(), [sgd(), 3]), "max_player must be a torch optimizer, but got 3"),
    (lambda: MinMaxGame([], sgd()), "min_player must hold at least one optimizer, but got none"),
    (lambda: MinMaxGame(torch.optim.SGD, sgd()), "min_player must be a torch optimizer, but got <class"),
    (lambda: MinMaxGame(Handmade([nn.Parameter(torch.ones(1))]), sgd()), "that runs step hooks, but got a Handmade"),
    (lambda: MinMaxGame(Handless(sgd()), sgd()), "a Handless, which wraps one: pass its attribute 'inner', the SGD"),
    (same, "max_player must not have parameters of min_player, but got 2 of them"),
    (shared, "max_player must not have parameters of min_player, but got 1 of them"),
    (lambda: Player([sgd()] * 2), "optimizers must be different optimizers, but got one of them twice"),
    (lambda: Player([]), "optimizers must hold at least one optimizer"),
    (lambda: Player(sgd(), "generator"), "modules must be torch modules, but got 'generator'"),
    (lambda: Player(sgd(), nn.Linear(2, 1).parameters()), "modules must be torch modules, but got a Parameter"),
    (lambda: Player(sgd(), 3), "modules must be torch modules, but got 3"),
    (lambda: Restore(moments=None), "moments must be True or False, but got None"),
    (lambda: Restore("both"), "min_player must be True or False, but got 'both'"),
    (lambda: Restore.named("all"), "restore must be 'both' or 'generator', but got 'all'"),
    (lambda: small_game(acceptance=0.2), r"acceptance must be a policy such as ConstantRate\(.*but got 0.2"),
    (lambda: small_game(acceptance="seldom"), "acceptance must be one of .*'never'.* but got 'seldom'"),
    (lambda: small_game(acceptance=Never), "acceptance must be a policy such as .*but got <class"),
    (lambda: small_game(restore="both"), r"restore must be of type Restore, such as .*, but got 'both'"),
    (lambda: small_game(estimator="fresh"), r"estimator must be of type Estimator, such as .*, but got 'fresh'"),
    (lambda: small_game(estimator=lambda: 0.0), "estimator must be of type Estimator"),
    (lambda: small_game(seed=0.5), "seed must be a whole number of at most 64 bits, but got 0.5"),
    (lambda: small_game(seed=None), "seed must be a whole number of at most 64 bits, but got None"),
    (lambda: small_game(seed=2**64), "seed must be a whole number of at most 64 bits, but got 1844"),
    (lambda: small_game(update_reference_on_reject=1), "update_reference_on_reject must be True or False, but got 1"),
    (lambda: small_game(recover_nonfinite="yes"), "recover_nonfinite must be True or False, but got 'yes'"),
    (lambda: small_game(patience=0), "patience must be 1 or more rejections, or None, but got 0"),
    (lambda: small_game(patience="3"), "patience must be 1 or more rejections, or None, but got '3'"),
    (lambda: small_game(patience=2.5), "patience must be 1 or more rejections, or None, but got 2.5"),
    (lambda: small_game(patience=True), "patience must be 1 or more rejections, or None, but got True"),
    (lambda: small_game(on_patience="run"), r"on_patience must be one of \['stop', 'accept', 'raise'\], but got 'run'"),
    (lambda: small_game(on_patience=None), r"on_patience must be one of .*, but got None"),
    (lambda: small_game(max_nonfinite=0), "max_nonfinite must be 1 or more, but got 0"),
    (lambda: small_game(max_nonfinite=None), "max_nonfinite must be 1 or more, but got None"),
    (lambda: small_game(group=3), "group must be of type ProcessGroup, .*but got 3"),
    (lambda: FreshBatch(3.0, []), "function must be a function, but got 3.0"),
    (lambda: FreshBatch(lambda: 0.0, ["net"]), "modules must be torch modules, but got 'net'"),
    (lambda: FreshBatch(lambda: 0.0, [], seed="a"), "seed must be a whole number of at most 64 bits, but got 'a'"),
    (lambda: FreshBatch(lambda: 0.0, [], batches=1.5), "batches must be 1 or more, but got 1.5"),
    (lambda: FreshBatch(lambda: 0.0, [], batches=True), "batches must be 1 or more, but got True"),
    (lambda: LastBatch(0.5), "read must be a function, but got 0.5"),
    (lambda: small_game()[-1].decide(), r"decide\(\) needs f_new"),
    (lambda: small_game()[-1].decide(torch.ones(3)), r"f_new must be one real number, .* \(3,\): give the mean of f"),
    (lambda: small_game()[-1].decide(torch.ones(0)), r"f_new must be one real number, .* tensor of shape \(0,\)"),
    (lambda: small_game()[-1].decide(torch.ones((), dtype=torch.cfloat)), "f_new must be one real number, .* complex"),
    (lambda: small_game()[-1].decide("0.5"), "f_new must be one real number, but got '0.5'"),
    (lambda: small_game()[-1].decide([1.0]), r"f_new must be one real number, but got \[1.0\]"),
    (lambda: small_game()[-1].decide(Estimate(0.0, f_old=torch.ones(2))), "f_old must be one real number"),
    (lambda: small_game()[-1].decide(Estimate(0.0, standard_error=None)), "standard_error must be one real number"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_wrong_argument_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_wrong_value_leaves_the_game_as_it_was():
    x, *_, game = small_game()
    game.decide(0.0)
    game.propose()
    proposal, state = x.detach().clone(), game.state_dict()
    with pytest.raises(ValueError, match="f_new must be one real number"):
        game.decide(torch.ones(3))
    assert torch.equal(x, proposal)
    assert torch.equal(game.state_dict()["draws"], state["draws"])
    assert game.decide(-1.0).accepted


def of_fabric():
    fabric = Fabric(accelerator="cpu", devices=1)
    net = nn.Linear(2, 1)
    return fabric.setup(net, sgd(net))[1]


def of_lightning():
    return pytorch_lightning.core.optimizer.LightningOptimizer(sgd())


@pytest.mark.parametrize("wrapped", [of_fabric, of_lightning])
def test_the_optimizers_of_other_libraries_are_to_be_unwrapped(wrapped):
    wrapper = wrapped()
    message = rf"min_player .*{type(wrapper).__name__}, which wraps one: pass its attribute 'optimizer', the SGD"
    with pytest.raises(ValueError, match=message):
        MinMaxGame(wrapper, sgd())
    with pytest.raises(ValueError, match=message.replace("min_player", "optimizers")):
        Player([wrapper])
    game = MinMaxGame(wrapper.optimizer, sgd(), Never())
    game.decide(0.0)
    for p in game.min_player.parameters:
        p.grad = torch.ones_like(p)
    assert game.propose()
    game.decide(0.0)


def test_a_wrapper_that_is_no_optimizer_is_to_be_unwrapped_too():
    with pytest.raises(
        ValueError, match="got a ScheduleFreeWrapper, which wraps one: pass its attribute 'base', the SGD"
    ):
        MinMaxGame(schedulefree.ScheduleFreeWrapper(sgd()), sgd())


def test_several_spellings_are_taken():
    for acceptance in ("never", dict(type="never"), Never()):
        assert small_game(acceptance=acceptance)[-1].acceptance == Never()
    assert small_game()[-1].acceptance == Outlier() == build_acceptance("outlier")
    *_, game = small_game(seed=np.int64(3), patience=np.int32(2), acceptance=Strict(min_decrease=np.float32(0.5)))
    one_element = (
        0.5,
        1,
        np.float32(0.5),
        np.array(0.5),
        torch.ones(1, 1),
        torch.tensor(2),
        torch.ones((), dtype=torch.half),
    )
    assert all(math.isfinite(game.decide(value).f_new) for value in one_element)
    seeded = FreshBatch(lambda: torch.randn(()), nn.Linear(2, 1), seed=2**64 - 1)  # more than torch takes, multiplied
    assert seeded.evaluate_proposal().f_new != seeded.evaluate_proposal().f_new


def test_an_estimator_may_give_a_plain_number():
    class Plain(Estimator):
        def evaluate_proposal(self):
            return torch.tensor([0.25])

    assert small_game(estimator=Plain())[-1].decide().f_new == 0.25


# --- games that do nothing --------------------------------------------------------------------------------


def frozen(x, optimizer):
    x.requires_grad_(False)
    x.grad = None


IDLE = [
    (lambda x, o: o.zero_grad(), r"Call the min player's zero_grad\(\) just before its backward pass"),
    (lambda x, o: x.grad.zero_(), r"Call the min player's zero_grad\(\) just before its backward pass"),
    (frozen, "None of the parameters of its optimizer requires a gradient"),
]


@pytest.mark.parametrize(("before", "mend"), IDLE, ids=["no gradient", "a zero gradient", "frozen"])
def test_a_min_player_that_never_has_a_gradient_is_warned_of_once(before, mend):
    x, _, optimizer, _, game = small_game()
    for cycle in range(8):
        before(x, optimizer)
        if cycle == 2:
            with pytest.warns(UserWarning, match=f"no gradient of the min player in 3 cycles in a row.*{mend}"):
                game.propose()
        else:
            game.propose()  # warnings are errors
        game.decide(0.0)
        x.grad = torch.ones(2)


def test_a_few_cycles_without_a_gradient_are_no_reason_to_warn():
    x, *_, game = small_game(acceptance=RandomRate(rate=0.5))
    for cycle in range(12):
        x.grad = None if cycle % 4 < 2 else torch.ones(2)
        assert game.propose() == (cycle % 4 >= 2)
        game.decide(0.0)


def test_a_cycle_waits_for_the_device_no_more_often_than_for_its_decision():
    x, y = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizers = [torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in (x, y)]
    game = MinMaxGame(*optimizers, Never())
    counts = []
    for _ in range(6):
        with Reads() as reads:
            game.propose()
            optimizers[1].step()
            game.decide(torch.zeros(()))
        counts.append(reads.count)
        x.grad = torch.ones(2)
    first, *looking, one, other = counts  # a draw each; at first it is looked whether the gradient is zero
    assert looking == [first + 1] * 3
    assert one == other == first
