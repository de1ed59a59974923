"""What a config is checked for before anything is trained: one clear error, and nothing more than is needed."""

import builtins
import gc

import pytest
import torch
from families import FAMILIES, load
from mmcv.runner import RUNNERS
from mmgen.core.runners import DynamicIterBasedRunner
from mmgen.datasets.builder import DATASETS
from mmgen_runs import CONFIGS, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.check import check_config, check_seed, read_data
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import build_network

BAD = [
    (["model.discriminator=None"], "model.discriminator is missing"),
    (["custom_hooks.1.acceptance.type=annealled"], "acceptance must be one of .* but got 'annealled'"),
    (["custom_hooks.1.acceptance.rate=1.5"], r"rate must be between 0 and 1, but got 1\.5"),
    (
        ["custom_hooks.1.acceptance.speed=2"],
        r"acceptance 'constant' takes \[.*'rate', 'tau'.*\], but got \['speed'\]",
    ),
    (["custom_hooks.1.restor=both"], "restor='both' is no setting of MinMax; the nearest is 'restore'"),
    (["custom_hooks.1.restore=all"], r"restore must be one of \['both', 'generator'\], but got 'all'"),
    (["custom_hooks.1.estimator=best"], r"estimator must be one of \['last', 'fresh', 'paired'\], but got 'best'"),
    (
        ["custom_hooks.1.estimator=last", "custom_hooks.1.acceptance=significant"],
        "estimator='last' has no standard error, by which this acceptance decides: use estimator='fresh' or 'paired'",
    ),
    (["custom_hooks.1.ascent_steps=5"], "ascent_steps=5, but train_cfg makes k=1; remove ascent_steps or change"),
    (["custom_hooks.1.ascent_steps=0"], "ascent_steps must be 1 or more, but got 0"),
    (["custom_hooks.1.pool=0"], "pool must be 1 batch or more, but got 0"),
    (["train_cfg.disc_steps=0"], "train_cfg.disc_steps is k, .* must be 1 or more, got 0"),
    (["data.train=None"], "data.train is missing: name the data set"),
    (["total_iters=None"], "total_iters must be the number of iterations to train, 1 or more, but is None"),
    (["data.train.root=/no/such/folder"], "data.train.root='/no/such/folder' does not exist"),
    (["optimizer.generator.type=Adam"], "optimizer.generator.type is 'Adam'; under MinMaxHook it must be 'MinMaxAdam'"),
    (["custom_hooks.1.type=SampleMetrics"], "optimizer.generator.type='MinMaxAdam' needs a MinMaxHook"),
    (["custom_hooks.0.type=MinMaxHook"], "custom_hooks has 2 entries of MinMaxHook; keep one"),
    (["model.type=StaticTranslationGAN"], "model.type='StaticTranslationGAN' cannot be driven by MinMax"),
    (["custom_imports.imports=['no_such_module']"], "custom_imports.imports='no_such_module' failed .*: check"),
    (["resume_from=/no/such.pth"], "resume_from='/no/such.pth' does not exist"),
    (["custom_hooks.7.type=X"], "config '.*mnist01_minmax.py' cannot be put together: Index 7 exceeds the length"),
    (["custom_hooks.0.type=LookaheadMinmaxHook"], "LookaheadMinmaxHook and MinMaxHook cannot go together"),
    (["custom_hooks.0.type=RandomAscent"], "RandomAscent and MinMaxHook cannot go together"),
    (["train_cfg.use_ema=True"], "train_cfg.use_ema=True needs an ExponentialMovingAverageHook .* would never move"),
    (["model.type=LeadGAN", "train_cfg.disc_steps=2"], "train_cfg.disc_steps=2: LeadGAN takes one discriminator step"),
    (["model.type=LeadGAN", "train_cfg.disc_steps=1", "train_cfg.lead_alpha=-1"], "train_cfg.lead_alpha must be 0 or"),
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
    (
        ["custom_hooks.0.interval=0"],
        "custom_hooks.0: SampleMetrics: interval must be a whole number of 1 or more, but got 0",
    ),
    (["custom_hooks.0.priority=FIRST"], "custom_hooks.0.priority='FIRST' is none of the toolkit's"),
    (["optimizer.generator.type=MinMaxAdamm"], "optimizer.generator.type='MinMaxAdamm' is not .* 'MinMaxAdam'"),
    (["optimizer.generator.lrr=0.1"], r"optimizer.generator.lrr=0.1: MinMaxAdam takes \['lr', .*; the nearest is 'lr'"),
    (["optimizer.generator.lr=abc"], "optimizer.generator.lr='abc' is text: it must be a number"),
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
    assert f"'imgs_root': '{tmp_path}/empty'" in (last := error.splitlines()[-1])
    assert "pipeline" not in last


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
    cfg.evaluation.metrics = dict(type="FID", num_images=1)
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
        "lr_config.schedule.policy='Nope' is none of the toolkit's",
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


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_no_generator_takes_is_named(tmp_path, capsys, seed):
    config = str(CONFIGS / "mnist01_minmax.py")
    assert main([config, "--seed", seed, "--work-dir", str(tmp_path / "new")]) == 2
    assert f"--seed={seed} must be from 0 to 4294967295" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_config_is_named(capsys):
    assert main(["nowhere.py"]) == 2
    assert "config 'nowhere.py' does not exist" in capsys.readouterr().err


def test_a_value_that_cannot_see_the_pixel_loss_is_refused(capsys):
    config = "pix2pix/pix2pix_vanilla_unet_bn_facades_b1x1_80k.py"
    assert main([config, "--minmax", "released-gaussians"]) == 2
    assert "estimator='last') cannot see the generator's own losses" in capsys.readouterr().err
