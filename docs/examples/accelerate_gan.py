"""A GAN in a loop of Hugging Face's Accelerate, with accumulated gradients and bfloat16: ``python accelerate_gan.py``.

Half a minute on one core. What Accelerate has prepared goes to the game as it is.
"""

import itertools
import math

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from minmax_plugin import MinMaxGame, Player

MODES, NOISE, PARTS, R1 = 8, 16, 2, 0.05


def points(size):
    angles = torch.arange(size) % MODES * 2 * math.pi / MODES
    return torch.stack([angles.cos(), angles.sin()], dim=1) + 0.02 * torch.randn(size, 2)


def network(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs))


def endless(loader):
    return itertools.chain.from_iterable(itertools.repeat(loader))


def train(cycles=1000, seed=0, **settings):
    torch.manual_seed(seed)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=PARTS)
    generator, discriminator = network(NOISE, 2), network(2, 1)
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loader = DataLoader(TensorDataset(points(4096)), batch_size=128, shuffle=True, drop_last=True)
    generator, discriminator, opt_g, opt_d, loader = accelerator.prepare(generator, discriminator, opt_g, opt_d, loader)

    def adversarial_loss(real):
        fake = generator(torch.randn(len(real), NOISE)).detach()
        return softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()

    def penalty(real):  # R1
        real.requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
        return slope.square().sum(1).mean()

    game = MinMaxGame(Player(opt_g, generator), Player(opt_d, discriminator), **settings)
    accelerator.register_for_checkpointing(game)  # save_state() and load_state() take it along
    batches = endless(loader)
    for _ in range(cycles):
        game.propose()  # in place of opt_g.step()
        opt_g.zero_grad()
        opt_d.zero_grad()  # it has had a part of the generator's backward pass
        for _ in range(PARTS):
            with accelerator.accumulate(discriminator):
                (real,) = next(batches)
                accelerator.backward(adversarial_loss(real) + R1 * penalty(real))
                opt_d.step()
                opt_d.zero_grad()
        with torch.no_grad():
            game.decide(-adversarial_loss(real))
        for _ in range(PARTS):  # the generator's gradient, all of it at the pair that was kept
            with accelerator.accumulate(generator):
                fake = discriminator(generator(torch.randn(len(real), NOISE)))
                accelerator.backward(softplus(-fake).mean())
    with torch.no_grad():
        return generator(torch.randn(2000, NOISE)), game


def modes(samples):
    distance, nearest = torch.cdist(samples, points(MODES)).min(dim=1)
    return int((torch.bincount(nearest[distance < 0.2], minlength=MODES) > 0.02 * len(samples)).sum())


if __name__ == "__main__":
    samples, game = train()
    print(f"{modes(samples)} of {MODES} modes; kept {game.accepted} of {game.proposals} proposals")
