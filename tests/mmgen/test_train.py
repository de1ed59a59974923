"""The training command, its errors before training, and resuming."""

import builtins
import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from families import FAMILIES, load, write_images
from mmcv import Config
from mmcv.runner import HOOKS, RUNNERS, Hook, IterBasedRunner
from mmgen.core.runners import DynamicIterBasedRunner
from mmgen.datasets.builder import DATASETS
from mmgen_runs import checkpoint, losses, run, small_config

from minmax_plugin.mmgen.check import ConfigError, check_config, check_seed, read_data
from minmax_plugin.mmgen.checkpoints import last_whole
from minmax_plugin.mmgen.optin import opt_in, opt_out
from minmax_plugin.mmgen.train import SHIPPED, build_network, load_config, main, train

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = ["total_iters=24", "log_config.interval=6", "checkpoint_config.interval=12", "data.samples_per_gpu=32"]


@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01"])
def test_the_command_trains_a_minmax_config_and_logs_its_decisions(tmp_path, capsys, experiment):
    config = CONFIGS / f"{experiment}_minmax.py"
    assert main([str(config), "--work-dir", str(tmp_path), "--seed", "5", "--cfg-options", *SHORT]) == 0
    (log,) = tmp_path.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if "mode" in line]
    assert [line["iter"] for line in lines] == [6, 12, 18, 24]
    for line in lines[1:]:
        assert {"acceptance", "f_old", "f_new", "reason", "cycle"} <= set(line)
    assert "balance" in lines[-1]
    assert f"MinMax: {24 if experiment == 'mnist01' else 4} cycles" in (log.with_suffix("").read_text())
    copy = Config.fromfile(str(tmp_path / config.name))
    assert copy.optimizer.generator.type == "MinMaxAdam"
    assert copy.optimizer.generator.lr == load_config(config).optimizer.generator.lr


