"""f of each family is minus the adversarial loss that the toolkit itself computes, plus the generator's own losses."""

import functools

import pytest
import torch
from families import FAMILIES, load
from mmcv.parallel import collate
from mmgen.models import build_model
from mmgen_runs import small_config
from torch.utils.data import DataLoader

from minmax_plugin.mmgen.adapters import adapter_of
from minmax_plugin.mmgen.data import GaussianMixture

pytestmark = [  # third parties': what the stock configs bring about
    pytest.mark.filterwarnings("ignore:.*Unnecessary conv bias before batch/instance norm"),
    pytest.mark.filterwarnings("ignore:.*torch.meshgrid:UserWarning"),
]

WEIGHT = 0.5  # of the adversarial term beside the generator's own


def noise(*shape):
    return torch.randn(shape).clamp(-1, 1)


def pairs(a, b):
    return {f"img_{a}": noise(8, 3, 32, 32), f"img_{b}": noise(8, 3, 32, 32)}


def pyramid():
    return {"input_sample": torch.zeros(1, 3, 19, 19), "real_scale0": noise(1, 3, 19, 19)}


PLAIN = ["loss_disc_fake", "loss_disc_real"]
CASES = {
    # family: a batch, the toolkit's names of the adversarial losses, their factor in f, its names of the own ones
    "DCGAN": (lambda: {"real_img": noise(8, 1, 64, 64)}, PLAIN, 1, []),
    "SNGAN-proj": (lambda: {"img": noise(8, 3, 32, 32), "gt_label": torch.arange(8)}, PLAIN, 1, []),
    "PGGAN": (lambda: {"real_img": noise(8, 3, 16, 16)}, PLAIN, 1, []),
    "SinGAN": (pyramid, PLAIN, WEIGHT, ["loss_mse"]),
    "pix2pix": (lambda: pairs("photo", "mask"), ["loss_gan_d_fake", "loss_gan_d_real"], WEIGHT, ["pixel_loss"]),
    "CycleGAN": (  # the toolkit halves the discriminators' losses
        lambda: pairs("photo", "mask"),
        ["loss_gan_d_photo", "loss_gan_d_mask"],
        2 * WEIGHT,
        ["cycle_loss", "id_loss"],
    ),
}
STILL = {  # optimizers that move nothing, where the model makes them by itself
    "PGGAN": {
        "train_cfg.reset_optim_for_new_scale": False,
        "train_cfg.optimizer_cfg.generator.lr": 0.0,
        "train_cfg.optimizer_cfg.discriminator.lr": 0.0,
    },
    "SinGAN": {
        "train_cfg.lr_g": 0.0,
        "train_cfg.lr_d": 0.0,
        "train_cfg.disc_steps": 1,
        "train_cfg.generator_steps": 1,
    },
}


@pytest.mark.parametrize("family", CASES)
def test_f_is_what_the_toolkit_s_own_losses_say(tmp_path, family):
    batch, adversarial, factor, own = CASES[family]
    cfg = load(next(f for f in FAMILIES if f.name == family), "", tmp_path, **STILL.get(family, {}))
    model = build_model(cfg.model, train_cfg=cfg.train_cfg, test_cfg=None).eval()
    model.gan_loss.loss_weight = WEIGHT
    adapter, batch = adapter_of(model), batch()
    for p in model.parameters() if adapter.has_auxiliary_losses else ():
        p.data.mul_(2)  # or its own terms would drown what untrained discriminators say
    optimizers = {
        name: torch.optim.SGD(network.parameters(), lr=0.0)
        for name, network in zip(adapter.names, (adapter.generator, adapter.discriminator), strict=True)
    }
    if family == "SNGAN-proj":
        model.discriminator.train()
        for _ in range(20):  # its spectral norms are found by and by
            model.discriminator(batch["img"], label=batch["gt_label"])
        model.eval()
    if family == "PGGAN":
        model.shown_nkimg.fill_(0.015)  # a new scale begins, and fades in
    status = dict(iteration=0, batch_size=2)
    if family in ("PGGAN", "SinGAN"):  # their first iteration makes what the others use
        model.train_step(batch, None, running_status=status)
    torch.manual_seed(5)
    torch.randint(1, ())  # which part of the batch f is read on
    told = model.train_step(batch, optimizers, running_status={**status, "iteration": 1})["log_vars"]
    if family == "PGGAN":
        assert 0 < model._curr_transition_weight < 1
    torch.manual_seed(5)
    with torch.no_grad():
        f = adapter.fresh_value(batch).mean().item()
    expected = sum(told[name] for name in own) - factor * sum(told[name] for name in adversarial)
    assert f == pytest.approx(expected, rel=1e-5)


def test_f_is_read_on_batches_drawn_at_random_without_a_part_of_one():
    def pool(size, batches):
        data = GaussianMixture(size=size)
        loader = DataLoader(data, 16, collate_fn=functools.partial(collate, samples_per_gpu=16))
        drawn = adapter_of(build_model(small_config().model)).load_pool(loader, batches)
        return data.samples, [batch["real_img"] for batch in drawn]

    samples, drawn = pool(100, batches=10)
    assert [len(batch) for batch in drawn] == [16] * 6
    assert len({tuple(point) for batch in drawn for point in batch.tolist()}) == 96
    assert not torch.equal(torch.cat(drawn), samples[:96])
    assert [len(batch) for batch in pool(5, batches=2)[1]] == [5]  # all there are
