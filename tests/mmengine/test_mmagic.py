"""MMagic's stock configs under the hook, each shrunk by sizes and data alone, and the table of them in the docs."""

import pytest
import torch
from exact import assert_identical
from mmagic_runs import END, FAMILIES, NOTES, REFUSED, config, train
from mmengine_runs import checkpoint
from stock_configs import write_images

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

SAVE = 3  # within a cycle for each k above 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_by_its_stock_config(tmp_path, data, name, record_property):
    def run(folder, hook, resume=None, **saving):
        return train(config(*FAMILIES[name], data, hook, **saving), tmp_path / folder, resume)

    record_property("row", 20 + list(FAMILIES).index(name))
    record_property("family", f"MMagic's {name}")
    _, plain = run("plain", None)
    assert len(plain.losses) == END
    runner, always = run("always", dict(acceptance="always"))
    assert always.losses == plain.losses  # to the last bit
    assert runner.hooks[0].game.accepted > 0
    assert len({len(list((tmp_path / folder).glob("**/*.png"))) for folder in ("plain", "always")}) == 1  # samples
    record_property("opts in", "yes")
    record_property("trains", "yes")
    record_property("note", NOTES.get(name, ""))
    record_property("always is stock", "yes")

    # With "never" the generator does not move, so whatever sees it move saw an open proposal.
    runner, never = run("never", dict(acceptance="never"), save=SAVE)
    model, states = runner.model, [checkpoint(tmp_path / "never", at)["state_dict"] for at in (SAVE, END)]
    for parameter, _ in model.generator.named_parameters():
        assert torch.equal(states[0][f"generator.{parameter}"], states[1][f"generator.{parameter}"])
        if model.with_ema_gen:
            averaged = states[1][f"generator_ema.module.{parameter}"]
            torch.testing.assert_close(averaged, states[1][f"generator.{parameter}"], rtol=1e-5, atol=1e-7)
    record_property("averages see", "incumbents" if model.with_ema_gen else "(has none)")

    path = tmp_path / "never" / f"iter_{SAVE}.pth"
    _, resumed = run("resumed", dict(acceptance="never"), resume=path, save=SAVE)
    assert resumed.losses == never.losses[SAVE:]
    assert_identical(checkpoint(tmp_path / "resumed", END)["state_dict"], states[1])
    record_property("resumes", "to the last bit")


@pytest.mark.parametrize("name", REFUSED)
def test_a_translation_model_is_refused(tmp_path, data, name, record_property):
    record_property("row", 30 + list(REFUSED).index(name))
    record_property("family", f"MMagic's {name}")
    record_property("opts in", "no")
    record_property("note", "refused: its fakes are made before the generator's phase")
    with pytest.raises(
        ValueError, match=r"which has \['generators', 'discriminators'\].* pix2pix and CycleGAN, cannot"
    ):
        train(config(*REFUSED[name], data, dict()), tmp_path)
