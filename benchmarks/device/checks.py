"""What must hold on a device. A check raises where it does not."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.amp import GradScaler

from benchmarks.device.pair import OPTIMIZERS, Pair
from minmax_plugin import Always, ConstantRate
from minmax_plugin.controls import Never

LOOKING = 5  # cycles, in the first of which the game also looks whether the generator's gradient is zero


class NotHere(Exception):
    """What a check needs is not on this device."""


def restore(device: torch.device, optimizer: str) -> None:
    """A rejection restores both players to the last bit, in place."""
    _check_capturable(device, optimizer)
    pair = Pair(device, optimizer, minmax=dict(acceptance=Always(), recover_nonfinite=True))
    for _ in range(3):
        pair.cycle()
    assert pair.game is not None
    pair.game.acceptance = Never()
    for damage in (0.0, math.nan):
        before, places = _copies(pair), {name: t.data_ptr() for name, t in pair.tensors().items()}
        pair.propose()
        pair.respond()
        pair.high.param_groups[0]["params"][0].data += damage
        _expect(not _equal(before, pair.tensors()), "a cycle changes something")
        pair.decide()
        _expect(_equal(before, pair.tensors()), "a rejection restores all tensors")
        _expect(places == {name: t.data_ptr() for name, t in pair.tensors().items()}, "tensors stay where they are")
        pair.descend()


def resume(device: torch.device, optimizer: str) -> None:
    """A training saved in mid-cycle continues as if it had not stopped, to the last bit."""
    _check_capturable(device, optimizer)
    runs = [Pair(device, optimizer, minmax=dict(acceptance=ConstantRate(0.3))) for _ in range(2)]
    for _ in range(4):
        runs[0].cycle()
    runs[0].propose()
    file = io.BytesIO()
    torch.save(runs[0].state_dict(), file)
    file.seek(0)
    runs[1].load_state_dict(torch.load(file, weights_only=True, map_location=device))
    for run in runs:
        run.respond()
        run.decide()
        run.descend()
        for _ in range(4):
            run.cycle()
    _expect(runs[0].decision == runs[1].decision, "both decide alike")
    _expect(_equal(runs[0].tensors(), runs[1].tensors()), "both have equal tensors")


def scaler(device: torch.device, optimizer: str) -> None:
    """A gradient scaler changes nothing in float32, and a step that it skips is no proposal."""
    minmax = dict(acceptance=ConstantRate(0.3))
    scaled = Pair(device, optimizer, minmax=minmax, scaler=GradScaler(device.type, 2.0**10, growth_interval=2))
    plain = Pair(device, optimizer, minmax=minmax)
    for _ in range(8):
        scaled.cycle()
        plain.cycle()
    _expect(scaled.decision == plain.decision, "both decide alike")
    _expect(_equal(scaled.tensors(), plain.tensors()), "both have equal tensors")
    assert scaled.game is not None
    scaled.low.param_groups[0]["params"][0].grad[0] = math.inf
    before = _copies(scaled)
    scaled.propose()
    _expect(not scaled.game.open, "a step that was skipped is no proposal")
    _expect(_equal(before, scaled.tensors()), "a step that was skipped changes nothing")


def half(device: torch.device, name: str) -> None:
    """A training in half precision decides in both ways and stays finite."""
    dtype = getattr(torch, name)
    grown = GradScaler(device.type) if dtype is torch.float16 else None
    pair = Pair(device, minmax=dict(acceptance=ConstantRate(0.3)), dtype=dtype, scaler=grown)
    accepted = set()
    for _ in range(60):
        pair.cycle()
        assert pair.decision is not None
        _expect(pair.decision.reason != "non-finite", "no decision is non-finite")
        accepted.add(pair.decision.accepted)
    _expect(accepted == {True, False}, "it accepts and rejects")
    _expect(all(t.isfinite().all() for t in pair.tensors().values()), "all tensors are finite")


def graphs(device: torch.device, what: str) -> None:
    """A response that is replayed as a CUDA graph is restored like others, and a decision in a graph is refused."""
    if device.type != "cuda":
        raise NotHere("CUDA graphs need CUDA")
    pair = Pair(device, "Adam, capturable", minmax=dict(acceptance=Always()))
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            pair.cycle()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    assert pair.game is not None
    if what == "refused in a decision":
        refused = False
        try:
            with torch.cuda.graph(graph):
                pair.game.decide(torch.zeros((), device=device))
        except RuntimeError:
            refused = True
        _expect(refused, "a decision in a graph raises, because it waits for the device")
        return
    real, noise = pair.real(256), pair.noise(256)
    pair.real, pair.noise = (lambda n: real[:n]), (lambda n: noise[:n])  # type: ignore[method-assign, assignment]

    def ascend() -> None:
        fake = pair.generator(noise).detach()
        loss = torch.nn.functional.softplus(pair.discriminator(fake)) - pair.discriminator(real)
        pair.high.zero_grad(set_to_none=False)
        loss.mean().backward()
        pair.high.step()

    with torch.cuda.graph(graph):
        ascend()
    pair.game.acceptance = Never()
    found = []
    for respond in (ascend, graph.replay):
        before = _copies(pair)
        pair.propose()
        respond()
        found.append(_copies(pair))
        pair.decide()
        _expect(_equal(before, pair.tensors()), "a rejection restores all tensors")
    _expect(_equal(*found), "a replay does what the calls do")


def synchronisations(device: torch.device, what: str) -> dict[str, float]:
    """A decision waits for the device once more than plain training, and no other part does."""
    if device.type != "cuda":
        raise NotHere("torch counts the synchronisations of CUDA alone")
    plain, other = _waits(Pair(device)), _waits(Pair(device, minmax={}))
    more = {part: other[part] - plain[part] for part in plain}
    _expect(more == {"propose": 0, "respond": 0, "decide": 1, "descend": 0}, f"one more in a decision, but {more}")
    return {"value": sum(more.values())}


def allocations(device: torch.device, what: str) -> dict[str, float]:
    """The memory that is asked of the device does not grow after the third cycle."""
    if device.type != "cuda":
        raise NotHere("torch counts the allocations of CUDA alone")
    pair = Pair(device, minmax={})
    counts = []
    for _ in range(40):
        pair.cycle()
        counts.append(torch.cuda.memory_stats(device)["num_device_alloc"])
    _expect(counts[-1] == counts[2], f"it grew from {counts[2]} to {counts[-1]}")
    return {"value": counts[-1] - counts[2]}


CHECKS: list[tuple[Callable[..., dict[str, float] | None], list[str]]] = [
    (restore, list(OPTIMIZERS)),
    (resume, list(OPTIMIZERS)),
    (scaler, ["Adam", "Adam, foreach", "Adam, fused", "SGD with momentum"]),
    (half, ["float16", "bfloat16"]),
    (synchronisations, ["per cycle"]),
    (allocations, ["cycles 3 to 40"]),
    (graphs, ["replayed in a response", "refused in a decision"]),  # the last: a refusal may break the context
]


def _check_capturable(device: torch.device, optimizer: str) -> None:
    if "capturable" in optimizer and device.type == "cpu":
        raise NotHere("capturable optimizers need a device that captures")


def _waits(pair: Pair) -> dict[str, int]:
    """Count the synchronisations in each part of a cycle, after the first ones."""
    for _ in range(LOOKING):
        pair.cycle()
    counts = {}
    for name, part in pair.parts().items():
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                part()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts[name] = sum("called a synchronizing" in str(warning.message) for warning in found)
    return counts


def _copies(pair: Pair) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in pair.tensors().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all tensors are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _expect(true: bool, what: str) -> None:
    if not true:
        raise AssertionError(f"expected: {what}")
