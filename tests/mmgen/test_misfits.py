"""Data and networks that do not fit each other: one line, as early as it can be known."""

import cv2
import numpy as np
import pytest
from families import FAMILIES, load, write_images

from minmax_plugin.cli.train import main

pytestmark = pytest.mark.filterwarnings("ignore:Unnecessary conv bias")  # the toolkit's


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("data"))
    cv2.imwrite(str(folder / "images/64/7.png"), np.zeros((50, 64), np.uint8))  # in the last batch of an epoch, or not
    return folder


def unresized(cfg):
    cfg.data.train.pipeline = [step for step in cfg.data.train.pipeline if step.type != "Resize"]


def coloured(cfg):
    cfg.model.generator.out_channels = cfg.model.discriminator.in_channels = 3


def tiny(cfg):
    next(step for step in cfg.data.train.pipeline if step.type == "Resize").scale = (16, 16)


def few_classes(cfg):
    for part in (cfg.model, cfg.model.generator, cfg.model.discriminator):
        part.num_classes = 3


MISFITS = [
    ("DCGAN", unresized, "data.train: its samples differ in size (stack expects each tensor to be equal size, but got"),
    ("DCGAN", coloured, "the networks cannot take a batch of data.train (Given groups=1, weight of size"),
    (
        "DCGAN",
        tiny,
        "the networks cannot take a batch of data.train (Calculated padded input size per channel: (1 x 1)",
    ),
    (
        "SNGAN-proj",
        few_classes,
        "data.train has 10 classes, ['0', '1', '2'] and so on, but model.num_classes=3: give the",
    ),
]


@pytest.mark.parametrize(("family", "change", "message"), MISFITS, ids=[change.__name__ for _, change, _ in MISFITS])
def test_data_that_the_networks_cannot_take_is_one_line(tmp_path, capsys, data, family, change, message):
    cfg = load(next(f for f in FAMILIES if f.name == family), data, tmp_path / "work", total_iters=20)
    change(cfg)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py"), "--minmax"]) == 2
    error = capsys.readouterr().err
    assert f"minmax-train: error: {message}" in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_folder_above_those_of_the_classes_is_warned_of(tmp_path, capfd, data):
    cfg = load(next(f for f in FAMILIES if f.name == "SNGAN-proj"), data, tmp_path / "work", total_iters=1)
    (tmp_path / "above").mkdir()
    (tmp_path / "above/train").symlink_to(data / "labelled")
    cfg.data.train.data_prefix = str(tmp_path / "above")
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py")]) == 0
    log = "".join(path.read_text() for path in (tmp_path / "work").glob("*.log"))
    assert "data.train has 1 classes, ['train'] and so on, but model.num_classes=10: check that its folders are" in log


def test_a_resume_with_nothing_left_to_train_says_so(tmp_path, data):
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), data, tmp_path / "work", total_iters=2)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py")]) == 0
    (checkpoint,) = (tmp_path / "work").rglob("iter_2.pth")
    arguments = ["--resume-from", str(checkpoint), "--work-dir", str(tmp_path / "again")]
    assert main([str(tmp_path / "config.py"), *arguments]) == 0
    log = "".join(path.read_text() for path in (tmp_path / "again").glob("*.log"))
    assert "iter_2.pth is of iteration 2, and total_iters=2" in log
