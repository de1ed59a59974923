"""A GAN as Lightning's own example is written, on the embedded digits, and short runs of it by Lightning's trainer."""

import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from torch.utils.data import DataLoader, TensorDataset

from minmax_plugin.lightning import MinMaxCallback


def digits(size):
    """Some digits of scikit-learn, 1×8×8 with values from -1 to 1, and their labels."""
    found = load_digits()
    return torch.from_numpy(found.images[:size]).float()[:, None] / 8 - 1, torch.from_numpy(found.target[:size])


class Shifted(TensorDataset):
    """The digits, shifted by a random number of pixels when they are read, as an augmentation does."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return pad(image, (1, 1), value=-1.0)[..., int(torch.randint(3, ())) :][..., :8], label


def loader(size=96, batch_size=16):
    return DataLoader(Shifted(*digits(size)), batch_size=batch_size, shuffle=True, num_workers=0)


class GAN(pl.LightningModule):
    """Lightning's example: the generator's step first, and then the discriminator's."""

    def __init__(self, latent_dim=8, width=16, lr=2e-3, b1=0.5, b2=0.9, schedule=False, optimizer="Adam"):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(
            *(nn.Linear(latent_dim, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)),
            *(nn.Linear(width, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8))),
        )
        self.discriminator = nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, width), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(width, 1)),
        )
        self.losses = []

    def forward(self, z):
        return self.generator(z)

    def adversarial_loss(self, y_hat, y):
        return binary_cross_entropy_with_logits(y_hat, y)

    def training_step(self, batch, batch_idx):
        imgs, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        self.toggle_optimizer(optimizer_g)
        g_loss = self.generator_loss(imgs)
        optimizer_g.zero_grad()
        self.manual_backward(g_loss)
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)
        self.toggle_optimizer(optimizer_d)
        d_loss = self.discriminator_loss(imgs)
        optimizer_d.zero_grad()
        self.manual_backward(d_loss)
        optimizer_d.step()
        self.untoggle_optimizer(optimizer_d)
        self.step_schedules()

    def noise(self, imgs):
        return torch.randn(imgs.shape[0], self.hparams.latent_dim).type_as(imgs)

    def generator_loss(self, imgs):
        self.generated_imgs = self(self.noise(imgs))
        if self.logger is not None:
            self.logger.experiment  # noqa: B018  the example logs a picture here
        scores = self.discriminator(self.generated_imgs)
        return self.noted("g_loss", self.adversarial_loss(scores, torch.ones_like(scores)))

    def discriminator_loss(self, imgs):
        real, fake = self.discriminator(imgs), self.discriminator(self(self.noise(imgs)).detach())
        of_real = self.adversarial_loss(real, torch.ones_like(real))
        of_fake = self.adversarial_loss(fake, torch.zeros_like(fake))
        return self.noted("d_loss", (of_real + of_fake) / 2)

    def noted(self, name, loss):
        self.log(name, loss, prog_bar=True)
        self.losses.append((name, float(loss.detach())))
        return loss

    def step_schedules(self):
        if self.hparams.schedule:
            for schedule in self.lr_schedulers():
                schedule.step()

    def configure_optimizers(self):
        more = (
            dict(betas=(self.hparams.b1, self.hparams.b2)) if self.hparams.optimizer == "Adam" else dict(momentum=0.9)
        )
        kind = getattr(torch.optim, self.hparams.optimizer)
        optimizers = [kind(m.parameters(), lr=self.hparams.lr, **more) for m in (self.generator, self.discriminator)]
        if not self.hparams.schedule:
            return optimizers, []
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8) for optimizer in optimizers]


class DiscriminatorFirst(GAN):
    """The other order, with k steps of the discriminator in each training step."""

    def __init__(self, k=1, generator_steps=1, **more):
        super().__init__(**more)
        self.k, self.generator_steps = k, generator_steps

    def training_step(self, batch):
        imgs, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        for _ in range(self.k):
            with self.toggled_optimizer(optimizer_d):
                optimizer_d.zero_grad()
                self.manual_backward(self.discriminator_loss(imgs))
                self.clip_gradients(optimizer_d, gradient_clip_val=0.5)
                optimizer_d.step()
        for _ in range(self.generator_steps):
            with optimizer_g.toggle_model():
                optimizer_g.zero_grad()
                self.manual_backward(self.generator_loss(imgs))
                optimizer_g.step()
        self.step_schedules()


