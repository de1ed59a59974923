import json
import os
import re
from pathlib import Path

import pytest
import torch
from families import FAMILIES, load, write_images
from mmcv import Config
from mmgen_runs import run, small_config
from torch.nn.functional import softplus

from minmax_plugin.cli.certify import main, parse_args
from minmax_plugin.mmgen import certify
from minmax_plugin.mmgen.certify import certify_gan
from minmax_plugin.mmgen.check import read_data
from minmax_plugin.mmgen.config import SHIPPED, load_config
from minmax_plugin.mmgen.train import build_model, build_network

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


def test_f_is_the_value_of_the_game_on_this_sample(monkeypatch):
    model, noise, values = model_of(small_config()), [], []
    model.generator.register_forward_hook(lambda network, _, made: noise.append(made))
    real = torch.randn(32, 2) + 5
    monkeypatch.setattr(certify, "certify", lambda f, x, y, **settings: values.append(f(x, y).item()))
    certify.certify_gan(model, {"real_img": real})
    model.eval()
    expected = -softplus(-model.discriminator(real)).mean() - softplus(model.discriminator(noise[0])).mean()
    assert values == [pytest.approx(expected.item(), abs=1e-5)]


@pytest.fixture
def saved(tmp_path):
    """A config whose validation data are not there, and a checkpoint with a discriminator that knows nothing."""
    cfg = small_config(evaluation=dict(type="GenerativeEvalHook", interval=1))
    cfg.data.val = dict(type="UnconditionalImageDataset", imgs_root="/nowhere")
    cfg.dump(str(tmp_path / "config.py"))
    model = model_of(cfg)
    with torch.no_grad():
        for p in model.discriminator.parameters():
            p.zero_()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "still.pth")
    torch.save(dict(state_dict=model_of(small_config()).state_dict()), tmp_path / "new.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("checkpoint", "arguments", "code", "reason"),
    [
        ("still.pth", [], 0, "equilibrium"),
        ("new.pth", ["--epsilon", "1e-6"], 1, "gradient above epsilon"),
        ("new.pth", ["--epsilon", "1e6", "--max-ascent-steps", "1"], 0, "equilibrium"),
    ],
)
def test_the_command_certifies_the_checkpoint_by_the_settings_it_is_given(
    saved, capsys, checkpoint, arguments, code, reason
):
    assert main([str(saved / "config.py"), str(saved / checkpoint), *arguments]) == code
    assert json.loads(capsys.readouterr().out)["reason"] == reason


def test_proposals_that_are_too_few_for_omega_are_named(saved, capsys):
    command = [str(saved / "config.py"), str(saved / "still.pth"), "--samples", "40"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 40
    assert main([*command, "--omega", "0.01"]) == 2
    assert "samples must be 299 or more to show omega=0.01" in capsys.readouterr().err


def test_the_sample_is_as_large_as_asked_for(saved, capsys):
    found = []
    for size in (8, 8, 100, 10_000):
        main([str(saved / "config.py"), str(saved / "new.pth"), "--batch", str(size), "--epsilon", "1e-9"])
        found.append(json.loads(capsys.readouterr().out))
    values = [one["value"] for one in found]
    assert values[0] == values[1] != values[2]
    there = len(read_data(load_config(str(saved / "config.py"))))
    assert [one["sample"] for one in found] == [8, 8, 100, there]


def test_a_checkpoint_of_other_networks_is_refused(saved, capsys):
    other = small_config(**{"model.generator.hidden": (16, 8)})
    torch.save(dict(state_dict=model_of(other).state_dict()), saved / "other.pth")
    assert main([str(saved / "config.py"), str(saved / "other.pth")]) == 2
    assert "does not load into this config's model" in capsys.readouterr().err


def test_a_model_that_grows_is_refused(tmp_path, capsys):
    cfg = load(next(f for f in FAMILIES if f.name == "PGGAN"), write_images(tmp_path / "data"), tmp_path)
    cfg.dump(str(tmp_path / "config.py"))
    torch.save(dict(state_dict=build_network(cfg).state_dict()), tmp_path / "new.pth")
    assert main([str(tmp_path / "config.py"), str(tmp_path / "new.pth")]) == 2
    assert "grows in stages, which minmax-certify cannot follow" in capsys.readouterr().err


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


def test_the_help_states_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    stated = dict(re.findall(r"--([a-z-]+) [^-]*?default: ([^) ]+)", text))
    settings = vars(parse_args(["config.py", "iter_1.pth"]))
    del settings["config"], settings["checkpoint"], settings["cfg_options"]
    assert stated == {name.replace("_", "-"): str(value) for name, value in settings.items()}
