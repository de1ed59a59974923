"""The doctor: what it says of an installation and of configs, and its exit codes."""

import re

import pytest
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from mmgen_runs import run, small_config

from minmax_plugin.cli.doctor import main
from minmax_plugin.mmgen.config import load_config, opt_in
from minmax_plugin.mmgen.doctor import examine
from minmax_plugin.mmgen.shims import active_shims
from minmax_plugin.mmgen.train import build_network

DCGAN = "dcgan/dcgan_celeba-cropped_64_b128x1_300k.py"


def test_without_a_config_it_describes_the_installation(capsys):
    assert main([]) == 0
    output = capsys.readouterr().out
    assert "  mmgen: 0.7" in output
    for name in active_shims:
        assert f"  {name}: " in output
    assert "CPU: 1 threads" in output


def test_it_describes_one_iteration_of_a_stock_config(capsys):
    assert main([DCGAN]) == 0
    output = capsys.readouterr().out
    assert "MinMax can drive it: k = 1; f is read by 'paired'" in output
    steps = ["becomes the proposal", "and its step", "reads f", "left pending", "Visualize", "CheckpointHook"]
    assert sorted(steps, key=output.index) == steps


def test_it_names_the_evaluation_among_the_hooks(capsys):
    options = ["evaluation.type=GenerativeEvalHook", "evaluation.metrics.type=FID"]
    assert main([DCGAN, "--cfg-options", *options]) == 0
    assert "other hooks: GenerativeEvalHook, Visualize" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["EMPTY"], 1, "CANNOT drive it: model.discriminator is missing"),
        (
            [DCGAN, "--cfg-options", "model.generator.type=Nothing"],
            1,
            "the toolkit cannot build it: .*Nothing is not in",
        ),
        (["nowhere.py"], 2, "config 'nowhere.py' does not exist, nor does one ship under that name"),
        (["dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py"], 2, "did you mean 'dcgan/dcgan_mnist-64_b128x1_"),
        ([DCGAN, "--cfg-options", "model.discriminator=None"], 1, "CANNOT drive it: model.discriminator is missing"),
        ([DCGAN, "--minmax", "paper", "--cfg-options", "train_cfg.disc_steps=0"], 1, "it must be 1 or more, got 0"),
        (
            ["ada/stylegan3_t_ada_fp16_gamma6.6_metfaces_1024_b4x8.py"],
            1,
            "CANNOT drive it: model.discriminator.data_aug",
        ),
    ],
)
def test_its_exit_code_says_yes_or_no(tmp_path, capsys, arguments, code, message):
    (tmp_path / "empty.py").write_text("total_iters = 1\n")
    assert main([a.replace("EMPTY", str(tmp_path / "empty.py")) for a in arguments]) == code
    captured = capsys.readouterr()
    assert re.search(message, captured.out + captured.err)


@pytest.mark.parametrize(
    ("hook", "copies"),
    [
        (dict(), 3),  # weights and both moments of Adam
        (dict(restore_moments=False), 1),
        (dict(restore="generator", restore_moments=False), 0.57),  # of both players' weights
        (dict(restore="generator", restore_moments=False, recover_nonfinite=True), 3),
    ],
)
def test_it_counts_what_is_kept_for_a_rejection(hook, copies):
    memory = examine(small_config(1, hook)).memory
    weights, kept = memory["weights of both players"], memory["kept for a rejection"]
    assert kept == pytest.approx(copies * weights, rel=0.02)


def test_the_memory_it_states_is_what_a_run_takes(tmp_path, recorded):
    kept = []

    @HOOKS.register_module(force=True)
    class Weigh(Hook):
        def after_run(self, runner):
            tensors = [t for snapshot in runner.hooks[0].game._incumbent._restored for t in snapshot._kept]
            kept.append(sum(t.numel() * t.element_size() for t in tensors))

    cfg = small_config(1, dict(), total_iters=4)
    stated = examine(cfg).memory["kept for a rejection"] * 2**20
    cfg.custom_hooks.append(dict(type="Weigh"))
    run(cfg, tmp_path)
    assert kept == [pytest.approx(stated, rel=0.05)]


def test_a_config_is_not_changed_by_looking_at_it():
    cfg = small_config(3)
    before = Config(cfg._cfg_dict.to_dict())
    assert examine(cfg).drives
    assert cfg._cfg_dict == before._cfg_dict


ORDERS = [  # config, settings over it, what its steps say, what they do not
    (
        "sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        {},
        [
            "next batch",
            "becomes the proposal",
            "every 5 iterations: MinMaxHook: reads f",
            "every 5 iterations: .* left pending",
        ],
        "ascent steps",
    ),
    (
        "sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        {"train_cfg.gen_steps": 2},
        ["next batch", "discriminator's pass, and its step", "every 5 iterations: the 2 generator steps"],
        "becomes the proposal",
    ),
    (
        "singan/singan_fish.py",
        {},
        ["next batch", "the discriminator's 3 ascent steps", "^MinMaxHook: reads f", "^the 3 generator steps"],
        "every",
    ),
    (
        "pggan/pggan_celeba-cropped_128_g8_12Mimgs.py",
        {"checkpoint_config": None},
        ["PGGANFetchDataHook; next batch", "becomes the proposal", "^MinMaxHook: reads f", "no checkpoints"],
        "every",
    ),
]


@pytest.mark.filterwarnings("ignore:.*Unnecessary conv bias before batch/instance norm")  # of the stock configs
@pytest.mark.parametrize(("config", "settings", "said", "unsaid"), ORDERS)
def test_the_order_of_an_iteration_is_that_of_the_family(config, settings, said, unsaid):
    cfg = load_config(config)
    for path, value in settings.items():
        *parents, last = path.split(".")
        (cfg[parents[0]] if parents else cfg)[last] = value
    order = examine(cfg).order
    places = [next(i for i, line in enumerate(order) if re.search(what, line)) for what in said]
    assert places == sorted(set(places))
    assert not any(unsaid in line for line in order)


def test_it_opts_in_with_the_preset_that_is_asked_for(capsys):
    assert main([DCGAN, "--minmax", "released-gaussians"]) == 0
    assert "f is read by 'last'" in capsys.readouterr().out


def test_it_counts_buffers_and_what_each_player_s_own_optimizer_keeps():
    cfg = small_config(1, dict())
    cfg.optimizer.generator = dict(type="MinMaxSGD", lr=0.1)  # keeps nothing
    model = build_network(cfg)
    size = {
        name: sum(p.numel() * p.element_size() for p in getattr(model, name).parameters()) / 2**20
        for name in ("generator", "discriminator")
    }
    assert examine(cfg).memory["kept for a rejection"] == pytest.approx(size["generator"] + 3 * size["discriminator"])
    cfg = load_config(DCGAN)  # with batch norm
    tensors = build_network(cfg).state_dict().values()
    whole = sum(t.numel() * t.element_size() for t in tensors) / 2**20
    opt_in(cfg, restore_moments=False)
    kept = examine(cfg).memory
    assert kept["weights of both players"] == pytest.approx(whole)
    assert kept["kept for a rejection"] == pytest.approx(whole)