def test_tensorboard_shows_decisions_and_samples_and_the_end_says_where_all_is(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = str(CONFIGS / "four_gaussians_minmax.py")
    options = [*SHORT, "custom_hooks.1.record=True"]
    assert main([config, "--work-dir", str(tmp_path), "--tensorboard", "--cfg-options", *options]) == 0
    events = EventAccumulator(str(tmp_path / "tf_logs"))
    events.Reload()
    decided = {"f_old", "f_new", "f_change", "acceptance", "rejections", "loss_disc_fake"}
    assert decided | {"modes", "balance"} <= {tag.split("/")[-1] for tag in events.Tags()["scalars"]}
    (change,) = [s for s in events.Scalars("train/f_change") if s.step == 24]
    old, new = (next(s for s in events.Scalars(f"train/{n}") if s.step == 24).value for n in ("f_old", "f_new"))
    assert change.value == pytest.approx(new - old, abs=1e-5)
    assert [image.step for image in events.Images("samples")] == [24]
    (log,) = tmp_path.glob("*.log")
    end = log.read_text().split("Everything of this run is in ")[1]
    assert end.splitlines()[0] == str(tmp_path)
    left = {line.split(":")[0].strip() for line in end.splitlines()[1:]}
    assert left == {
        next(tmp_path.rglob("iter_24.pth")).relative_to(tmp_path).as_posix(),
        "metrics.jsonl",
        "decisions.jsonl",
        "samples/iter_24.png",
        "tf_logs",
    }


@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01"])
def test_the_gda_configs_are_the_same_without_the_algorithm(tmp_path, experiment):
    gda, minmax = (load_config(CONFIGS / f"{experiment}_{m}.py") for m in ("gda", "minmax"))
    assert not any(h["type"] == "MinMaxHook" for h in gda.custom_hooks)
    assert gda.optimizer.generator.type == "Adam"
    minmax.custom_hooks = [h for h in minmax.custom_hooks if h["type"] != "MinMaxHook"]
    for player in ("generator", "discriminator"):
        minmax.optimizer[player]["type"] = "Adam"
    assert gda._cfg_dict == minmax._cfg_dict
    assert main([str(CONFIGS / f"{experiment}_gda.py"), "--work-dir", str(tmp_path), "--cfg-options", *SHORT]) == 0
    (log,) = tmp_path.glob("*.log.json")
    assert "acceptance" not in log.read_text()


BAD = [
    (["model.discriminator=None"], "model.discriminator is missing"),
    (["custom_hooks.1.acceptance.type=annealled"], "acceptance must be one of .* but got 'annealled'"),
    (["custom_hooks.1.acceptance.rate=1.5"], r"rate must be between 0 and 1, but got 1\.5"),
    (
        ["custom_hooks.1.acceptance.speed=2"],
        r"acceptance 'constant' takes \[.*'rate', 'tau'.*\], but got \['speed'\]",
    ),
    (["custom_hooks.1.restor=both"], "MinMaxHook does not take these settings: .*'restor'"),
    (["custom_hooks.1.restore=all"], "restore must be 'both' or 'generator', but got 'all'"),
    (["custom_hooks.1.value=best"], r"value must be one of \['last', 'fresh', 'paired'\], but got 'best'"),
    (
        ["custom_hooks.1.value=last", "custom_hooks.1.acceptance=significant"],
        "value='last' has no standard error, by which this acceptance decides: use value='fresh' or 'paired'",
    ),
    (["custom_hooks.1.ascent_steps=5"], "ascent_steps=5, but train_cfg makes k=1; remove ascent_steps or change"),
    (["custom_hooks.1.ascent_steps=0"], "ascent_steps must be 1 or more, but got 0"),
    (["custom_hooks.1.pool=0"], "pool must be 1 batch or more, but got 0"),
    (["train_cfg.disc_steps=0"], "train_cfg.disc_steps is k, .* must be 1 or more, got 0"),
    (["data.train=None"], "data.train is missing: name the data set"),
    (["total_iters=None"], "total_iters must be the number of iterations to train, but is None"),
    (["data.train.root=/no/such/folder"], "data.train.root='/no/such/folder' does not exist"),
    (["optimizer.generator.type=Adam"], "optimizer.generator.type is 'Adam'; under MinMaxHook it must be 'MinMaxAdam'"),
    (["custom_hooks.1.type=SampleMetrics"], "optimizer.generator.type='MinMaxAdam' needs a MinMaxHook"),
    (["custom_hooks.0.type=MinMaxHook"], "custom_hooks has 2 entries of MinMaxHook; keep one"),
    (["model.type=StaticTranslationGAN"], "model.type='StaticTranslationGAN' cannot be driven by MinMax"),
    (["custom_imports.imports=['no_such_module']"], r"custom_imports=.*no_such_module.* failed: check the names"),
    (["resume_from=/no/such.pth"], "resume_from='/no/such.pth' does not exist"),
    (["custom_hooks.7.type=X"], "config '.*mnist01_minmax.py' cannot be put together: Index 7 exceeds the length"),
    (["custom_hooks.0.type=LookaheadMinmaxHook"], "LookaheadMinmaxHook and MinMaxHook cannot go together"),
    (["custom_hooks.0.type=RandomAscent"], "RandomAscent and MinMaxHook cannot go together"),
    (["train_cfg.use_ema=True"], "train_cfg.use_ema=True needs an ExponentialMovingAverageHook .* would never move"),
    (["model.type=UnrolledGAN", "train_cfg.disc_steps=2"], "train_cfg.disc_steps=2: UnrolledGAN takes one"),
    (
        ["model.type=UnrolledGAN", "train_cfg.unrolled_steps=0"],
        "train_cfg.unrolled_steps must be a whole number of 1 or more, but got 0",
    ),
    (
        ["model.type=UnrolledGAN", "optimizer.discriminator.weight_decay=0.1"],
        "optimizer.discriminator: UnrolledGAN's optimizer must have weight_decay 0 to be unrolled, but got 0.1",
    ),
    (["model.gan_loss=None"], "model.gan_loss=None: a GAN needs its loss, such as dict"),
    (["data.samples_per_gpu=0"], "data.samples_per_gpu must be a whole number of 1 or more, but is 0"),
    (["custom_hooks=SampleMetrics"], "custom_hooks must be a list of dicts, but is 'SampleMetrics'"),
    (
        ["custom_hooks.0.type=SampleMetricz"],
        "custom_hooks.0.type='SampleMetricz' is not registered; the nearest is 'SampleMetrics'; correct it, or name",
    ),
    (["custom_hooks.0.metrics.0.type=ModeCov"], "custom_hooks.0.metrics.0.type='ModeCov' is not .* 'ModeCoverage'"),
    (["custom_hooks.0.metrics.0.digit=1"], r"custom_hooks.0: .* unexpected keyword argument 'digit'; correct one of"),
    (["custom_hooks.0.interva=3"], r"custom_hooks.0.interva=3: SampleMetrics takes \[.*; the nearest is 'interval'"),
    (["custom_hooks.0.interval=0"], r"custom_hooks.0: SampleMetrics.* must be 1 or more iterations, but got 0;"),
    (["custom_hooks.0.priority=FIRST"], "custom_hooks.0.priority='FIRST' is none of the toolkit's"),
    (["optimizer.generator.type=MinMaxAdamm"], "optimizer.generator.type='MinMaxAdamm' is not .* 'MinMaxAdam'"),
    (["optimizer.generator.lrr=0.1"], r"optimizer.generator.lrr=0.1: MinMaxAdam takes \['lr', .*; the nearest is 'lr'"),
    (["optimizer.generator.lr=abc"], "optimizer.generator: MinMaxAdam: .*; correct one of its settings .*'lr': 'abc'"),
    (["runner.type=DynamicRunner"], "runner.type='DynamicRunner' is not .* the nearest is 'DynamicIterBasedRunner'"),
    (["runner.is_dynamic_dpp=True"], "runner: .* unexpected keyword argument 'is_dynamic_dpp'; correct one of its"),
    (["evaluation.type=GenerativeEvalHok"], "evaluation.type='GenerativeEvalHok' is not .* 'GenerativeEvalHook'"),
    (["checkpoint_config.type=CheckpointHok"], "checkpoint_config.type='CheckpointHok' is not .* 'CheckpointHook'"),
    (["data.workers_per_gpu=-1"], "data.workers_per_gpu must be a whole number of 0 or more, but is -1"),
    (["log_config.hooks.0.type=TextLogger"], "log_config.hooks.0.type='TextLogger' is not .* 'TextLoggerHook'"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[options[0] for options, _ in BAD])
def test_bad_input_is_one_clear_error_before_training(tmp_path, capsys, options, message):
    config = str(CONFIGS / "mnist01_minmax.py")
    assert main([config, "--work-dir", str(tmp_path / "new"), "--cfg-options", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(error)
    assert not (tmp_path / "new").exists()


def test_a_folder_without_pictures_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), "", tmp_path / "work")
    cfg.data.train.imgs_root = str(tmp_path / "empty")
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py")]) == 2
    assert "data.train holds no sample: point it at your data; it is {" in (error := capsys.readouterr().err)
    assert f"'imgs_root': '{tmp_path}/empty'" in error.splitlines()[-1]
    assert "pipeline" not in error


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("data.train.digits=[11]", "data.train: MNIST: digits=[11] leaves no image"),
        ("data.train.digit=1", "data.train: MNIST: MNIST.__init__() got an unexpected keyword argument 'digit'"),
    ],
)
def test_data_that_cannot_be_read_are_one_clear_error(tmp_path, capsys, option, message):
    config = str(CONFIGS / "mnist01_minmax.py")
    assert main([config, "--work-dir", str(tmp_path), "--cfg-options", option]) == 2
    assert message in capsys.readouterr().err


