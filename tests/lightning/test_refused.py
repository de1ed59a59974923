"""What the callback cannot drive is one error, before the generator's first step."""

import pytest
import torch
from lightning_runs import GAN, DiscriminatorFirst, digits, loader, seeded, train, weights
from torch.utils.data import DataLoader, IterableDataset

from minmax_plugin.lightning import MinMaxCallback


class WithoutToggles(GAN):
    """As the first GAN in Lightning's documentation is written."""

    def training_step(self, batch):
        optimizer_g, optimizer_d = self.optimizers()
        for optimizer, loss in ((optimizer_d, self.discriminator_loss), (optimizer_g, self.generator_loss)):
            optimizer.zero_grad()
            self.manual_backward(loss(batch[0]))
            optimizer.step()


class FakesFirst(GAN):
    def training_step(self, batch):
        optimizer_g, optimizer_d = self.optimizers()
        fakes = self(self.noise(batch[0]))
        with self.toggled_optimizer(optimizer_d):
            self.manual_backward(self.discriminator(fakes.detach()).mean())
            optimizer_d.step()
        with self.toggled_optimizer(optimizer_g):
            self.manual_backward(-self.discriminator(fakes).mean())
            optimizer_g.step()


class AccumulatedTogether(GAN):
    """The discriminator first, both accumulated over two batches: the generator's gradient begins too early."""

    def training_step(self, batch, batch_idx):
        optimizer_g, optimizer_d = self.optimizers()
        for optimizer, loss in ((optimizer_d, self.discriminator_loss), (optimizer_g, self.generator_loss)):
            with self.toggled_optimizer(optimizer):
                self.manual_backward(loss(batch[0]) / 2)
                if batch_idx % 2:
                    optimizer.step()
                    optimizer.zero_grad()


class PlainBackward(GAN):
    def training_step(self, batch):
        for optimizer, loss in zip(self.optimizers(), (self.generator_loss, self.discriminator_loss), strict=True):
            with self.toggled_optimizer(optimizer):
                optimizer.zero_grad()
                loss(batch[0]).backward()
                optimizer.step()


REFUSED = {
    WithoutToggles: "toggle_optimizer\\(\\) was not called for it after the discriminator's step. training_step must",
    FakesFirst: "the generator's fakes were made before toggle_optimizer\\(\\) was called for it",
    AccumulatedTogether: "the generator accumulates a gradient while the discriminator does",
    PlainBackward: "training_step gave no loss of the discriminator to self.manual_backward",
}


@pytest.mark.parametrize("estimator", ["paired", "last"])
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:MinMaxCallback\\(estimator='last'\\) with k = 1")
def test_a_module_that_trains_in_another_order_is_refused(tmp_path, kind, estimator):
    module = seeded(kind)
    before = weights(module.generator)
    with pytest.raises(ValueError, match=REFUSED[kind]):
        train(tmp_path, module, MinMaxCallback(estimator=estimator))
    assert torch.equal(module.generator[0].weight, before["0.weight"])


def test_automatic_optimization_is_refused(tmp_path):
    module = seeded()
    module.automatic_optimization = True
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="self.automatic_optimization = False in its __init__"):
        train(tmp_path, module, MinMaxCallback())


SETTINGS = {
    "generator='netG' must name parts of GAN, which has \\['generator', 'discriminator'\\]": dict(generator="netG"),
    "generator=\\[\\] must name parts": dict(generator=[]),
    "ascent_steps=2, but the model takes k=1 discriminator steps": dict(ascent_steps=2),
}


@pytest.mark.parametrize(("message", "settings"), SETTINGS.items())
def test_settings_that_do_not_fit_the_module_are_refused(tmp_path, message, settings):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, seeded(), MinMaxCallback(**settings))


def test_a_player_without_an_optimizer_is_refused(tmp_path):
    module = seeded()
    module.configure_optimizers = lambda: torch.optim.SGD(module.generator.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="discriminator='discriminator' has no optimizer: configure_optimizers must"):
        train(tmp_path, module, MinMaxCallback())


def test_data_without_a_length_are_refused(tmp_path):
    class Endless(IterableDataset):
        def __iter__(self):
            yield from zip(*digits(32), strict=True)

    module = seeded()
    module.train_dataloader = lambda: DataLoader(Endless(), batch_size=8)
    with pytest.raises(ValueError, match="a torch DataLoader of a data set with a length, but has a Endless"):
        train(tmp_path, module, MinMaxCallback(), loaders=None)


def test_settings_are_checked_as_in_the_first_host():
    with pytest.raises(ValueError, match="presett='paper' is no setting of MinMax; the nearest is 'preset'"):
        MinMaxCallback(presett="paper")


def test_the_last_pass_with_one_step_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="MinMaxCallback\\(estimator='last'\\) with k = 1 reads f before"):
        train(tmp_path, seeded(DiscriminatorFirst), MinMaxCallback(estimator="last"), epochs=1)
    assert len(loader()) == 6
