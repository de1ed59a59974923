"""What the toolkit's own resume leaves out: the best score, changed settings, moments, random states, stages."""

import enum
import logging
import random
from pathlib import Path

import numpy
import pytest
import torch
from exact import assert_identical
from families import FAMILIES, load, write_images
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from mmgen.core.evaluation.metrics import Metric
from mmgen.core.registry import METRICS
from mmgen.models.builder import MODELS
from mmgen.models.gans import StaticUnconditionalGAN
from mmgen_runs import checkpoint, losses, run, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.mmgen.checkpoints import last_intact
from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.mmgen.resume import read_settings
from minmax_plugin.mmgen.train import train

NEVER = dict(acceptance="never", estimator="fresh")
HERE = Path(__file__)


@METRICS.register_module()
class FidOf(Metric):
    """Stands for the toolkit's FID, which needs weights of its own: gives these scores, as NumPy has them."""

    name = "FID"

    def __init__(self, num_images=4, scores=()):
        super().__init__(num_images)
        self.scores = iter(scores)

    def prepare(self):
        self.num_real_feeded = self.num_real_need

    def feed_op(self, batch, mode):
        pass

    def clear(self, clear_reals=False):
        self.num_fake_feeded = 0

    def summary(self):
        self._result_dict = {"fid": numpy.float64(next(self.scores))}
        self._result_str = str(self._result_dict)


class Colour(enum.IntEnum):
    RED = 3


META = {
    "a number": (numpy.float32(0.5), 0.5),
    "an array": (numpy.arange(3), [0, 1, 2]),
    "a path": (Path("a/b"), "a/b"),
    "an enum": (Colour.RED, 3),
    "nested": ({"x": (numpy.int64(2), [numpy.bool_(True)])}, {"x": (2, [True])}),
}


@HOOKS.register_module()
class PutsIntoMeta(Hook):
    reads_weights = False

    def before_train_iter(self, runner):
        runner.meta.update({name: value for name, (value, _) in META.items()})
        for optimizer in runner.optimizer.values():
            optimizer.param_groups[0]["lr"] = numpy.float64(1e-4)  # as a schedule written with NumPy


def evaluated(folder, scores, hook=None, **overlay):
    """A small image GAN that is evaluated and saved every second iteration."""
    images = write_images(folder.parent / "data") if not (folder.parent / "data").exists() else folder.parent / "data"
    family = next(f for f in FAMILIES if f.name == "DCGAN")
    cfg = load(family, images, folder, **{"total_iters": 2 * len(scores), "checkpoint_config.interval": 2, **overlay})
    cfg.data.val = cfg.data.train
    cfg.evaluation = dict(
        type="GenerativeEvalHook",
        interval=2,
        metrics=dict(type="FidOf", scores=scores),
        sample_kwargs=dict(),
        best_metric="fid",
    )
    cfg.custom_hooks.append(dict(type="PutsIntoMeta"))
    if hook is not None:
        opt_in(cfg, **hook)
    return cfg


@pytest.mark.parametrize("hook", [None, NEVER], ids=["plain", "MinMax"])
def test_checkpoints_hold_plain_numbers_and_the_best_score_lasts(tmp_path, hook):
    folder = tmp_path / "run"
    run(evaluated(folder, [5.0, 3.0], hook), folder)
    saved = checkpoint(folder, 4)  # with weights_only
    assert saved["meta"]["hook_msgs"]["best_score_fid"] == 3.0
    for name, (_, wanted) in META.items():
        assert saved["meta"][name] == wanted
        assert type(saved["meta"][name]) is type(wanted)
    assert {type(o["param_groups"][0]["lr"]) for o in saved["optimizer"].values()} == {float}
    assert [p.name for p in folder.glob("best_fid*")] == ["best_fid_iter_4.pth"]

    more = evaluated(folder, [4.0, 2.0], hook, total_iters=8, resume_from=last_intact(folder))
    run(more, folder)
    assert [p.name for p in folder.glob("best_fid*")] == ["best_fid_iter_8.pth"]  # not 6, whose 4.0 was no better
    elsewhere = tmp_path / "elsewhere"
    resume = str(next(folder.glob("**/iter_4.pth")))
    run(evaluated(elsewhere, [4.0, 1.0], hook, total_iters=8, resume_from=resume), elsewhere)
    assert [p.name for p in elsewhere.glob("best_fid*")] == ["best_fid_iter_8.pth"]
    assert list(folder.glob("best_fid_iter_8.pth"))  # another run's files stay


def test_a_checkpoint_with_numpy_numbers_of_an_earlier_version_loads(tmp_path, capsys):
    run(small_config(2, None, **{"checkpoint_config.interval": 6}), tmp_path)
    path = next(tmp_path.glob("**/iter_6.pth"))
    saved = torch.load(path)
    saved["meta"]["hook_msgs"] = {"best_score_fid": numpy.float64(3.0), "shares": numpy.ones(2, dtype="float32")}
    torch.save(saved, path)
    for name in ("resume_from", "load_from"):
        folder = tmp_path / name
        assert run(small_config(2, None, **{name: str(path)}), folder)[-1]["iter"] == 18
    small_config(2, None).dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py"), "--work-dir", str(path.parent), "--resume-from", "auto"]) == 0