@DATASETS.register_module(force=True)
class Unreadable(torch.utils.data.Dataset):
    def __init__(self, error):
        raise getattr(builtins, error)("not as it should be")


@pytest.mark.parametrize(
    "error", ["ValueError", "KeyError", "OSError", "TypeError", "AttributeError", "AssertionError"]
)
def test_whatever_a_data_set_says_names_the_setting(error):
    cfg = small_config(1)
    cfg.data.train = dict(type="Unreadable", error=error)
    with pytest.raises(ConfigError, match="data.train: .*not as it should be"):
        read_data(cfg)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.gan_loss.gan_type=best", "GAN type best is not implemented"),  # NotImplementedError
        ("model.generator.out_shape=2", "'int' object is not iterable"),  # TypeError
        ("model.generator.type=Nothing", "Nothing is not in"),  # KeyError
    ],
)
def test_a_model_that_cannot_be_built_is_one_clear_error(option, message):
    cfg = small_config(1, **dict([option.split("=")]))
    if option.endswith("=2"):
        cfg.model.generator.out_shape = 2
    with pytest.raises(ConfigError, match=f"model: the toolkit cannot build it: .*{message}"):
        build_network(cfg)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mmcv leaves its copy open
def test_a_config_that_does_not_parse_is_one_clear_error(tmp_path, capsys):
    for text, message in (("x = ", "cannot be put together"), ("_base_ = 'nowhere.py'", "nowhere.py")):
        (tmp_path / "config.py").write_text(text)
        assert main([str(tmp_path / "config.py")]) == 2
        assert message in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    gc.collect()