class Accumulated(GAN):
    """The example's order, with the gradients of n batches in each step."""

    n = 2

    def training_step(self, batch, batch_idx):
        imgs, _ = batch
        for optimizer, loss in zip(self.optimizers(), (self.generator_loss, self.discriminator_loss), strict=True):
            self.toggle_optimizer(optimizer)
            self.manual_backward(loss(imgs) / self.n)
            if (batch_idx + 1) % self.n == 0:
                optimizer.step()
                optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)


class EveryThird(GAN):
    """The generator is trained at every third batch."""

    def training_step(self, batch, batch_idx):
        imgs, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        with self.toggled_optimizer(optimizer_d):
            optimizer_d.zero_grad()
            self.manual_backward(self.discriminator_loss(imgs))
            optimizer_d.step()
        if (batch_idx + 1) % 3 == 0:
            with self.toggled_optimizer(optimizer_g):
                optimizer_g.zero_grad()
                self.manual_backward(self.generator_loss(imgs))
                optimizer_g.step()


class Closures(GAN):
    def training_step(self, batch, batch_idx):
        imgs, _ = batch
        for optimizer, loss in zip(self.optimizers(), (self.generator_loss, self.discriminator_loss), strict=True):

            def closure(optimizer=optimizer, loss=loss):
                optimizer.zero_grad()
                self.manual_backward(loss(imgs))

            with optimizer.toggle_model():
                optimizer.step(closure=closure)


class Penalty(GAN):
    """The example with a gradient penalty on real images."""

    def discriminator_loss(self, imgs):
        imgs.requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(imgs).sum(), imgs, create_graph=True)
        return super().discriminator_loss(imgs) + slope.square().sum((1, 2, 3)).mean()


def weights(module):
    return {n: t.detach().clone() for n, t in module.state_dict().items()}


class Saves(pl.Callback):
    """Writes a checkpoint after some batches, counted from 1; or after each."""

    reads_weights = False

    def __init__(self, folder, at):
        self.folder, self.at = Path(folder), at

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        batches = trainer.current_epoch * trainer.num_training_batches + batch_idx + 1
        if self.at == "each" or batches in self.at:
            trainer.save_checkpoint(self.folder / f"{batches}.ckpt")


def train(folder, module, *callbacks, epochs=2, resume=None, save=(), loaders=loader, **settings):
    """Train, and give the trainer."""
    defaults = dict(max_epochs=epochs, accelerator="cpu", devices=1, logger=False, log_every_n_steps=1)
    defaults |= dict(enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    callbacks = [*callbacks, Saves(folder, save)]
    trainer = pl.Trainer(default_root_dir=folder, callbacks=callbacks, **defaults | settings)
    trainer.fit(module, loaders and loaders(), ckpt_path=resume)
    return trainer


def seeded(kind=GAN, **settings):
    torch.manual_seed(3)
    return kind(**settings)


def decisions(folder):
    return [json.loads(line) for line in (Path(folder) / "decisions.jsonl").read_text().splitlines()]


def half(**more):
    return MinMaxCallback(acceptance=dict(type="random", rate=0.5), **more)


class Look(pl.Callback):
    """Notes the weights that a callback sees after each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(weights(pl_module.generator))


def float16():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
    return dict(plugins=[MixedPrecision("16-mixed", "cpu", scaler)])


RUNS = {  # the module, its arguments, and the trainer's
    "Lightning's example": (GAN, {}, dict),
    "discriminator first": (DiscriminatorFirst, {}, dict),
    "three discriminator steps": (DiscriminatorFirst, dict(k=3), dict),
    "several generator steps": (DiscriminatorFirst, dict(generator_steps=2), dict),
    "the generator at every third batch": (EveryThird, {}, dict),
    "accumulated by hand": (Accumulated, {}, dict),
    "closures": (Closures, {}, dict),
    "penalty": (Penalty, {}, dict),
    "schedules": (GAN, dict(schedule=True), dict),
    "momentum": (GAN, dict(optimizer="SGD"), dict),
    "precision bf16-mixed": (GAN, {}, lambda: dict(precision="bf16-mixed")),
    "precision 16-mixed": (GAN, {}, float16),
    "precision 16-mixed, schedules": (DiscriminatorFirst, dict(k=2, schedule=True), float16),
}


FAST = "Lightning's example", "three discriminator steps", "accumulated by hand", "precision bf16-mixed"


EACH_RUN = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.matrix) for name in RUNS]
)


def of(name, folder, *callbacks, **settings):
    kind, arguments, more = RUNS[name]
    module = seeded(kind, **arguments)
    return module, train(folder, module, *callbacks, **more() | settings)