CHANGES = [
    ({"optimizer.generator.lr": 1e-3}, "lr", (1e-3, 1e-2)),
    ({"optimizer.discriminator.lr": 1e-4, "lr_config": None}, "lr", (1e-2, 1e-4)),
    ({"optimizer.generator.betas": (0.0, 0.99)}, "betas", ((0.0, 0.99), (0.5, 0.9))),
    ({"optimizer.discriminator.weight_decay": 0.1}, "weight_decay", (0, 0.1)),
]


@pytest.mark.parametrize("hook", [None, NEVER], ids=["plain", "MinMax"])
@pytest.mark.parametrize(("change", "name", "wanted"), CHANGES, ids=lambda part: str(part)[:30])
def test_a_setting_that_was_changed_is_used_from_the_resume_on(tmp_path, caplog, hook, change, name, wanted):
    without_schedule = {"lr_config": None} if "lr_config" in change else {}
    schedule = {} if without_schedule else {"lr_config.step": [4, 12]}  # past its first step at the resume
    before = {"total_iters": 6, "checkpoint_config.interval": 6, **schedule, **without_schedule}
    run(small_config(2, hook, **before), tmp_path / "before")
    (path,) = (tmp_path / "before").glob("**/iter_6.pth")
    after = {"total_iters": 10, "checkpoint_config.interval": 10, **schedule, **change, "resume_from": str(path)}
    with caplog.at_level(logging.INFO, logger="mmgen"):
        run(small_config(2, hook, **{**after, "log_level": "INFO"}), tmp_path / "after")
    factor = 0.3 if name == "lr" and not without_schedule else 1  # gamma, once
    groups = [
        checkpoint(tmp_path / "after", 10)["optimizer"][p]["param_groups"][0] for p in ("generator", "discriminator")
    ]
    if name == "lr":
        assert [group["lr"] for group in groups] == pytest.approx([factor * w for w in wanted])
    else:
        assert tuple(group[name] for group in groups) == wanted
    (log,) = (tmp_path / "after").glob("*.log")
    (key,) = [key for key in change if key.startswith("optimizer")]
    assert log.read_text().count("from now on; it was") == 1
    assert f"{key} is {change[key]!r} from now on" in log.read_text()


def test_another_kind_of_optimizer_is_refused(tmp_path, capsys):
    run(small_config(2, None, total_iters=6, **{"checkpoint_config.interval": 6}), tmp_path / "before")
    (path,) = (tmp_path / "before").glob("**/iter_6.pth")
    cfg = small_config(2, None)
    cfg.optimizer.generator = dict(type="SGD", lr=0.1)
    cfg.dump(str(tmp_path / "config.py"))
    arguments = ["--work-dir", str(tmp_path / "after"), "--resume-from", str(path)]
    assert main([str(tmp_path / "config.py"), *arguments]) == 2
    assert "holds the moments of 'RecordingAdam' for the generator, but the config has 'SGD'" in capsys.readouterr().err


def test_a_resume_without_minmax_of_a_run_with_it_says_so(tmp_path):
    run(small_config(2, NEVER, total_iters=6, **{"checkpoint_config.interval": 6}), tmp_path / "before")
    (path,) = (tmp_path / "before").glob("**/iter_6.pth")
    run(small_config(2, None, resume_from=str(path)), tmp_path / "after")
    (log,) = (tmp_path / "after").glob("*.log")
    assert "was trained by MinMax, and continues without it: give --minmax" in log.read_text()


@pytest.mark.parametrize("hook", [None, NEVER], ids=["plain", "MinMax"])
def test_a_resume_without_optimizer_states_says_what_is_missing(tmp_path, hook):
    saving = {"checkpoint_config.interval": 6, "checkpoint_config.save_optimizer": False}
    run(small_config(2, hook, total_iters=6, **saving), tmp_path / "before")
    (path,) = (tmp_path / "before").glob("**/iter_6.pth")
    run(small_config(2, hook, resume_from=str(path)), tmp_path / "after")
    (log,) = (tmp_path / "after").glob("*.log")
    assert (
        "holds no optimizer states (checkpoint_config.save_optimizer=False): the moments start again" in log.read_text()
    )