def test_data_for_an_evaluation_that_is_skipped_need_not_be_there(tmp_path, capsys, recorded):
    cfg = small_config(1, total_iters=1, evaluation=dict(type="GenerativeEvalHook", interval=1))
    cfg.data.val = dict(type="UnconditionalImageDataset", imgs_root="/nowhere")
    cfg.dump(str(tmp_path / "config.py"))
    arguments = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "data.val.imgs_root='/nowhere' does not exist" in capsys.readouterr().err
    assert main([*arguments, "--no-validate"]) == 0


def test_a_plain_config_is_not_held_to_what_minmax_needs():
    cfg = small_config(8, None)
    cfg.train_cfg.gen_steps = 2
    cfg.train_cfg.batch_accumulation_steps = 5
    cfg.data.test = dict(imgs_root="/nowhere")
    cfg.custom_hooks = []  # the average that train_cfg.use_ema asks for is not moved, as the toolkit lets it be
    check_config(cfg)
    conditional = load_config("sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py")
    conditional.train_cfg.batch_accumulation_steps = 3
    check_config(conditional, paths=False)
    conditional.train_cfg.disc_steps = 0
    with pytest.raises(ConfigError, match="train_cfg.disc_steps is k, .* must be 1 or more, got 0"):
        check_config(conditional, paths=False)


def test_optimizers_and_runners_of_the_user_s_own_may_ask_for_more():
    @RUNNERS.register_module(force=True)
    class RunnerOfMyOwn(DynamicIterBasedRunner):
        def __init__(self, model, **kwargs):
            super().__init__(model, **kwargs)
            self.discriminator = model.discriminator

    cfg = small_config(1, dict())
    cfg.runner.type = "RunnerOfMyOwn"
    cfg.optimizer.generator.paramwise_cfg = dict(bias_lr_mult=2.0)
    cfg.optimizer.discriminator.constructor = "DefaultOptimizerConstructor"
    check_config(cfg)


def test_a_model_s_own_train_cfg_is_read_where_there_is_no_other():
    cfg = small_config(1, dict(ascent_steps=3))
    cfg.model.train_cfg, cfg.train_cfg = dict(disc_steps=3), None
    check_config(cfg)
    cfg.model.train_cfg["disc_steps"] = 2
    with pytest.raises(ConfigError, match="ascent_steps=3, but train_cfg makes k=2"):
        check_config(cfg)


PARTS = [
    (lambda cfg: cfg.model.pop("type"), "model.type is missing: name the toolkit's class"),
    (lambda cfg: cfg.optimizer.pop("generator"), "optimizer.generator is missing: MinMax needs one optimizer for each"),
    (lambda cfg: cfg.optimizer.pop("discriminator"), "optimizer.discriminator is missing: MinMax needs one optimizer"),
]


@pytest.mark.parametrize(("change", "message"), PARTS, ids=[message[:20] for _, message in PARTS])
def test_a_part_that_is_missing_is_named(change, message):
    cfg = small_config(1, dict())
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


def test_an_optimizer_that_the_model_makes_itself_is_checked_too():
    cfg = load_config("pggan/pggan_celeba-cropped_128_g8_12Mimgs.py")
    check_config(cfg, paths=False)
    cfg.train_cfg.optimizer_cfg.generator.lrr = 0.1
    with pytest.raises(ConfigError, match=r"train_cfg.optimizer_cfg.generator.lrr=0.1: Adam takes .*nearest is 'lr'"):
        check_config(cfg, paths=False)


@pytest.mark.parametrize("key", ["root", "imgs_root", "img_root", "dataroot", "data_prefix", "ann_file", "img_path"])
def test_a_path_of_the_data_that_is_not_there_is_named_wherever_it_stands(key):
    cfg = small_config(1)
    cfg.data.train = dict(type="RepeatDataset", times=2, dataset=dict(type="Data", **{key: "/nowhere"}))
    with pytest.raises(ConfigError, match=f"data.train.dataset.{key}='/nowhere' does not exist"):
        check_config(cfg)


