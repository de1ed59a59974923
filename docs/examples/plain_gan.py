"""A GAN in plain PyTorch, on eight Gaussians, with and without the accept test: ``python plain_gan.py``.

Under a minute on one core. It prints how many of the eight modes each has found, and draws both into plain_gan.png.
"""

import math

import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn.functional import softplus

from minmax_plugin import Always, ConstantRate, MinMaxGame, PairedBatch

MODES, SIGMA, BATCH, NOISE, CYCLES, K = 8, 0.02, 256, 32, 600, 3
ANGLES = torch.arange(MODES) * 2 * math.pi / MODES
CENTRES = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def real(size):
    return CENTRES[torch.randint(MODES, (size,))] + SIGMA * torch.randn(size, 2)


def network(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs))


def train(acceptance, seed=0):
    torch.manual_seed(seed)
    generator, discriminator = network(NOISE, 2), network(2, 1)
    opt_g = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def discriminator_loss():
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, NOISE))
        return softplus(-discriminator(real(BATCH))) + softplus(discriminator(fake))

    # f on a fresh batch, before and after, on the same noise: the comparison then is of the pairs, not of the batches
    f = PairedBatch(lambda: -discriminator_loss().squeeze(1), [generator, discriminator])
    game = MinMaxGame(opt_g, opt_d, acceptance=acceptance, estimator=f)
    for _ in range(CYCLES):
        game.propose()
        for _ in range(K):
            opt_d.zero_grad()
            discriminator_loss().mean().backward()
            opt_d.step()
        game.decide()
        opt_g.zero_grad()
        softplus(-discriminator(generator(torch.randn(BATCH, NOISE)))).mean().backward()
    with torch.no_grad():
        return generator(torch.randn(2000, NOISE)), game


def modes(samples):
    distance, nearest = torch.cdist(samples, CENTRES).min(dim=1)
    return int((torch.bincount(nearest[distance < 0.2], minlength=MODES) > 0.02 * len(samples)).sum())


if __name__ == "__main__":
    figure, panels = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
    for axes, (name, acceptance) in zip(panels, [("GDA", Always()), ("MinMax", ConstantRate(rate=0.2))], strict=True):
        samples, game = train(acceptance)
        print(f"{name}: {modes(samples)} of {MODES} modes; kept {game.accepted} of {game.proposals} proposals")
        axes.scatter(*samples.T, s=2, alpha=0.3)
        axes.scatter(*CENTRES.T, marker="+", color="tab:red")
        axes.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
    figure.savefig("plain_gan.png", dpi=100)
