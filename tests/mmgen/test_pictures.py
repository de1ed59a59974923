"""Pictures on disk: the same order everywhere, what is skipped is counted, and an unreadable one is named."""

import logging
import os
import shutil
import subprocess
import sys

import mmcv
import pytest
import torch
from families import FAMILIES, load, write_images
from mmcv.utils import get_git_hash
from mmgen.datasets import build_dataset

from minmax_plugin.cli.train import main
from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.check import read_data
from minmax_plugin.mmgen.train import train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pictures"))


def dcgan(pictures, tmp_path, **overlay):
    small = {"model.generator.base_channels": 8, "model.discriminator.base_channels": 8, "total_iters": 2}
    return load(next(f for f in FAMILIES if f.name == "DCGAN"), pictures, tmp_path / "run", **small, **overlay)


@pytest.fixture
def upside_down(monkeypatch):
    """A disk with another order."""
    stock = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: iter(sorted(stock(path), key=lambda e: e.name, reverse=True)))


DATASETS = [
    dict(type="UnconditionalImageDataset", imgs_root="images/8"),
    dict(type="GrowScaleImgDataset", imgs_roots={"8": "images/8"}, len_per_stage=5),
    dict(type="PairedImageDataset", dataroot="paired"),
    dict(type="UnpairedImageDataset", dataroot="unpaired", domain_a="a", domain_b="b"),
    dict(type="mmcls.CustomDataset", data_prefix="labelled"),
]


@pytest.mark.parametrize("settings", DATASETS, ids=[settings["type"] for settings in DATASETS])
def test_pictures_have_one_order_on_each_disk(pictures, monkeypatch, upside_down, settings):
    monkeypatch.chdir(pictures)
    dataset = build_dataset(dict(settings, pipeline=[]))
    listed = getattr(dataset, "imgs_list", None) or [
        str(d) for d in getattr(dataset, "data_infos", None) or dataset.data_infos_a
    ]
    assert len(listed) >= 5
    assert listed == sorted(listed)


def test_what_is_skipped_is_counted_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mmgen"), "propagate", True)
    for name in ("a.png", "b.PNG", "c.PNG", "d.webp", "LICENSE", ".hidden"):
        (tmp_path / name).touch()
    assert list(mmcv.scandir(tmp_path, (".png",), recursive=True)) == ["a.png"]
    (said,) = caplog.messages
    assert said.endswith("are skipped: 1 without suffix, 2 .PNG, 1 .webp")
    caplog.clear()
    assert len(list(mmcv.scandir(tmp_path))) == 5
    assert not caplog.messages


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
@pytest.mark.parametrize("place", ["images/64", "paired/train", "labelled"])
def test_a_picture_that_cannot_be_read_is_named(pictures, tmp_path, place, content):
    shutil.copytree(pictures / place, tmp_path / "data")
    path = min(p for p in (tmp_path / "data").glob("**/*.png"))
    path.write_bytes(path.read_bytes()[:40] if content == "cut" else content)
    family = {"images/64": "DCGAN", "paired/train": "pix2pix", "labelled": "SNGAN-proj"}[place]
    cfg = load(next(f for f in FAMILIES if f.name == family), pictures, tmp_path)
    where = {"images/64": "imgs_root", "paired/train": "dataroot", "labelled": "data_prefix"}[place]
    if where == "dataroot":
        shutil.move(tmp_path / "data", tmp_path / "train")
        path = tmp_path / "train" / path.name
    cfg.data.train[where] = str(tmp_path if where == "dataroot" else tmp_path / "data")
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match=rf"data: '{path}' cannot be read \(.*\): repair or remove the file"):
        read_data(cfg)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_met_later_is_one_line_too(pictures, tmp_path, capsys, workers):
    shutil.copytree(pictures / "images/64", tmp_path / "data")
    for path in sorted((tmp_path / "data").iterdir())[1:]:
        path.write_bytes(b"")
    cfg = dcgan(pictures, tmp_path, **{"data.workers_per_gpu": workers})
    cfg.data.train.imgs_root = str(tmp_path / "data")
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"minmax-train: error: data: '{tmp_path}/data/")
    assert error.endswith("repair or remove the file.")


def test_reading_the_first_sample_leaves_the_random_states(pictures, tmp_path):
    cfg = dcgan(pictures, tmp_path)
    cfg.data.train.pipeline.append(dict(type="Flip", keys=["real_img"]))
    states = [torch.get_rng_state(), str(__import__("numpy").random.get_state())]
    read_data(cfg)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == str(__import__("numpy").random.get_state())


@pytest.mark.parametrize("old", [False, True])
def test_a_resume_of_a_run_in_the_disks_order_says_so(pictures, tmp_path, capfd, old):
    cfg = dcgan(pictures, tmp_path, **{"checkpoint_config.interval": 1})
    train(cfg)
    (path,) = (tmp_path / "run").glob("**/iter_1.pth")
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["meta"]["run"].pop("sorted")
    if old:
        torch.save(checkpoint, path)
    capfd.readouterr()
    cfg = dcgan(pictures, tmp_path, resume_from=str(path))
    train(cfg)
    assert ("listed pictures in the disk's order" in capfd.readouterr().err) == old


def test_the_first_lines_of_a_command_are_ours(tmp_path, monkeypatch, capfd):
    command = [sys.executable, "-m", "minmax_plugin.cli.train", "nowhere.py"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_HOME": "/usr/local"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("minmax-train: error: config 'nowhere.py' does not exist")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    get_git_hash()  # the toolkit asks for it, in no clone
    assert capfd.readouterr().err == ""
