"""The callback in Lightning's own loop: what it trains, and what other callbacks see."""

import csv
import re
from pathlib import Path

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from exact import assert_identical
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning_runs import (
    EACH_RUN,
    GAN,
    DiscriminatorFirst,
    EveryThird,
    Look,
    decisions,
    digits,
    half,
    loader,
    of,
    seeded,
    train,
    weights,
)
from torch.utils.data import DataLoader, TensorDataset

from minmax_plugin.lightning import MinMaxCallback

pytestmark = [  # Lightning's, for runs that do not write the checkpoints of the first one
    pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]


@EACH_RUN
def test_always_is_the_plain_run_to_the_last_bit(tmp_path, name, record):
    plain, _ = of(name, tmp_path / "plain")
    callback = MinMaxCallback(acceptance="always")
    ours, _ = of(name, tmp_path / "ours", callback)
    assert ours.losses == plain.losses
    assert len(plain.losses) >= 16
    assert_identical(weights(ours.discriminator), weights(plain.discriminator))
    assert callback.game.accepted == callback.game.proposals > 1
    record("opts in", "yes")
    record("trains", "yes")
    record("always is stock", "yes")
    record("note", "")


def test_the_last_cycle_of_the_example_is_decided_too(tmp_path):
    plain, _ = of("Lightning's example", tmp_path / "plain")
    ours, _ = of("Lightning's example", tmp_path / "ours", MinMaxCallback(acceptance="always"))
    assert_identical(weights(ours), weights(plain))


@pytest.mark.parametrize("k", [2, 3])
def test_the_last_pass_is_the_discriminator_s_own(tmp_path, k):
    plain = seeded(DiscriminatorFirst, k=k)
    train(tmp_path / "plain", plain)
    ours = seeded(DiscriminatorFirst, k=k)
    train(tmp_path / "ours", ours, MinMaxCallback(acceptance="always", estimator="last", record=True))
    assert ours.losses == plain.losses
    of_discriminator = [value for name, value in ours.losses if name == "d_loss"]
    values = [-value for value in of_discriminator[k - 1 :: k]]
    assert [decision["f_new"] for decision in decisions(tmp_path / "ours")] == pytest.approx(values)


@EACH_RUN
def test_checkpoints_and_callbacks_only_see_incumbents(tmp_path, name, record):
    look, restore = Look(), "generator" if "steps" in name else "both"
    callback = MinMaxCallback(acceptance="never", restore=restore)
    of(name, tmp_path, callback, look, EMAWeightAveraging(decay=0.5), save="each")
    assert callback.game.accepted == 0 < callback.game.proposals - 1
    first = {n: v for n, v in look.seen[0].items() if not is_statistic(n)}
    for seen in look.seen:
        assert_identical({n: seen[n] for n in first}, first)
    for path in tmp_path.glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        for part in ("state_dict", "current_model_state"):  # the average, and the module's own
            assert_identical({n: checkpoint[part][f"generator.{n}"] for n in first}, first)
    record("averages see", "incumbents")


def is_statistic(name):
    return "running" in name or "num_batches" in name


@pytest.mark.parametrize("name", ["Lightning's example", "three discriminator steps"])
def test_showing_the_incumbent_does_not_disturb_the_training(tmp_path, name):
    often, _ = of(name, tmp_path / "often", half(), Look(), save="each", epochs=4)
    callback = half()
    seldom, _ = of(name, tmp_path / "seldom", callback, epochs=4)
    assert often.losses == seldom.losses
    assert 0 < callback.game.accepted < callback.game.proposals


def test_a_checkpoint_within_a_training_step_has_the_incumbent(tmp_path):
    class Saving(GAN):
        def discriminator_loss(self, imgs):
            self.trainer.save_checkpoint(tmp_path / f"{self.global_step}.ckpt")
            return super().discriminator_loss(imgs)

    plain = seeded()
    before = weights(plain)
    train(tmp_path / "plain", plain, half())
    ours = seeded(Saving)
    train(tmp_path / "ours", ours, half())
    assert ours.losses == plain.losses
    saved = torch.load(tmp_path / "1.ckpt", weights_only=True)["state_dict"]  # after the first step of the generator
    assert torch.equal(saved["generator.0.weight"], before["generator.0.weight"])


def test_validations_see_the_incumbent_and_a_run_with_them_resumes(tmp_path):
    class Validated(GAN):
        def __init__(self, **more):
            super().__init__(**more)
            self.seen = []

        def val_dataloader(self):
            return DataLoader(TensorDataset(*digits(32)))

        def validation_step(self, batch, batch_idx):
            self.seen.append(weights(self.generator))

    module = seeded(Validated)
    train(tmp_path / "never", module, MinMaxCallback(acceptance="never"), epochs=2, val_check_interval=2)
    first = {n: v for n, v in module.seen[0].items() if not is_statistic(n)}
    for seen in module.seen:
        assert_identical({n: seen[n] for n in first}, first)
    whole = seeded(Validated)
    train(tmp_path, whole, half(), save=[3])
    resumed = seeded(Validated)
    train(tmp_path / "resumed", resumed, half(), resume=str(tmp_path / "3.ckpt"))
    assert resumed.losses == whole.losses[6:]


def test_a_training_that_ends_in_mid_cycle_is_no_error(tmp_path):
    callback = half(ascent_steps=3)
    train(tmp_path, seeded(EveryThird), callback, limit_train_batches=5, epochs=1)
    assert callback.game.decisions == 1