def test_the_folder_of_every_scale_is_looked_for(tmp_path):
    cfg = small_config(1)
    cfg.data.train = dict(type="GrowScaleImgDataset", imgs_roots={"64": str(tmp_path), "128": "/nowhere"})
    with pytest.raises(ConfigError, match="data.train.imgs_roots.128='/nowhere' does not exist"):
        check_config(cfg)


def test_every_seed_that_the_generators_take_is_taken():
    for seed in (0, 2**32 - 1):
        check_seed(seed)


def test_a_schedule_may_take_the_place_of_nothing(tmp_path):
    schedule = "_delete_=True, policy='OfPlayer', player='generator', schedule=dict(policy='CosineAnnealing', min_lr=0)"
    (tmp_path / "base.py").write_text("optimizer = dict(generator=dict(), discriminator=dict())")
    (tmp_path / "config.py").write_text(f"_base_ = 'base.py'\nlr_config = dict({schedule})")
    assert set(load_config(tmp_path / "config.py").lr_config) == {"policy", "player", "schedule"}


ANNEALED = [
    (
        "policy='OfPlayer', player='generator'",
        "annealed.py' cannot be put together: lr_config",
    ),  # it is None in the base
    (
        "_delete_=True, policy='OfPlayer', player='generator', schedule=dict(policy='Nope')",
        "lr_config.schedule.policy must be a policy of the toolkit, but got 'Nope'",
    ),
    ("_delete_=True, policy='OfPlayer', player='generator'", "lr_config: "),
    (
        "_delete_=True, policy='CosineAnealing', min_lr=0",
        "lr_config.policy='CosineAnealing' is none of the toolkit's; the nearest is 'CosineAnnealing'",
    ),
    (
        "_delete_=True, policy='CosineAnnealing', min_l=0",
        "Hook; correct one of its settings {'by_epoch': False, 'min_l': 0",
    ),
    ("_delete_=True, policy='CosineAnnealing'", "lr_config: "),
    ("_delete_=True, policy='OfPlayer', player='critic'", "lr_config.player must be one of ['generator', 'discrimi"),
]


@pytest.mark.parametrize(("schedule", "message"), ANNEALED)
def test_a_schedule_that_does_not_fit_is_one_clear_error(tmp_path, capsys, schedule, message):
    config = tmp_path / "annealed.py"
    config.write_text(f"_base_ = {str(CONFIGS / 'mnist01_minmax.py')!r}\nlr_config = dict({schedule})\n")
    assert main([str(config), "--work-dir", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err


def test_auto_resumes_from_this_runs_own_checkpoints_in_a_shared_folder(tmp_path):
    for run_, iteration in (("run_a", 3), ("run_b", 5)):
        (tmp_path / run_).mkdir()
        torch.save({}, tmp_path / run_ / f"iter_{iteration}.pth")
    assert last_whole("work_dirs/run_a", str(tmp_path)) == str(tmp_path / "run_a" / "iter_3.pth")
    assert last_whole("work_dirs/run_c", str(tmp_path)) is None


def test_a_work_dir_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(CONFIGS / "four_gaussians_minmax.py"), "--work-dir", str(tmp_path / "file/run")]) == 2
    assert f"work_dir='{tmp_path}/file/run' cannot be made (Not a directory)" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_no_generator_takes_is_named(tmp_path, capsys, seed):
    config = str(CONFIGS / "mnist01_minmax.py")
    assert main([config, "--seed", seed, "--work-dir", str(tmp_path / "new")]) == 2
    assert f"--seed={seed} must be from 0 to 4294967295" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_config_is_named(capsys):
    assert main(["nowhere.py"]) == 2
    assert "config 'nowhere.py' does not exist" in capsys.readouterr().err


def test_the_hook_itself_refuses_what_a_script_of_the_toolkit_would_pass(tmp_path, recorded):
    from mmgen.models import build_model

    from minmax_plugin.mmgen.gans import gan_of

    cfg = small_config(1)
    model = build_model(cfg.model, train_cfg=cfg.train_cfg, test_cfg=None)
    adam = torch.optim.Adam(model.generator.parameters())
    with pytest.raises(
        ValueError, match="optimizer.generator.type is 'Adam'; under MinMaxHook it must be 'MinMaxAdam'"
    ):
        gan_of(model).bind(dict(generator=adam, discriminator=adam))
    with pytest.raises(ValueError, match="cannot drive model type 'Linear'"):
        gan_of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(("first", "then"), [("minmax", "minmax"), ("gda", "minmax"), ("minmax", "gda")])
