"""The search drives MMEngine's configs: the host, its reports, a resume, and a search with Ray."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from host_protocol import check_takes_what_the_search_gives
from mmengine.config import Config
from mmengine_runs import config

from minmax_plugin import hosts
from minmax_plugin.cli.train import main
from minmax_plugin.config_kind import is_for_mmengine
from minmax_plugin.errors import ConfigError, SpaceError
from minmax_plugin.mmengine import host
from minmax_tune.space.paths import get_path, set_paths, trial_config
from minmax_tune.space.space import Space

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step.*:UserWarning")


def searched(hook=None, iterations=12):
    cfg = config(hook, iterations=iterations, interval=4)
    cfg["custom_imports"] = dict(imports=["minmax_plugin.mmengine", "mmengine_runs"])
    cfg["train_cfg"]["val_interval"] = 3
    loader = {**cfg["train_dataloader"], "sampler": dict(type="DefaultSampler", shuffle=False)}
    return Config(cfg | dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type="Spread")))


class Kept:
    """Keeps what is reported, and on wish ends the training as a kill would."""

    metric = "spread"

    def __init__(self, stop=None):
        self.reports, self.iterations, self.stop = [], 0, stop

    def on_iteration(self):
        self.iterations += 1
        if self.iterations == self.stop:
            raise KeyboardInterrupt

    def on_measure(self, metrics, iterations, images, last):
        self.reports.append((metrics["spread"], iterations, images, last))


def test_the_host_takes_what_the_search_gives_it():
    assert hosts.host_of(searched()) is host
    check_takes_what_the_search_gives(host)


FILES = {
    "child": ("mmengine", "_base_ = './base.py'\ncustom_hooks = []\n"),
    "several": ("mmengine", "_base_ = ['./none.py', './base.py']\n"),
    "new": ("mmengine", "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"),
    "data": ("mmengine", "train_dataloader = dict(batch_size=8)\n"),
    "earlier": ("mmgen", "optimizer = dict()\ndata = dict(train_dataloader=dict())\ntotal_iters = 3\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_toolkit_is_told_from_the_content_of_a_config(tmp_path, name):
    toolkit, text = FILES[name]
    (tmp_path / "base.py").write_text("optim_wrapper = dict()\n")
    (tmp_path / f"{name}.py").write_text(text)
    assert is_for_mmengine(tmp_path / f"{name}.py") == (toolkit == "mmengine")


SETTINGS = {
    "optimizer.generator.lr": 0.5,
    "optimizer.discriminator.betas.0": 0.25,
    "optim_wrapper.generator.optimizer.betas.1": 0.75,
    "train_cfg.disc_steps": 3,
    "minmax.restore": "generator",
    "seed": 7,
}


def test_a_space_names_settings_as_for_the_first_host():
    cfg = trial_config(searched(dict(preset="practical")), SETTINGS)
    assert {path: get_path(cfg, path) for path in SETTINGS} == SETTINGS
    assert cfg.optim_wrapper.generator.optimizer.lr == 0.5
    assert cfg.model.discriminator_steps == 3
    set_paths(cfg, {"minmax": False})
    assert cfg.custom_hooks == []


def test_a_shipped_space_fits_or_says_what_does_not():
    cfg = searched(dict())
    cfg.model.discriminator_steps = 1
    fits = Space.read("rates.yaml")
    fits.check({"plain": cfg})
    params = fits.baseline(cfg)
    assert (params["k"], params["beta1"], params["optimizer.generator.lr"]) == (1, 0.5, 1e-2)
    with pytest.raises(SpaceError, match=r"space.regularisation .*: 'model.disc_auxiliary_loss' is no setting of a co"):
        Space.read("minmax.yaml").check({"plain": cfg})


WRONG = {
    "epochs": (dict(train_cfg=dict(by_epoch=True, max_epochs=3, max_iters=None)), "train_cfg=.* counts no iterations"),
    "setting": (dict(custom_hooks=[dict(type="MinMaxHook", restor="both")]), "restor"),
    "player": (dict(custom_hooks=[dict(type="MinMaxHook", generator="g")]), "optim_wrapper.g is missing"),
    "model": (dict(model=dict(type="PlainGun")), "model.type='PlainGun' is not registered"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_config_is_one_error(name):
    changed, message = WRONG[name]
    cfg = searched()
    for key, value in changed.items():
        cfg[key] = value
    with pytest.raises(ConfigError, match=message):
        host.check_config(cfg)


def test_another_batch_size_trains_on_as_many_images():
    base = searched()
    cfg = trial_config(base, {"train_dataloader.batch_size": 8})
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (24, 6)
    assert cfg.default_hooks.checkpoint.interval == 8


@pytest.mark.parametrize("hook", [None, dict(acceptance=dict(type="random", rate=0.5))], ids=["plain", "minmax"])
def test_a_killed_training_continues_and_reports_the_same(tmp_path, hook):
    whole, killed, resumed = Kept(), Kept(stop=11), Kept()
    host.train(searched(hook), tmp_path / "whole", 3, None, whole)
    assert [report[1:] for report in whole.reports] == [(n, 16 * n, n == 12) for n in (3, 6, 9, 12)]
    with pytest.raises(KeyboardInterrupt):
        host.train(searched(hook), tmp_path / "killed", 3, None, killed)
    checkpoint = tmp_path / "killed/iter_8.pth"
    assert host.is_intact(checkpoint)
    host.train(searched(hook), tmp_path / "killed", 3, checkpoint, resumed)
    if hook is not None:  # MMEngine itself keeps no random state
        assert resumed.reports == whole.reports[2:]
    assert [report[1] for report in resumed.reports] == [9, 12]


def test_a_loss_that_is_not_finite_ends_a_plain_training(tmp_path):
    cfg = trial_config(searched(), {"optimizer.generator.lr": float("inf")})
    with pytest.raises(FloatingPointError, match="is nan at iteration"):
        host.train(cfg, tmp_path, 0, None, Kept())


REFUSED = {
    "flag": (["--tensorboard"], "--tensorboard is for configs of MMGeneration alone"),
    "checkpoint": (["--resume-from", "/dev/null"], "--resume-from='/dev/null' is no whole checkpoint"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_command_does_not_take_is_one_error(tmp_path, capsys, name):
    flags, message = REFUSED[name]
    searched().dump(str(tmp_path / "plain.py"))
    assert main([str(tmp_path / "plain.py"), *flags]) == 2
    assert capsys.readouterr().err.startswith(f"minmax-train: error: {message}")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_search_trains_and_measures(tmp_path, seeds):
    """With two seeds in a trial, each is a process of ``minmax-train``."""
    searched(dict()).dump(str(tmp_path / "plain.py"))
    arguments = f"--space rates.yaml --objective spread:max --num-samples 2 --seeds {seeds} --name s --storage-path"
    places = os.pathsep.join(str(ROOT / part) for part in ("", "tests", "tune"))
    command = [sys.executable, "-m", "minmax_tune.cli", str(tmp_path / "plain.py"), *arguments.split(), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = [file.read_text().splitlines() for file in (tmp_path / "s").glob("**/reports.jsonl")]
    assert len(reports) == 2
    for lines in map(partial(map, json.loads), reports):
        measured = {(line["run"], line["iteration"]) for line in lines if line["metrics"]["spread"] > 0}
        assert len(measured) >= seeds * 4
