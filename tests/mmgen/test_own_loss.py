"""A model with a loss of its own: f is minus that loss, or the model is refused before training."""

import pytest
import torch
from mmgen.models import build_model
from mmgen.models.builder import MODELS, build_module
from mmgen.models.gans import StaticUnconditionalGAN
from mmgen.models.translation_models import Pix2Pix
from mmgen_runs import losses, minus_pair_loss, run, small_config
from torch.nn.functional import softplus

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.adapters import adapter_of
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.doctor import examine


class Relativistic:
    """The relativistic pair loss, with its auxiliary losses as the toolkit adds them."""

    def _get_disc_loss(self, outputs_dict):
        named = {"loss_disc_pair": softplus(outputs_dict["disc_pred_fake"] - outputs_dict["disc_pred_real"]).mean()}
        for loss in self.disc_auxiliary_losses if self.with_disc_auxiliary_loss else []:
            named[loss.loss_name()] = loss(outputs_dict)
        return self._parse_losses(named)


@MODELS.register_module()
class OwnRelativisticGAN(Relativistic, StaticUnconditionalGAN):
    pass


@MODELS.register_module()
class PenalisedInPlace(StaticUnconditionalGAN):
    """A penalty within the loss: it cannot be read without gradients."""

    def _get_disc_loss(self, outputs_dict):
        says = outputs_dict["disc_pred_real"]
        slopes = torch.autograd.grad(says.sum(), list(self.discriminator.parameters()), create_graph=True)
        return self._parse_losses({"loss_disc": softplus(-says).mean() + sum((s**2).sum() for s in slopes)})


@MODELS.register_module()
class StepsByItself(StaticUnconditionalGAN):
    def train_step(self, *args, **kwargs):
        return super().train_step(*args, **kwargs)


@MODELS.register_module()
class StepsAndSays(StepsByItself):
    trains_by_disc_loss = True


@MODELS.register_module()
class RelativisticPix2Pix(Relativistic, Pix2Pix):
    pass


PENALTY = dict(type="R1GradientPenalty", loss_weight=1.0, norm_mode="HWC")


@pytest.mark.parametrize("auxiliary", [None, PENALTY], ids=["plain", "with R1"])
def test_f_is_minus_the_model_s_own_loss(auxiliary):
    overlay = {"model.type": "OwnRelativisticGAN", "model.discriminator.dropout": 0.0, "train_cfg.use_ema": False}
    model = build_model(small_config(1, None, **overlay).model, train_cfg=dict(disc_steps=1), test_cfg=None)
    if auxiliary:
        model.disc_auxiliary_losses = torch.nn.ModuleList([build_module(auxiliary)])
    reals = torch.randn(32, 2)
    wanted = minus_pair_loss(model, reals)
    with torch.no_grad():
        groups = adapter_of(model).fresh_value({"real_img": reals}, by_groups=True)
    assert len(groups) == 8
    torch.testing.assert_close(groups.mean(), wanted)
    assert model.with_disc_auxiliary_loss == bool(auxiliary)  # they are back


def test_a_relativistic_gan_trains_and_always_is_its_plain_run(tmp_path):
    def trained(hook):
        cfg = small_config(2, hook, **{"model.type": "OwnRelativisticGAN"})
        return run(cfg, tmp_path / str(hook))

    assert losses(trained(dict(acceptance="always"))) == losses(trained(None))
    reasons = {line.get("reason") for line in trained(dict(acceptance="strict"))}
    assert reasons & {"improved", "worse"}
    assert examine(small_config(2, dict(), **{"model.type": "OwnRelativisticGAN"})).drives


REFUSED = [
    ("StepsByItself", {}, "model.type='StepsByItself' has a train_step of its own, and MinMax cannot know its loss"),
    (
        "OwnRelativisticGAN",
        dict(estimator="last"),
        "estimator='last'. reads the model's gan_loss, but this model computes",
    ),
    (
        "RelativisticGAN",
        dict(estimator="last"),
        "estimator='last'. reads the model's gan_loss, but this model computes",
    ),
    ("RelativisticPix2Pix", {}, "has a _get_disc_loss of its own, which MinMax cannot read for this kind of model"),
]


@pytest.mark.parametrize(("model", "hook", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_loss_that_f_cannot_be_read_from_is_refused_before_training(model, hook, message):
    cfg = small_config(2, hook, **{"model.type": model})
    if model == "RelativisticPix2Pix":
        cfg.optimizer = dict(generators=cfg.optimizer.generator, discriminators=cfg.optimizer.discriminator)
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)
    check_config(small_config(2, hook, **{"model.type": "StepsAndSays"}))


def test_a_penalty_within_the_loss_is_named_with_its_mend(tmp_path):
    with pytest.raises(ValueError, match=r"PenalisedInPlace\._get_disc_loss cannot be read without gradients .* put "):
        run(small_config(1, dict(), **{"model.type": "PenalisedInPlace"}), tmp_path)