def test_training_resumes_on_the_cpu_with_and_without_the_plugin(tmp_path, recorded, first, then):
    hooks = {"gda": None, "minmax": dict(acceptance=dict(type="random", rate=0.5))}
    cfg = small_config(3, hooks[first], checkpoint_config=dict(interval=9), total_iters=9)
    cfg.log_config.interval = 1
    run(cfg, tmp_path / "first")
    saved = checkpoint(tmp_path / "first", 9)
    assert ("minmax" in saved["optimizer"]["generator"]) == (first == "minmax")
    (path,) = (tmp_path / "first").glob("**/iter_9.pth")
    cfg = small_config(3, hooks[then], resume_from=str(path))
    lines = run(cfg, tmp_path / "then")
    assert [line["iter"] for line in lines] == list(range(10, 19))
    assert all(v == v for line in losses(lines) for v in line.values())
    if then == "minmax":
        assert lines[-1]["cycle"] == (6 if first == "minmax" else 3)


def test_a_process_trains_several_configs_each_with_its_own_log(tmp_path, recorded):
    for name in ("one", "two"):
        cfg = small_config(1, dict(), total_iters=2, log_level="INFO")
        cfg.work_dir = str(tmp_path / name)
        train(cfg)
        (log,) = (tmp_path / name).glob("*.log")
        assert "MinMax: 2 cycles" in log.read_text()


def test_dynamic_ddp_is_switched_off_without_a_launcher(tmp_path, recorded):
    cfg = small_config(1, None, total_iters=1)
    cfg.runner.is_dynamic_ddp = True
    assert len(run(cfg, tmp_path)) == 1


DCGAN = "dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py"


def test_a_stock_config_passes_the_check():
    cfg = load_config(DCGAN)
    cfg.data.train.pop("imgs_root")
    check_config(cfg)


def test_a_stock_config_is_opted_in_and_printed(capsys):
    assert main([DCGAN, "--minmax", "paper", "--print-config"]) == 0
    printed = Config.fromstring(capsys.readouterr().out, ".py")
    assert printed.optimizer.generator == dict(type="MinMaxAdam", lr=0.0004, betas=(0.5, 0.999))
    assert printed.custom_hooks[-1] == dict(type="MinMaxHook", preset="paper")
    assert printed.custom_imports.imports == ["minmax_plugin.mmgen"]
    assert main([DCGAN, "--minmax", "--print-config"]) == 0
    assert "preset='practical'" in capsys.readouterr().out
    assert main([str(CONFIGS / "mnist01_minmax.py"), "--minmax", "--print-config"]) == 2
    assert "the config has a MinMaxHook already" in capsys.readouterr().err


def test_an_apostrophe_in_a_path_is_no_end_of_a_string(tmp_path):
    data = tmp_path / "Bob's pics"
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), write_images(data), tmp_path / "work", total_iters=1)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py")]) == 0
    copy = load_config(tmp_path / "work" / "config.py")
    assert copy.data.train.imgs_root == f"{data}/images/64"


@pytest.mark.parametrize("optimizer", ["AdamOfMyOwn", "AlternatingExtraAdam"])
def test_an_optimizer_that_the_config_imports_opts_in_too(tmp_path, monkeypatch, optimizer):
    (tmp_path / "my_optimizers.py").write_text(
        "from mmcv.runner import OPTIMIZERS\nfrom torch.optim import Adam\n\n\n"
        "@OPTIMIZERS.register_module(force=True)\nclass AdamOfMyOwn(Adam):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(CONFIGS / 'four_gaussians_gda.py')!r}\n"
        "custom_imports = dict(imports=['minmax_plugin.mmgen', 'my_optimizers'], allow_failed_imports=False)\n"
        f"optimizer = dict(generator=dict(type={optimizer!r}), discriminator=dict(type={optimizer!r}))\n"
    )
    assert main([str(config), "--minmax", "--work-dir", str(tmp_path / "run"), "--cfg-options", *SHORT]) == 0
    (log,) = (tmp_path / "run").glob("*.log")
    assert "MinMax: 4 cycles (k = 6)" in log.read_text()


