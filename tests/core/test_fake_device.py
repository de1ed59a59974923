"""The game on 'cuda' without a card: torch's fake tensors have the device and the shapes of real ones, but no values.

They show what crosses between host and device. That nothing does but in a decision, is tested here. Not tested are
kernels, streams, random states of the device, and backward passes, which fail on them. So gradients are set by hand.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minmax_plugin import Always, FreshBatch, LastBatch, MinMaxGame, PairedBatch, Player, Restore
from minmax_plugin.controls import Never

pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="fake tensors of torch 2.6 ask the driver in a grouped copy"
)
CYCLES, LOOKING = 6, 4  # in the first cycles with a gradient, the game looks whether it is zero


class Crossings(TorchDispatchMode):
    """Notes each read of a tensor on the device and each copy to it, and answers reads, also those of the host's."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            if args[0].device.type == "cuda":
                self.found.append("read")
            return 0.5
        out = func(*args, **(kwargs or {}))
        if "copy" in func.name():
            made = args[0] if out is None else out  # a grouped copy returns nothing
            sources = args[1] if len(args) > 1 else args[0]
            for a, b in zip(devices(sources), devices(made), strict=True):
                if a != b:
                    self.found.append("copy to the device" if b == "cuda" else "read")
        return out

    def take(self):
        found, self.found = set(self.found), []
        return found


def devices(tensors):
    return [t.device.type for t in tree_leaves(tensors) if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize(
    ("cross", "found"),
    [
        (lambda here, there: there.item(), "read"),
        (lambda here, there: bool(there), "read"),
        (lambda here, there: there.tolist(), "read"),
        (lambda here, there: there.cpu(), "read"),
        (lambda here, there: here.copy_(there), "read"),
        (lambda here, there: here.to(there.device), "copy to the device"),
        (lambda here, there: there.copy_(here), "copy to the device"),
        (lambda here, there: torch._foreach_copy_([there], [here]), "copy to the device"),
        (lambda here, there: torch.tensor(1.0, device="cuda"), "copy to the device"),
        (lambda here, there: torch.as_tensor(1.0, device="cuda"), "copy to the device"),
    ],
)
def test_what_crosses_is_noted(cross, found):
    with FakeTensorMode():
        here, there = torch.ones(()), torch.ones((), device="cuda")
        with Crossings() as crossings:
            torch.ones(3, device="cuda").double().sum()
            here.item()
            assert crossings.take() == set()
            cross(here, there)
            assert crossings.take() == {found}


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, 1e-3),
    "foreach": lambda parameters: torch.optim.Adam(parameters, 1e-3, foreach=True),
    "fused": lambda parameters: torch.optim.Adam(parameters, 1e-3, fused=True),
    "capturable": lambda parameters: torch.optim.Adam(parameters, 1e-3, capturable=True),
    "momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9),
}
REJECTING = dict(acceptance=Never(), recover_nonfinite=True)
GENERATOR_ALONE = dict(REJECTING, restore=Restore(max_player=False, moments=False, buffers=False))
CASES = [
    *(("adam", estimator, {}) for estimator in (None, LastBatch, FreshBatch, PairedBatch)),
    *((optimizer, PairedBatch, REJECTING) for optimizer in OPTIMIZERS),
    ("adam", None, dict(acceptance=Always())),
    ("adam", None, GENERATOR_ALONE),
]


@pytest.mark.parametrize(("optimizer", "estimator", "settings"), CASES)
def test_host_and_device_meet_in_a_decision_alone(optimizer, estimator, settings):
    with FakeTensorMode():
        nets = [
            torch.nn.Sequential(torch.nn.Linear(2, 2, device="cuda"), torch.nn.BatchNorm1d(2, device="cuda"))
            for _ in range(2)
        ]
        low, high = (OPTIMIZERS[optimizer](net.parameters()) for net in nets)

        def terms():
            return nets[1](nets[0](torch.randn(8, 2, device="cuda"))).mean(1)

        if estimator is not None:
            reads = [lambda: terms().mean()] if estimator is LastBatch else [terms, nets]
            settings = {**settings, "estimator": estimator(*reads)}
        game = MinMaxGame(Player(low, nets[0]), Player(high, nets[1]), **settings)
        for cycle in range(CYCLES):
            with Crossings() as crossings:
                opened = game.propose()
                assert opened == (cycle > 0)
                if cycle >= LOOKING:
                    assert crossings.take() == set()
                fill_gradients(nets[1])
                high.step()
                crossings.take()
                decision = game.decide(None if estimator else terms().mean())
                assert crossings.take() == {"read"}
                fill_gradients(nets[0])
        assert decision.reason != "non-finite"


def fill_gradients(net):
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
