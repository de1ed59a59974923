"""Real processes under DistributedDataParallel: no rank ever decides otherwise than the others."""

import datetime
import gc
import math
import os
import traceback

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from minmax_plugin import ConstantRate, MinMaxGame, Outlier, PairedBatch, Player, Restore

CYCLES = 1000
POLICIES = {"constant": ConstantRate(rate=0.3), "outlier": Outlier(threshold=1.5, window=50)}
REASONS = {"constant": ("improved", "chance", "worse"), "outlier": ("warm-up", "usual", "outlier of f", "repeated")}


def worker(rank, ranks, folder, policy):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder}/rendezvous", datetime.timedelta(seconds=60), rank=rank, world_size=ranks
    )
    try:
        play(rank, folder, policy)
        gc.collect()  # the wrapped modules go before the process group does
        distributed.barrier()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    distributed.destroy_process_group()


def play(rank, folder, policy):
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    discriminator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    networks = [DistributedDataParallel(n, broadcast_buffers=False) for n in (generator, discriminator)]
    a, b = torch.optim.Adam(generator.parameters(), 1e-3), torch.optim.Adam(discriminator.parameters(), 1e-3)
    torch.manual_seed(100 + rank)  # from here on, each rank has data and noise of its own

    def halves(net):
        with torch.no_grad():
            fake = generator(torch.randn(16, 2))
        logits = net(torch.cat([fake, torch.randn(16, 2) + 1])).flatten()
        return nn.functional.softplus(logits[:16]) + nn.functional.softplus(-logits[16:])

    def f():
        turn = game.decisions % 50 == 20 and rank == game.decisions // 50 % distributed.get_world_size()
        return -halves(discriminator) * (math.nan if turn else 1.0)

    class Noted(PairedBatch):
        def evaluate_proposal(self):
            self.own = super().evaluate_proposal()
            return self.own

    value = Noted(f, networks, seed=rank)
    players = Player(a, generator), Player(b, discriminator)
    game = MinMaxGame(*players, POLICIES[policy], Restore(max_player=False), value, seed=9)
    decisions, own = [], []
    for _ in range(CYCLES):
        game.propose()
        b.zero_grad()
        halves(networks[1]).mean().backward()
        b.step()
        d = game.decide()
        decisions.append((d.accepted, d.reason, d.f_new, d.f_old, d.standard_error, d.rejections))
        own.append((float(value.own.f_new), float(value.own.difference_error)))
        a.zero_grad()
        nn.functional.softplus(-discriminator(networks[0](torch.randn(16, 2)))).mean().backward()
    weights = [p.detach() for n in (generator, discriminator) for p in n.parameters()]
    torch.save({"decisions": decisions, "own": own, "weights": weights}, f"{folder}/{rank}.pt")


@pytest.mark.parametrize(("ranks", "policy"), [(2, "constant"), (4, "constant"), (2, "outlier")])
def test_all_ranks_decide_alike(tmp_path, ranks, policy):
    # A fork server imports torch once for all ranks; the tests' own process, with its threads, is not forked.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch._dynamo", "minmax_plugin"])
    multiprocessing.start_processes(worker, (ranks, str(tmp_path), policy), nprocs=ranks, start_method="forkserver")
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(ranks)]
    decisions = results[0]["decisions"]
    assert len(decisions) == CYCLES
    reasons = [d[1] for d in decisions]
    assert all(reasons.count(r) >= 15 for r in REASONS[policy])
    assert reasons.count("non-finite") == CYCLES // 50
    for i in (i for i in range(1, CYCLES) if reasons[i] != "non-finite"):
        values, errors = zip(*(result["own"][i] for result in results), strict=True)
        assert decisions[i][2] == pytest.approx(sum(values) / ranks)
        assert decisions[i][4] == pytest.approx(math.hypot(*errors) / ranks)  # of the mean of independent values
    for result in results[1:]:
        assert repr(result["decisions"]) == repr(decisions)
        assert all(torch.equal(x, y) for x, y in zip(result["weights"], results[0]["weights"], strict=True))
