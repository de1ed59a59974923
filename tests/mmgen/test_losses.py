"""Gradient penalties and relativistic pairs from a config, against the same written plainly."""

import pytest
import torch
from mmgen.models import build_model
from mmgen.models.builder import build_module
from mmgen_runs import losses, minus_pair_loss, run, small_config
from torch.nn.functional import softplus

from minmax_plugin.mmgen.adapters import adapter_of
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.doctor import examine

R1 = dict(
    type="R1GradientPenalty",
    loss_weight=0.7,
    norm_mode="HWC",
    data_info=dict(discriminator="disc", real_data="real_imgs"),
)
R2 = dict(type="R2GradientPenalty", loss_weight=0.7, norm_mode="HWC")
PAIRS = {"model.type": "RelativisticGAN", "model.disc_auxiliary_loss": [R1, R2]}
PLAIN = {"model.discriminator.dropout": 0.0, "train_cfg.use_ema": False}


def squares(network, samples):
    samples = samples.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(network(samples).sum(), samples, create_graph=True)
    return slopes.square()


def model_of(**overlay):
    return build_model(small_config(1, None, **PLAIN, **overlay).model, train_cfg=dict(disc_steps=1), test_cfg=None)


IMAGES = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 1))
POINTS = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


@pytest.mark.parametrize("mode", ["HWC", "pixel"])
@pytest.mark.parametrize(("network", "shape"), [(IMAGES, (5, 3, 8, 8)), (POINTS, (5, 2))], ids=["images", "points"])
def test_r2_is_the_penalty_on_generated_samples(network, shape, mode):
    fakes = torch.randn(shape)
    ours = build_module(R2 | dict(norm_mode=mode))(dict(disc=network, fake_imgs=fakes, iteration=0))
    of_sample = squares(network, fakes).flatten(1).sum(1)
    pixels = shape[2] * shape[3] if len(shape) == 4 and mode == "pixel" else 1
    torch.testing.assert_close(ours, 0.7 * of_sample.mean() / pixels)
    weights = list(network.parameters())
    assert any(g is not None and g.any() for g in torch.autograd.grad(ours, weights, allow_unused=True))


def test_r2_takes_the_names_of_the_model_s_data_and_an_interval():
    penalty = build_module(R2 | dict(interval=2, data_info=dict(discriminator="critic", fake_data="made")))
    data = dict(critic=POINTS, made=torch.randn(4, 2), iteration=1)
    assert penalty(data) is None
    assert penalty(data | dict(iteration=2)) > 0


def test_a_relativistic_gan_trains_by_the_pair_losses_and_both_penalties():
    model, other = model_of(**PAIRS), model_of()
    other.load_state_dict(model.state_dict())
    optimizers = {
        name: torch.optim.SGD(getattr(model, name).parameters(), 0.1) for name in ("generator", "discriminator")
    }
    reals = torch.randn(16, 2)
    torch.manual_seed(5)
    logs = model.train_step(dict(real_img=reals), optimizers)["log_vars"]

    torch.manual_seed(5)
    fakes, critic = other.generator(None, num_batches=16).detach(), other.discriminator
    pair = softplus(critic(fakes) - critic(reals)).mean()
    penalties = [0.7 * squares(critic, samples).sum(1).mean() for samples in (reals, fakes)]
    descend(critic, pair + sum(penalties))
    gen = softplus(critic(reals).detach() - critic(other.generator(None, num_batches=16))).mean()
    descend(other.generator, gen)
    torch.testing.assert_close(model.state_dict(), other.state_dict())
    names = ("loss_disc_pair", "loss_r1_gp", "loss_r2_gp", "loss_gen_pair")
    wanted = {name: value.item() for name, value in zip(names, (pair, *penalties, gen), strict=True)}
    assert {name: logs[name] for name in names} == pytest.approx(wanted, rel=1e-5)


def descend(network, loss):
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for p, gradient in zip(network.parameters(), gradients, strict=True):
            p -= 0.1 * gradient


def test_f_of_a_relativistic_gan_is_minus_the_pair_loss_without_penalties():
    model, reals = model_of(**PAIRS), torch.randn(32, 2)
    wanted = minus_pair_loss(model, reals)
    with torch.no_grad():
        torch.testing.assert_close(adapter_of(model).fresh_value({"real_img": reals}).mean(), wanted)


@pytest.mark.parametrize("overlay", [PAIRS, {"model.disc_auxiliary_loss": [R1, R2]}], ids=["pairs", "halves"])
@pytest.mark.parametrize("estimator", ["fresh", "paired"])
def test_always_is_the_plain_run_to_the_last_bit(overlay, estimator, tmp_path):
    def trained(hook):
        return run(small_config(2, hook, **overlay), tmp_path / str(hook))

    assert losses(trained(dict(acceptance="always", estimator=estimator))) == losses(trained(None))
    reasons = {line.get("reason") for line in trained(dict(acceptance="strict", estimator=estimator))}
    assert reasons & {"improved", "worse"}
    assert examine(small_config(2, dict(), **overlay)).drives


def test_the_config_with_r1_trains_by_it(tmp_path):
    cfg = load_config("configs/four_gaussians_r1.py")
    cfg.merge_from_dict({"total_iters": 6, "data.samples_per_gpu": 16, "custom_hooks": [], "log_config.interval": 1})
    assert all(line["loss_r1_gp"] > 0 for line in losses(run(cfg, tmp_path)))
