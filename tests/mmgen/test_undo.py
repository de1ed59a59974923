"""A bad step of either player is undone by the default rule, and the log says so."""

import pytest
import torch
from mmcv.runner import HOOKS, Hook
from mmgen_runs import run, small_config

HIT = 40  # the iteration of the damage, past the warm-up


@HOOKS.register_module()
class Damages(Hook):
    """Damages a network within an iteration, and notes the largest weight of both after it."""

    reads_weights = False

    def __init__(self, network, damage, found):
        self.network, self.damage, self.found = network, damage, found

    @torch.no_grad()
    def before_train_iter(self, runner):
        weights = list(getattr(runner.model.module, self.network).parameters())
        if runner.iter == HIT:
            if self.damage == "weight":
                weights[0].view(-1)[0] = 100.0
            else:
                weights[0].view(-1)[0] = torch.nan

    @torch.no_grad()
    def after_run(self, runner):
        networks = runner.model.module.generator, runner.model.module.discriminator
        self.found += [float(p.abs().max()) for network in networks for p in network.parameters()]


@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize(("damage", "reason"), [("weight", "its change of"), ("nan", "something was not finite")])
def test_a_damaged_weight_is_undone_and_told(tmp_path, recorded, network, damage, reason):
    found = []
    cfg = small_config(1, dict(), total_iters=HIT + 20, log_level="INFO", lr_config=None)
    cfg.custom_hooks.append(dict(type="Damages", network=network, damage=damage, found=found, priority="LOWEST"))
    lines = run(cfg, tmp_path)
    assert [line["acceptance"] for line in lines].count(0.0) == 1
    assert max(found) < 10
    (log,) = tmp_path.glob("*.log")
    assert f"a step was undone, because {reason}" in log.read_text()
    assert f"at iteration {HIT + 1}" in log.read_text()