def test_opting_in_keeps_what_the_config_imports():
    for imports in ("json", ["json"]):
        cfg = load_config(DCGAN)
        cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)
        opt_in(cfg)
        assert cfg.custom_imports.imports == ["json", "minmax_plugin.mmgen"]
        assert cfg.custom_hooks[-1] == dict(type="MinMaxHook", preset="practical")


def test_a_pix2pix_without_a_pixel_loss_trains_too(tmp_path):
    data = write_images(tmp_path / "data")
    cfg = load(next(f for f in FAMILIES if f.name == "pix2pix"), data, tmp_path / "work", total_iters=3)
    cfg.model.gen_auxiliary_loss = None
    opt_in(cfg, acceptance="never")
    assert [line["reason"] for line in run(cfg, tmp_path / "work")] == ["initial", "never", "never"]


def test_a_value_that_cannot_see_the_pixel_loss_is_refused(capsys):
    config = "pix2pix/pix2pix_vanilla_unet_bn_facades_b1x1_80k.py"
    assert main([config, "--minmax", "released-gaussians"]) == 2
    assert "value='last') cannot see the generator's own losses" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_resumes_with_a_warning(tmp_path, recorded):
    run(small_config(3, dict(), total_iters=4), tmp_path / "old")
    (path,) = (tmp_path / "old").glob("**/iter_4.pth")
    saved = torch.load(path, weights_only=True)
    for key in ("gan", "run"):
        del saved["optimizer"]["generator"]["minmax"][key]
    torch.save(saved, path)
    with pytest.warns(UserWarning, match="is of an earlier version of minmax_plugin"):
        lines = run(small_config(3, dict(), total_iters=6, resume_from=str(path)), tmp_path / "new")
    assert lines[-1]["iter"] == 6


def test_a_stock_config_is_trained_without_editing_it(tmp_path):
    data = write_images(tmp_path / "data")
    options = [f"data.train.imgs_root={data}/images/64", "data.workers_per_gpu=0", "data.samples_per_gpu=4"]
    options += ["model.generator.base_channels=64", "model.discriminator.base_channels=8", "total_iters=3"]
    work_dir = str(tmp_path / "work")
    assert main([DCGAN, "--minmax", "--work-dir", work_dir, "--cfg-options", *options]) == 0
    (log,) = Path(work_dir).glob("*.log")
    assert "MinMax: 3 cycles (k = 1)" in log.read_text()
    # the copy of the config in the work dir is the merged one: it trains alike, with no flag
    assert main([str(Path(work_dir) / Path(DCGAN).name), "--work-dir", str(tmp_path / "again")]) == 0


def test_the_toolkits_own_script_trains_an_opted_in_config(tmp_path):
    data = write_images(tmp_path / "data")
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), data, tmp_path / "work", log_level="INFO")
    opt_in(cfg)
    cfg.runner.is_dynamic_ddp = False  # as the toolkit wants it without a launcher
    cfg.dump(str(tmp_path / "config.py"))
    script = SHIPPED[0].parent / "tools" / "train.py"
    # Imported first, for what a PyPI install of the toolkit lacks; an install from source does without.
    code = f"import minmax_plugin.mmgen, runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "config.py"), "--seed", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "MinMax: 20 cycles (k = 1)" in done.stderr + done.stdout
    assert list((tmp_path / "work").glob("ckpt/**/iter_20.pth"))


def test_opting_out_leaves_the_other_hooks_and_opting_in_again_prefixes_once():
    cfg = small_config(1, dict(), optimizer=dict(generator=dict(type="MinMaxAdam")))
    others = cfg.custom_hooks[:1]
    cfg.custom_hooks = others
    opt_in(cfg)  # its optimizers are MinMax's already
    assert cfg.optimizer.generator.type == "MinMaxAdam"
    assert [hook["type"] for hook in cfg.custom_hooks] == [others[0].type, "MinMaxHook"]
    opt_out(cfg)
    assert cfg.optimizer.generator.type == "Adam"
    assert cfg.custom_hooks == others


