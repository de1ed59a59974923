"""Runs that continue from Lightning's checkpoints, to the last bit."""

import lightning.pytorch as pl
import pytest
import torch
from exact import assert_identical
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning_runs import EACH_RUN, GAN, decisions, half, loader, of, seeded, train, weights
from torch.utils.data import DataLoader

pytestmark = [  # Lightning's, for runs that do not write the checkpoints of the first one
    pytest.mark.filterwarnings("ignore:The dirpath has changed from:UserWarning"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]


AT = (3, 6, 8)  # batches; an epoch has 6


@EACH_RUN
def test_a_run_resumes_to_the_last_bit(tmp_path, name, record):
    """From a checkpoint in the middle of an epoch, also between two parts of an accumulated gradient."""
    whole, _ = of(name, tmp_path, half(record=True), save=AT)
    written = decisions(tmp_path)
    for at in AT:
        folder = tmp_path / f"from {at}"
        resumed, _ = of(name, folder, half(record=True), resume=str(tmp_path / f"{at}.ckpt"))
        assert 0 < len(resumed.losses) < len(whole.losses)
        assert resumed.losses == whole.losses[-len(resumed.losses) :]
        assert_identical(weights(resumed), weights(whole))
        again = decisions(folder)
        assert again == written[-len(again) :]
    record("resumes", "to the last bit")


def test_a_run_resumes_from_the_end_of_an_epoch_with_averages(tmp_path):
    def run(folder, **more):
        module = seeded()
        checkpoint = pl.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
        train(
            folder,
            module,
            half(),
            EMAWeightAveraging(decay=0.9),
            checkpoint,
            epochs=3,
            enable_checkpointing=True,
            **more,
        )
        return module

    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "resumed", resume=str(tmp_path / "whole" / "epoch=0.ckpt"))
    assert resumed.losses == whole.losses[12:]
    assert_identical(weights(resumed), weights(whole))


def test_several_loaders_and_part_of_an_epoch_resume(tmp_path):
    class Two(GAN):
        def train_dataloader(self):
            return {"digits": loader(96), "more": loader(96)}

        def training_step(self, batch, batch_idx):
            super().training_step([torch.cat([batch["digits"][0], batch["more"][0]]), None], batch_idx)

    def run(folder, **more):
        module = seeded(Two)
        train(folder, module, half(), loaders=None, epochs=3, limit_train_batches=4, **more)
        return module

    whole = run(tmp_path, save=AT)
    for at in AT:
        resumed = run(tmp_path / f"from {at}", resume=str(tmp_path / f"{at}.ckpt"))
        assert resumed.losses == whole.losses[2 * at :]


def test_data_of_workers_resume(tmp_path):
    def run(folder, **more):
        module = seeded()
        workers = DataLoader(loader().dataset, batch_size=16, shuffle=True, num_workers=1)
        train(folder, module, half(), loaders=lambda: workers, **more)
        return module

    whole = run(tmp_path, save=[8])
    resumed = run(tmp_path / "resumed", resume=str(tmp_path / "8.ckpt"))
    assert resumed.losses == whole.losses[16:]


def test_runs_with_and_without_the_callback_continue_each_other(tmp_path):
    train(tmp_path / "plain", seeded(), save=[6])
    train(tmp_path / "ours", seeded(), half(), save=[6])
    callback = half()
    with pytest.warns(UserWarning, match="the checkpoint holds no state of MinMax"):
        train(tmp_path, seeded(), callback, resume=str(tmp_path / "plain" / "6.ckpt"))
    assert callback.game.decisions == 6
    plain = seeded()
    with pytest.warns(UserWarning, match="add the following callbacks: \\['MinMaxCallback'\\]"):
        train(tmp_path, plain, resume=str(tmp_path / "ours" / "6.ckpt"))
    assert len(plain.losses) == 12