METHODS = {
    "GDA": (2, {}),
    "GDA, the model counts": (2, {"runner.pass_training_status": False}),
    "mmcv's own runner": (2, {"runner": None}),
    "optimistic Adam": (1, {f"optimizer.{p}.type": "OptimisticAdam" for p in ("generator", "discriminator")}),
    "extragradient": (1, {f"optimizer.{p}.type": "AlternatingExtraAdam" for p in ("generator", "discriminator")}),
    "Lookahead": (2, {"custom_hooks": [dict(type="LookaheadMinmaxHook", period=2)], "train_cfg.use_ema": False}),
    "random ascent": (1, {"custom_hooks": [dict(type="RandomAscent", mean=1.5)], "train_cfg.use_ema": False}),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_plain_run_resumes_to_the_last_bit(tmp_path, method):
    k, overlay = METHODS[method]

    def config(**more):
        return small_config(k, None, **{**overlay, "total_iters": 9, "checkpoint_config.interval": 1, **more})

    whole = run(config(), tmp_path / "whole")
    for save in (5, 6):  # within a cycle of two, and at its end
        (path,) = (tmp_path / "whole").glob(f"**/iter_{save}.pth")
        torch.manual_seed(99), random.seed(99), numpy.random.seed(99)
        assert losses(run(config(resume_from=str(path)), tmp_path / f"from {save}", seed=77)) == losses(whole[save:])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.mark.filterwarnings("ignore:.*Unnecessary conv bias before batch/instance norm")
@pytest.mark.parametrize("hook", [None, NEVER], ids=["plain", "MinMax"])
@pytest.mark.parametrize(("family", "saves"), [("PGGAN", (6, 7, 9)), ("BigGAN", (3,))])
def test_a_family_resumes_to_the_last_bit_wherever_it_was_saved(tmp_path, data, family, saves, hook):
    """Just before and after a change of scale (PGGAN), and between two parts of a summed gradient (BigGAN)."""
    (stock,) = [f for f in FAMILIES if f.name == family]

    def config(name, **more):
        cfg = load(stock, data, tmp_path / name, total_iters=10, **more)
        cfg.checkpoint_config.interval = 1
        cfg.checkpoint_config.max_keep_ckpts = -1
        if hook is not None:
            opt_in(cfg, **hook)
        return cfg

    whole = run(config("whole"), tmp_path / "whole")
    for save in saves:
        (path,) = (tmp_path / "whole").glob(f"**/iter_{save}.pth")
        resumed = run(config(f"from {save}", resume_from=str(path)), tmp_path / f"from {save}", seed=77)
        assert losses(resumed) == losses(whole[save:]), save
        assert_identical(
            checkpoint(tmp_path / f"from {save}", 10)["state_dict"], checkpoint(tmp_path / "whole", 10)["state_dict"]
        )


def test_a_growing_network_takes_the_rate_that_was_changed_for_its_present_scale(tmp_path, data):
    (stock,) = [f for f in FAMILIES if f.name == "PGGAN"]

    def config(name, **more):
        cfg = load(stock, data, tmp_path / name, total_iters=10, **more)
        cfg.checkpoint_config.interval = 9
        return cfg

    run(config("whole"), tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob("**/iter_9.pth")  # in the second of three scales
    changes = {"train_cfg.g_lr_base": 3e-4, "train_cfg.optimizer_cfg.discriminator.lr": 5.0}
    cfg = config("after", resume_from=str(path), **changes)
    cfg.checkpoint_config.interval = 10
    run(cfg, tmp_path / "after")
    rates = {
        p: checkpoint(tmp_path / "after", 10)["optimizer"][p]["param_groups"][0]["lr"]
        for p in ("generator", "discriminator")
    }
    assert rates["generator"] == 3e-4
    assert rates["discriminator"] == cfg.train_cfg.d_lr_base  # the entry's own is that of the first scale


def test_the_settings_of_a_saved_config_are_read_without_running_it(data, tmp_path):
    for family in FAMILIES:
        if not family.refused:
            cfg = load(family, data, tmp_path)
            assert read_settings(cfg.pretty_text) == Config(cfg._cfg_dict.to_dict())._cfg_dict.to_dict(), family.name
    for text in ("x = __import__('os').getcwd()", "x = open('a')", "optimizer = dict(lr=1/0)"):
        with pytest.raises(ValueError, match="malformed"):
            read_settings(text)


@MODELS.register_module()
class StepsInItsOwnWay(StaticUnconditionalGAN):
    def train_step(self, *args, **kwargs):
        return super().train_step(*args, **kwargs)


@pytest.mark.filterwarnings("ignore:.*Unnecessary conv bias before batch/instance norm")
@pytest.mark.parametrize("case", ["own step", "accumulation that makes no cycle"])
def test_a_plain_run_needs_nothing_of_what_minmax_does(tmp_path, data, case):
    if case == "own step":
        cfg = small_config(1, None, total_iters=4, **{"model.type": "StepsInItsOwnWay"})
    else:
        (stock,) = [f for f in FAMILIES if f.name == "BigGAN"]
        cfg = load(stock, data, tmp_path, total_iters=4)
        cfg.train_cfg.update(disc_steps=1, batch_accumulation_steps=4)
    assert run(cfg, tmp_path)[-1]["iter"] == 4


@pytest.mark.parametrize("hook", [None, NEVER], ids=["plain", "MinMax"])
def test_a_config_can_be_trained_twice(tmp_path, hook):
    cfg = small_config(2, hook, total_iters=4, lr_config=None, **{"checkpoint_config.interval": 4})
    cfg.work_dir = str(tmp_path)
    given = list(cfg.custom_hooks)
    train(cfg, seed=3)
    cfg.resume_from, cfg.total_iters = last_intact(tmp_path), 8
    train(cfg, seed=3)
    assert cfg.custom_hooks == given
