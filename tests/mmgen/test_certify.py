import json
import os
from pathlib import Path

import pytest
import torch
from mmcv import Config
from mmgen_runs import run, small_config

from minmax_plugin.mmgen import certify
from minmax_plugin.mmgen.certify import certify_gan, main
from minmax_plugin.mmgen.train import SHIPPED, build_model

STYLEGAN = SHIPPED[0] / "styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py"
GAUSSIANS = str(Path(__file__).parents[2] / "configs" / "four_gaussians_minmax.py")


def model_of(cfg):
    torch.manual_seed(0)
    return build_model(cfg.model, train_cfg=cfg.train_cfg, test_cfg=None)


def test_an_untrained_gan_is_no_equilibrium_and_is_left_as_it_was():
    model = model_of(small_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = {"real_img": torch.randn(32, 2) + 5}
    state = torch.get_rng_state()
    certificate = certify_gan(model, batch, epsilon=1e-3)
    assert (certificate.holds, certificate.reason) == (False, "gradient above epsilon")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_a_gan_that_no_proposal_improves_is_certified():
    # A discriminator that is constant in its input, and its best constant: f does not depend on the generator.
    model = model_of(small_config())
    with torch.no_grad():
        for p in model.discriminator.parameters():
            p.zero_()
    certificate = certify_gan(model, {"real_img": torch.randn(32, 2)}, epsilon=1e-3, samples=40, sigma=0.01)
    assert certificate.holds
    assert certificate.gradient_norm < 1e-6
    assert certificate.improved == 0


def test_f_is_one_function_for_generators_that_mix_styles_too(monkeypatch):
    # StyleGAN draws what it mixes from python's random numbers, and mixes outside of training too.
    cfg = Config.fromfile(STYLEGAN).model
    cfg.generator |= dict(out_size=8, style_channels=16, channel_multiplier=1, mix_prob=0.5)
    cfg.discriminator |= dict(in_size=8, channel_multiplier=1)
    cfg.disc_auxiliary_loss = cfg.gen_auxiliary_loss = None
    model = build_model(cfg, train_cfg=dict(disc_steps=1), test_cfg=None)
    values = []
    monkeypatch.setattr(certify, "certify", lambda f, x, y, **settings: values.extend(f(x, y).item() for _ in range(8)))
    certify.certify_gan(model, {"real_img": torch.rand(4, 3, 8, 8)})
    assert len(set(values)) == 1


def test_the_command_prints_a_certificate(tmp_path, capsys, recorded):
    cfg = small_config(1, dict(), total_iters=4, checkpoint_config=dict(interval=4))
    run(cfg, tmp_path)
    (checkpoint,) = tmp_path.glob("**/iter_4.pth")
    (config,) = tmp_path.glob("config.py")
    assert main([str(config), str(checkpoint), "--batch", "50", "--samples", "30", "--epsilon", "1e-6"]) == 1
    out = capsys.readouterr()
    result = json.loads(out.out, parse_constant=pytest.fail)  # no NaN, which is none of JSON
    assert (result["samples"], result["share"]) == (0, None)  # the gradient had settled it
    assert (result["holds"], result["reason"], result["sample"]) == (False, "gradient above epsilon", 50)
    assert "An estimate, on a fixed sample in inference mode: not shown to be an equilibrium" in out.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py", "x.pth"], "config 'nowhere.py' does not exist"),
        ([GAUSSIANS, "nowhere.pth"], "checkpoint 'nowhere.pth' does not load"),
        ([GAUSSIANS, GAUSSIANS], "does not load"),
        ([GAUSSIANS, os.devnull], "does not load"),
        ([GAUSSIANS, "x.pth", "--cfg-options", "model.generator.type=Foo"], "'Foo is not in the"),
    ],
)
def test_bad_input_is_one_clear_error(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
