"""Unrolling networks: the imagined steps are those of the optimizer."""

import copy

import pytest
import torch

from minmax_plugin.baselines import build_baseline


def networks():
    torch.manual_seed(0)
    generator = torch.nn.Linear(2, 2).double()
    discriminator = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
    ).double()
    torch.nn.init.constant_(discriminator[1].bias[:4], -100.0)  # dead units, whose second moments stay 0
    noise, real = torch.randn(2, 16, 2, dtype=torch.float64)

    def max_loss():
        fake = discriminator(generator(noise))
        return torch.nn.functional.softplus(fake).mean() + torch.nn.functional.softplus(-discriminator(real)).mean()

    return generator, discriminator, max_loss


def test_imagined_steps_are_those_of_the_optimizer_and_leave_no_trace():
    generator, discriminator, max_loss = networks()
    seen = []

    def min_loss():
        seen.append([p.detach().clone() for p in discriminator.parameters()])
        return -max_loss()

    def groups(net):
        return [dict(params=net[:2].parameters(), lr=0.02), dict(params=net[2:].parameters())]

    optimizers = torch.optim.Adam(generator.parameters()), torch.optim.Adam(groups(discriminator), lr=0.01)
    play = build_baseline("unrolled", *optimizers, min_loss, max_loss, module=discriminator, k=5)
    play()

    _, twin, twin_loss = networks()
    twin_optimizer = torch.optim.Adam(groups(twin), lr=0.01)
    for step in range(6):
        twin_optimizer.zero_grad()
        twin_loss().backward()
        twin_optimizer.step()
        if step == 0:
            real_step = copy.deepcopy((twin.state_dict(), twin_optimizer.state_dict()["state"]))
    for imagined, stepped in zip(seen[0], twin.parameters(), strict=True):
        torch.testing.assert_close(imagined, stepped.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        (discriminator.state_dict(), optimizers[1].state_dict()["state"]), real_step, rtol=1e-12, atol=1e-15
    )
    assert all(p.grad.isfinite().all() and p.grad.any() for p in generator.parameters())


def test_a_detached_generator_is_named():
    generator, discriminator, _ = networks()
    noise = torch.randn(4, 2, dtype=torch.float64)
    play = build_baseline(
        "unrolled",
        torch.optim.Adam(generator.parameters()),
        torch.optim.Adam(discriminator.parameters()),
        lambda: -discriminator(generator(noise)).mean(),
        lambda: discriminator(generator(noise).detach()).mean(),
        module=discriminator,
    )
    with pytest.raises(ValueError, match="max_loss must depend on the min player to be unrolled: do not detach"):
        play()