def test_the_seed_is_that_of_model_and_data(tmp_path, recorded):
    first, again, other = (
        losses(run(small_config(total_iters=2), tmp_path / str(i), seed=seed)) for i, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_a_checkpoint_says_what_it_is_of(tmp_path, recorded):
    cfg = small_config(1, total_iters=1, checkpoint_config=dict(interval=1))
    run(cfg, tmp_path, seed=7)
    meta = checkpoint(tmp_path, 1)["meta"]
    assert (meta["seed"], meta["exp_name"]) == (7, "config.py")
    assert meta["mmgen_version"].startswith("0.7")
    assert Config.fromstring(meta["config"], ".py").data.train.type == "GaussianMixture"


def test_the_end_names_the_last_of_each_kind_by_its_number(tmp_path, recorded):
    (tmp_path / "training_samples").mkdir()
    for number in (9, 10):
        (tmp_path / "training_samples" / f"iter_{number}.png").touch()
    run(small_config(1, total_iters=10, log_level="INFO", checkpoint_config=dict(interval=9)), tmp_path)
    (log,) = tmp_path.glob("*.log")
    end = log.read_text().split("Everything of this run is in ")[1]
    assert "iter_10.pth: checkpoint" in end
    assert "training_samples/iter_10.png: samples" in end


def test_the_toolkit_is_as_before_once_a_training_is_over(tmp_path, recorded):
    stock = IterBasedRunner.resume, DynamicIterBasedRunner.resume
    run(small_config(1, total_iters=1), tmp_path)
    assert stock == (IterBasedRunner.resume, DynamicIterBasedRunner.resume)
    growing = load(
        next(f for f in FAMILIES if f.name == "PGGAN"), write_images(tmp_path / "data"), tmp_path / "growing"
    )
    growing.total_iters = 1
    run(growing, tmp_path / "growing")  # in a process group of one
    assert not torch.distributed.is_initialized()


WORK_DIRS = [  # the config's, the command's, where it goes
    (None, None, "work_dirs/config"),
    ("theirs", None, "theirs"),
    ("theirs", "ours", "ours"),
]


@pytest.mark.parametrize(("configured", "asked", "expected"), WORK_DIRS)
def test_the_work_dir_is_the_command_s_or_the_config_s_or_named_after_it(
    tmp_path, monkeypatch, recorded, configured, asked, expected
):
    monkeypatch.chdir(tmp_path)
    cfg = small_config(1, total_iters=1)
    cfg.work_dir = configured
    cfg.dump("config.py")
    assert main(["config.py", *(["--work-dir", asked] if asked else [])]) == 0
    assert [path.parent for path in tmp_path.rglob("*.log")] == [tmp_path / expected]


def test_flags_reach_the_run(tmp_path, monkeypatch, recorded):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", False)
    small_config(1, total_iters=1).dump(str(tmp_path / "config.py"))
    command = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]
    assert main(command) == 0
    assert (cudnn.deterministic, cudnn.benchmark) == (False, False)
    assert load_config(tmp_path / "run" / "config.py").seed == 2021
    assert main([*command, "--deterministic", "--cfg-options", "cudnn_benchmark=True"]) == 0
    assert (cudnn.deterministic, cudnn.benchmark) == (True, True)
    if not torch.cuda.is_available():
        assert main([*command, "--gpu-id", "3"]) == 0
        assert load_config(tmp_path / "run" / "config.py").gpu_ids == [3]


def test_a_checkpoint_to_resume_from_takes_the_place_of_the_config_s(tmp_path, capsys):
    config = str(CONFIGS / "four_gaussians_minmax.py")
    options = ["--cfg-options", "resume_from=/no/theirs.pth"]
    assert main([config, "--work-dir", str(tmp_path), "--resume-from", "/no/ours.pth", *options]) == 2
    assert "resume_from='/no/ours.pth' does not exist" in capsys.readouterr().err


@HOOKS.register_module(force=True)
class Interrupts(Hook):
    def after_train_iter(self, runner):
        raise KeyboardInterrupt


ENDS = [
    (dict(type="Interrupts"), {}, 130, "minmax-train: interrupted; what was saved is in the work dir"),
    (dict(type="MinMaxHook"), {"optimizer.discriminator.lr": 1e38}, 1, "minmax-train: stopped: "),
]


@pytest.mark.parametrize(("hook", "overlay", "code", "message"), ENDS, ids=[hook["type"] for hook, *_ in ENDS])
def test_a_training_that_ends_early_says_so_by_its_exit_code(tmp_path, capsys, recorded, hook, overlay, code, message):
    cfg = small_config(1, dict(), **overlay)
    cfg.custom_hooks[-1] = dict(type="MinMaxHook")
    if hook["type"] != "MinMaxHook":
        cfg.custom_hooks.append(hook)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]) == code
    assert message in capsys.readouterr().err
