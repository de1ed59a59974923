"""What the hook cannot drive is one error, before the generator's first step."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine_runs import PlainGAN, config, train

from minmax_plugin.mmengine.hook import MinMaxHook


@MODELS.register_module()
class GeneratorFirst(PlainGAN):
    """As SRGAN and its kin train."""

    def train_step(self, data, optim_wrapper):
        inputs = self.data_preprocessor(data, True)
        with optim_wrapper["generator"].optim_context(self.generator):
            self.train_generator(inputs, optim_wrapper["generator"])
        return self.train_discriminator(inputs, optim_wrapper["discriminator"])


@MODELS.register_module()
class FakesFirst(PlainGAN):
    """As pix2pix and CycleGAN train."""

    def train_step(self, data, optim_wrapper):
        inputs = self.data_preprocessor(data, True)
        fakes = self.generator(self.noise(inputs))
        self.train_discriminator(inputs, optim_wrapper["discriminator"])
        with optim_wrapper["generator"].optim_context(self.generator):
            optim_wrapper["generator"].update_params(-self.discriminator(fakes).mean())
        return {}


@MODELS.register_module()
class WithoutContext(PlainGAN):
    def train_step(self, data, optim_wrapper):
        inputs = self.data_preprocessor(data, True)
        self.train_discriminator(inputs, optim_wrapper["discriminator"])
        self.train_generator(inputs, optim_wrapper["generator"])
        return {}


@MODELS.register_module()
class Unannounced(PlainGAN):
    def train_step(self, data, optim_wrapper):
        inputs = self.data_preprocessor(data, True)
        self.train_discriminator(inputs, optim_wrapper["discriminator"])
        for _ in range(2):
            with optim_wrapper["generator"].optim_context(self.generator):
                self.train_generator(inputs, optim_wrapper["generator"])
        return {}


@MODELS.register_module()
class GeneratorAlone(PlainGAN):
    def train_step(self, data, optim_wrapper):
        return {"loss": torch.zeros(())}


REFUSED = {
    "GeneratorFirst": "MinMax cannot read f: the generator comes first. model.train_step must first step the",
    "FakesFirst": "generator's fakes were made before its optim_context was entered, where the proposal is decided",
    "WithoutContext": "the generator's optim_context was not entered, where the proposal is decided",
    "Unannounced": "several steps of optim_wrapper.generator in a row: .* Call the wrapper's initialize_count_status",
    "GeneratorAlone": "MinMax cannot read f: no optimizer of the discriminator was used",
}


@pytest.mark.parametrize("estimator", ["paired", "last"])
@pytest.mark.parametrize(("kind", "message"), REFUSED.items())
@pytest.mark.filterwarnings("ignore:MinMaxHook\\(estimator='last'\\) with k = 1")
def test_a_model_that_trains_in_another_order_is_refused(tmp_path, kind, message, estimator):
    torch.manual_seed(0)
    cfg = config(dict(estimator=estimator), dict(type=kind), iterations=3)
    with pytest.raises(ValueError, match=message):
        train(cfg, tmp_path)


SETTINGS = {
    "generator='gen' must be a part of PlainGAN and have an entry in optim_wrapper": dict(generator="gen"),
    "discriminator='generator_ema' must be .* has \\['generator', 'discriminator'\\]": dict(
        discriminator="generator_ema"
    ),
    "ascent_steps=2, but the model takes k=1 discriminator steps": dict(ascent_steps=2),
}


@pytest.mark.parametrize(("message", "hook"), SETTINGS.items())
def test_settings_that_do_not_fit_the_model_are_refused(tmp_path, message, hook):
    with pytest.raises(ValueError, match=message):
        train(config(hook, iterations=3), tmp_path)


def test_one_optimizer_for_the_whole_model_is_refused(tmp_path):
    cfg = config(dict()) | dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)))
    with pytest.raises(ValueError, match="optim_wrapper, which has one wrapper for the whole model"):
        train(cfg, tmp_path)


def test_settings_are_checked_as_in_the_first_host():
    with pytest.raises(ValueError, match="presett='paper' is no setting of MinMax; the nearest is 'preset'"):
        MinMaxHook(presett="paper")


def test_the_last_pass_with_one_step_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="estimator='last'\\) with k = 1 reads f before"):
        train(config(dict(estimator="last"), iterations=3), tmp_path)
