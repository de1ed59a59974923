"""Settings without effect: refused, warned of, or an error of the space that drives them."""

import inspect
import re
import warnings

import pytest
from mmcv import Config
from mmgen.apis import train_model
from mmgen_runs import CONFIGS, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.errors import SpaceError
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import SHIPPED, load_config, opt_out
from minmax_plugin.mmgen.effect import READ, UNREAD, warn_of_slips
from minmax_plugin.mmgen.host import batch_size, make_comparable
from minmax_plugin.mmgen.train import DEFAULTS
from minmax_tune.space.space import Space

NO_EFFECT = [
    ("optimizer_config.grad_clip.max_norm=0.1", r"optimizer_config={'grad_clip': .*} has no effect: .* clip no gradi"),
    ("optimizer_cfg.type=Adam", "optimizer_cfg={'type': 'Adam'} has no effect"),
    ("fp16.loss_scale=512", "fp16={'loss_scale': 512} has no effect: .* runner.fp16_loss_scaler"),
    ("data.val_dataloader.samples_per_gpu=4", "data.val_dataloader={'samples_per_gpu': 4} has no effect"),
    ("model.train_cfg.disc_steps=2", "train_cfg={'disc_steps': 1.*} has no effect: model.train_cfg takes its place"),
    ("runner.max_iters=7", r"runner.max_iters=7 has no effect: total_iters=\d+ counts"),
    ("checkpoint_config.by_epoch=True", "checkpoint_config.by_epoch=True has no effect: the toolkit counts iterations"),
    (
        "momentum_config.policy=step momentum_config.step=[3] momentum_config.by_epoch=True",
        "momentum_config.by_epoch=True has no effect",
    ),
]


@pytest.mark.parametrize(("options", "message"), NO_EFFECT, ids=[options for options, _ in NO_EFFECT])
def test_a_setting_without_effect_is_one_clear_error(tmp_path, capsys, options, message):
    config = str(CONFIGS / "mnist01_minmax.py")
    assert main([config, "--work-dir", str(tmp_path / "new"), "--cfg-options", *options.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "new").exists()


def test_what_asks_for_nothing_is_let_be():
    cfg = small_config(1, optimizer_config=dict(grad_clip=None), fp16=None)
    cfg.runner.max_iters = cfg.total_iters
    check_config(cfg)


SLIPS = [
    ("totl_iters", "total_iters"),
    ("custom_import", "custom_imports"),
    ("optimiser", "optimizer"),
    ("train_config", "train_cfg"),
    ("checkpoint", None),
    ("dataset_type", None),
    ("train_cfg.disc_stepss", "train_cfg.disc_steps"),
    ("train_cfg.disc_step", "train_cfg.disc_steps"),
]


@pytest.mark.parametrize(("name", "meant"), SLIPS, ids=[name for name, _ in SLIPS])
def test_a_slip_of_a_name_is_warned_of(name, meant):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_config(CONFIGS / "mnist01_minmax.py", {name: 5})
    said = [str(warning.message) for warning in caught]
    wanted = f"{name}=5 has no effect: nothing reads it; the nearest setting is {meant}."
    assert said == ([wanted] if meant else [])


def shipped():
    for folder in {folder.resolve() for folder in SHIPPED if folder.is_dir()}:
        for path in folder.rglob("*.py"):
            if "_base_" not in path.parts and "cvt_official_rgb" not in path.name:  # their base does not ship
                yield Config.fromfile(str(path), import_custom_modules=False)


def test_no_shipped_config_has_a_warning_or_lacks_what_the_toolkit_reads():
    reads = set(re.findall(r"\bcfg\.(\w+)", inspect.getsource(train_model))) - {
        "get",
        "gpus",
        *UNREAD,
    }  # gpus: in a comment
    assert reads <= set(READ)
    configs = list(shipped())
    assert len(configs) > 90
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cfg in configs:
            warn_of_slips(cfg)
            if cfg.get("data"):  # else it is for tests alone
                assert reads <= {*cfg.keys(), *DEFAULTS, "seed", "gpu_ids", "work_dir", "apex_amp", "runner"}, (
                    cfg.filename
                )


SHADOWED = dict(samples_per_gpu=16, workers_per_gpu=0, train_dataloader=dict(samples_per_gpu=4))


def test_the_batches_that_are_counted_are_those_that_are_trained_on():
    cfg = small_config(1)
    base = small_config(1)
    cfg.data.train_dataloader = dict(samples_per_gpu=4)
    assert batch_size(cfg) == 4
    make_comparable(cfg, base)
    assert cfg.total_iters == base.total_iters * 4


UNREAD_PATHS = [
    ("ema_half_life", "nothing reads it in a training"),
    ("data.samples_per_gpu", "data.train_dataloader.samples_per_gpu takes its place"),
    ("data.val.size", "there is no evaluation"),
    ("data.test.size", "no training reads it"),
    ("train_cfg.n_disc", r"StaticUnconditionalGAN reads \[.*'disc_steps'"),
]


@pytest.mark.parametrize(("path", "why"), UNREAD_PATHS)
@pytest.mark.parametrize("python", [False, True])
def test_a_space_that_drives_what_nothing_reads_is_an_error(path, why, python):
    cfg = small_config(1, {}, ema_half_life=3)
    cfg.data = dict(SHADOWED, train=cfg.data.train, val=dict(cfg.data.train), test=dict(cfg.data.train))
    cfg.train_cfg.n_disc = 3
    entry = dict(type="int", low=2, high=3)
    content = {"space": {path: entry}}
    if python:
        content = {"python": f"def space(trial): return {{{path!r}: trial.suggest_int('n', 2, 3)}}"}
    with pytest.raises(SpaceError, match=f"'{path}' has no effect: {why}"):
        Space.load(content).check({"c": cfg})
    opt_out(cfg)
    Space.load({"space": {"train_cfg.disc_steps": entry, "data.train_dataloader.samples_per_gpu": entry}}).check(
        {"c": cfg}
    )


def test_a_seed_of_the_config_counts(tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr("minmax_plugin.mmgen.train.train", lambda *args, seed, **kwargs: seeds.append(seed))
    config = [str(CONFIGS / "mnist01_minmax.py"), "--work-dir", str(tmp_path)]
    for more in ([], ["--cfg-options", "seed=5"], ["--seed", "7", "--cfg-options", "seed=5"]):
        assert main([*config, *more]) == 0
    assert seeds == [2021, 5, 7]
    assert main([*config, "--cfg-options", "seed=no"]) == 2
