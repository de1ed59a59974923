import json
from pathlib import Path

import pytest
import torch
from mmgen_runs import run, small_config

from minmax_plugin.mmgen.certify import certify_gan, main
from minmax_plugin.mmgen.train import build_model

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


def test_the_command_prints_a_certificate(tmp_path, capsys, recorded):
    cfg = small_config(1, dict(), total_iters=4, checkpoint_config=dict(interval=4))
    run(cfg, tmp_path)
    (checkpoint,) = tmp_path.glob("**/iter_4.pth")
    (config,) = tmp_path.glob("config.py")
    assert main([str(config), str(checkpoint), "--batch", "50", "--samples", "30", "--epsilon", "1e-6"]) == 1
    out = capsys.readouterr()
    result = json.loads(out.out)
    assert (result["holds"], result["reason"], result["sample"]) == (False, "gradient above epsilon", 50)
    assert "An estimate, on a fixed sample in inference mode: not shown to be an equilibrium" in out.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py", "x.pth"], "config 'nowhere.py' does not exist"),
        ([GAUSSIANS, "nowhere.pth"], "checkpoint 'nowhere.pth' does not load"),
    ],
)
def test_bad_input_is_one_clear_error(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
