"""One adversarial loss among several, as in super-resolution and codecs: ``python super_resolution.py``.

Half a minute on one core. Digits of 4×4 pixels are made 8×8. The generator's loss has three terms: L1, feature
matching, and the adversarial one. It prints each before and after.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, l1_loss, softplus

from minmax_plugin import MinMaxGame, PairedBatch, Player

BATCH, L1, FEATURES = 64, 10.0, 2.0  # weights of the two terms beside the adversarial one
DIGITS = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1  # 1797×1×8×8, from -1 to 1


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1)),
        )

    def forward(self, small):
        large = interpolate(small, scale_factor=2)
        return large + self.net(large)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)])
        self.head = nn.Linear(64 * 4, 1)

    def forward(self, images):
        """Score images, B×1×8×8, and give the features of each layer."""
        features = []
        for layer in self.layers:
            images = nn.functional.leaky_relu(layer(images), 0.2)
            features.append(images)
        return self.head(images.flatten(1)).squeeze(1), features


def train(steps=600, seed=0, k=1, **settings):
    torch.manual_seed(seed)
    generator, discriminator = Generator(), Discriminator()
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))

    def batch(size=BATCH):
        large = DIGITS[torch.randint(len(DIGITS), (size,))]
        return avg_pool2d(large, 2), large

    def adversarial(small, large):
        """The discriminator's loss of each sample, B."""
        real, fake = discriminator(large)[0], discriminator(generator(small))[0]
        return softplus(-real) + softplus(fake)

    def own_terms(made, large):
        """The generator's other terms: L1, and the features that the discriminator sees."""
        pairs = zip(discriminator(made)[1], discriminator(large)[1], strict=True)
        return L1 * l1_loss(made, large), FEATURES * sum(l1_loss(a, b.detach()) for a, b in pairs)

    def f():
        """What the generator lowers and the discriminator raises: minus its loss, and the generator's own terms."""
        small, large = batch(BATCH // 4)
        return sum(own_terms(generator(small), large)) - adversarial(small, large).mean()

    modules = [generator, discriminator]
    game = MinMaxGame(
        Player(opt_g, generator), Player(opt_d, discriminator), estimator=PairedBatch(f, modules, hold=8), **settings
    )
    losses = []
    for _ in range(steps):
        game.propose()
        for _ in range(k):
            small, large = batch()
            with torch.no_grad():
                made = generator(small)
            opt_d.zero_grad()
            (softplus(-discriminator(large)[0]) + softplus(discriminator(made)[0])).mean().backward()
            opt_d.step()
        game.decide()
        opt_g.zero_grad()
        small, large = batch()
        made = generator(small)
        pixels, features = own_terms(made, large)
        fooled = softplus(-discriminator(made)[0]).mean()
        (pixels + features + fooled).backward()
        losses.append([pixels.item() / L1, features.item() / FEATURES, fooled.item()])
    return losses, game


if __name__ == "__main__":
    losses, game = train()
    for name, *values in zip(("L1", "features", "adversarial"), losses[0], losses[-1], strict=True):
        print(f"{name}: {values[0]:.3f} at first, {values[1]:.3f} at last")
    print(f"kept {game.accepted} of {game.proposals} proposals")