def test_the_package_pytorch_lightning_takes_it_too(tmp_path):
    """It has the same code under another name."""
    members = {name: value for name, value in vars(GAN).items() if not name.startswith("_")}
    Module = type("Module", (pytorch_lightning.LightningModule,), members | {"hparams": GAN().hparams})

    def run(*callbacks):
        torch.manual_seed(3)
        module, donor = Module(), GAN()
        module.automatic_optimization, module.losses = False, []
        module.generator, module.discriminator = donor.generator, donor.discriminator
        off = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
        trainer = pytorch_lightning.Trainer(
            max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, callbacks=list(callbacks), **off
        )
        trainer.fit(module, loader())
        return module

    plain = run()
    ours = run(callback := MinMaxCallback(acceptance="always"))
    assert ours.losses == plain.losses
    assert callback.game.accepted == 12
    assert not callback._looks


def test_a_module_is_as_it_was_after_the_training(tmp_path):
    class Module(GAN):
        def validation_step(self, batch, batch_idx):
            pass

    module = seeded()
    train(tmp_path, module, half())
    assert {"toggle_optimizer", "manual_backward", "log"}.isdisjoint(vars(module))
    again = seeded()
    trainer = train(tmp_path, again, callback := half(), save=[3])
    trainer.validate(
        seeded(Module), DataLoader(TensorDataset(*digits(8))), ckpt_path=str(tmp_path / "3.ckpt"), verbose=False
    )
    train(tmp_path, again, callback)  # which begins again, whatever was validated
    assert callback.game.decisions == 12


def test_the_opt_in_lines_of_the_docs_opt_a_script_in(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "lightning.md").read_text()
    lines = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert len(lines.splitlines()) <= 5
    names = dict(module=seeded(), data=loader(), Trainer=pl.Trainer)
    exec(
        lines.replace(
            "Trainer(", f"Trainer(max_epochs=1, logger=False, accelerator='cpu', default_root_dir={str(tmp_path)!r}, "
        ),
        names,
    )
    assert names["trainer"].callbacks[0].game.decisions == 6


def test_decisions_are_logged_by_the_trainer_s_loggers(tmp_path):
    train(tmp_path, seeded(), half(record=True), logger=CSVLogger(tmp_path, "log", "one"))
    (file,) = tmp_path.glob("log/one/metrics.csv")
    with open(file) as opened:
        lines = list(csv.DictReader(opened))
    names = {"acceptance", "f_new", "f_old", "f_change", "rejections", "cycle", "g_loss", "d_loss"}
    assert names <= set(lines[-1])
    assert [float(line["cycle"]) for line in lines if line["cycle"]] == list(range(1, 12))
    assert len(decisions(tmp_path / "log" / "one")) == 12


def test_patience_ends_the_training(tmp_path):
    module = seeded()
    train(tmp_path, module, MinMaxCallback(acceptance="never", patience=2), save="each", epochs=4)
    assert len(module.losses) == 2 * 4  # the third rejection is at the start of the fourth batch
    again = seeded()
    path = str(tmp_path / "4.ckpt")
    train(tmp_path / "again", again, MinMaxCallback(acceptance="never", patience=2), resume=path)
    assert len(again.losses) <= 2


def test_a_step_that_overflows_is_no_proposal(tmp_path):
    class Overflows(pl.Callback):
        reads_weights = False

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx in (3, 4):
                trainer.precision_plugin.scaler.update(float("inf") if batch_idx == 3 else 1024.0)

    callback = MinMaxCallback(acceptance="never", record=True)
    of("precision 16-mixed", tmp_path, callback, Overflows(), epochs=1)
    assert [decision["reason"] for decision in decisions(tmp_path)] == 5 * ["never"]  # neither player took a step


@pytest.mark.parametrize("recover", [False, True])
def test_a_step_to_infinity_is_undone(tmp_path, recover):
    class Breaks(pl.Callback):
        reads_weights = False

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            for group in trainer.optimizers[1].param_groups:
                group["lr"] = 1e38 if batch_idx == 3 else 1e-3

    callback = MinMaxCallback(restore="generator", recover_nonfinite=recover, record=True)
    module = seeded()
    if not recover:
        with pytest.raises(FloatingPointError, match="Use recover_nonfinite=True"):
            train(tmp_path, module, callback, Breaks())
        assert "toggle_optimizer" not in vars(module)
        return
    train(tmp_path, module, callback, Breaks(), epochs=1)
    assert [decision["reason"] for decision in decisions(tmp_path)][3] == "non-finite"
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_the_ascent_stops_at_its_tolerance(tmp_path):
    plain = seeded(DiscriminatorFirst, k=3)
    train(tmp_path / "plain", plain)
    small = seeded(DiscriminatorFirst, k=3)
    train(tmp_path / "small", small, MinMaxCallback(acceptance="always", ascent_tolerance=1e-12))
    assert small.losses == plain.losses
    large = seeded(DiscriminatorFirst, k=3)
    train(tmp_path / "large", large, callback := MinMaxCallback(acceptance="always", ascent_tolerance=1e9))
    assert callback.counts["disc_steps"] == 0


def test_parts_of_a_player_are_named(tmp_path):
    class Codec(GAN):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = self.generator[:3], self.generator[3:]
            del self.generator
            self.loss = torch.nn.ModuleDict({"critic": self.discriminator})
            del self.discriminator
            self.generator = lambda z: self.decoder(self.encoder(z))
            self.discriminator = lambda x: self.loss["critic"](x)

        def configure_optimizers(self):
            parts = [*self.encoder.parameters(), *self.decoder.parameters()]
            return torch.optim.Adam(parts, lr=1e-3), torch.optim.Adam(self.loss.parameters(), lr=1e-3)

    callback = MinMaxCallback(["encoder", "decoder"], "loss.critic", acceptance="never")
    module = seeded(Codec)
    before = weights(module.encoder)
    train(tmp_path, module, callback)
    assert callback.game.proposals == 12
    assert torch.equal(module.encoder[0].weight, before["0.weight"])
