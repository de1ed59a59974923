"""Settings by path: what is set, read and kept in a config."""

from pathlib import Path

import pytest
from spaces import config, draw, yaml_space

from minmax_plugin.errors import SpaceError
from minmax_plugin.mmgen import host
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import train
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import MinMaxSettings
from minmax_tune.space.paths import get_path, set_path, set_paths, trial_config
from minmax_tune.trial.run import last_checkpoint


def test_a_config_that_is_trained_leaves_the_settings_as_they_were():
    schedule = dict(policy="step", step=[1])
    settings = {"lr_config": schedule, "minmax.acceptance": dict(type="constant", rate=0.5)}
    for _ in range(2):  # as the seeds of a trial are
        cfg = config("four_gaussians_minmax")
        set_paths(cfg, settings)
        cfg.lr_config.pop("policy")  # as the toolkit does
        minmax_settings(cfg)["acceptance"].pop("type")
    assert settings["lr_config"] == dict(policy="step", step=[1])
    assert settings["minmax.acceptance"] == dict(type="constant", rate=0.5)


def test_a_penalty_is_set_as_a_whole_and_then_in_part():
    cfg = config("four_gaussians_gda")
    penalty = dict(type="R1GradientPenalty", loss_weight=1.0)
    set_paths(cfg, {"model.disc_auxiliary_loss": penalty, "model.disc_auxiliary_loss.loss_weight": 3.0})
    assert cfg.model.disc_auxiliary_loss == dict(type="R1GradientPenalty", loss_weight=3.0)
    assert cfg.model.generator.type == "MLPGenerator"


def test_a_hook_is_added_or_takes_the_place_of_one_of_its_type():
    cfg = config("four_gaussians_gda")
    measuring = cfg.custom_hooks[0]
    for interval in (1, 2):
        set_paths(cfg, {"custom_hooks.+": dict(type="ExponentialMovingAverageHook", interval=interval)})
        assert cfg.custom_hooks == [measuring, dict(type="ExponentialMovingAverageHook", interval=interval)]


def test_a_batch_size_keeps_the_images():
    space = yaml_space(data__samples_per_gpu={"type": "choice", "options": [128, 512]})
    base = config("four_gaussians_gda")
    base.checkpoint_config, base.evaluation = dict(interval=3000), dict(interval=500)
    _, settings = draw(space, **{"data.samples_per_gpu": 128})
    cfg = trial_config(base, settings)
    assert (cfg.data.samples_per_gpu, cfg.total_iters) == (128, 4 * 9000)
    assert (cfg.custom_hooks[0].interval, cfg.checkpoint_config.interval) == (
        4 * base.custom_hooks[0].interval,
        4 * 3000,
    )
    assert cfg.evaluation.interval == 4 * 500
    # what a search sets itself stays
    assert trial_config(base, {**settings, "total_iters": 500}).total_iters == 500


def test_trials_of_a_config_with_a_folder_for_checkpoints_keep_their_own(tmp_path):
    base = config("four_gaussians_minmax")
    base.checkpoint_config = dict(interval=4, by_epoch=False, out_dir=str(tmp_path / "shared"))
    base.total_iters, base.log_level, base.custom_hooks = 8, "ERROR", base.custom_hooks[1:]
    for trial in ("points_0", "points_1"):
        cfg = trial_config(base, {})
        cfg.work_dir = str(tmp_path / trial / "seed_1")  # with several seeds, a name that all trials have
        train(cfg)
        assert last_checkpoint(host, Path(cfg.work_dir), before=9).name == "iter_8.pth"
        assert last_checkpoint(host, Path(cfg.work_dir), before=8).name == "iter_4.pth"
    assert not (tmp_path / "shared").exists()


def test_another_policy_takes_arguments_of_its_own_and_the_same_keeps_its_own():
    cfg = config()
    set_path(cfg, "minmax.acceptance.type", "constant")
    assert cfg.custom_hooks[1].acceptance == dict(type="constant", rate=0.2)
    set_path(cfg, "minmax.acceptance.type", "always")
    assert cfg.custom_hooks[1].acceptance == dict(type="always")


SAME = [  # however a config writes the type that is in force
    (dict(acceptance=dict(rate=0.25, min_decrease=0.5)), "acceptance", "constant"),
    (dict(acceptance=dict(type="constant", rate=0.25)), "acceptance", "constant"),
    (dict(acceptance="always"), "acceptance", "always"),
    (dict(acceptance=None), "acceptance", "outlier"),
    (dict(acceptance={}), "acceptance", "constant"),
    (dict(estimator=dict(fraction=0.5)), "estimator", "paired"),
    (dict(), "estimator", "paired"),
    (dict(preset="released-gaussians"), "acceptance", "periodic"),
]


@pytest.mark.parametrize(("written", "part", "kind"), SAME)
def test_the_type_in_force_set_once_more_changes_nothing(written, part, kind):
    cfg = config()
    cfg.custom_hooks = [dict(type="MinMaxHook", **written)]
    before = MinMaxSettings.from_dict(minmax_settings(cfg))
    assert get_path(cfg, f"minmax.{part}.type") == kind
    set_paths(cfg, {f"minmax.{part}.type": kind})
    after = MinMaxSettings.from_dict(minmax_settings(cfg))
    assert after.meaning == before.meaning
    # so that a space can express the unmodified config
    entry = {"type": "choice", "options": [kind, "fresh" if part == "estimator" else "never"]}
    assert yaml_space(**{f"minmax__{part}__type": entry}).baseline(cfg) == {f"minmax.{part}.type": kind}


@pytest.mark.parametrize("whole", ["always", dict(rate=0.5), dict(type="constant", rate=0.5)])
def test_a_part_is_set_as_a_whole_in_whichever_way_it_is_written(whole):
    cfg = config()
    set_paths(cfg, {"minmax.acceptance": whole})
    assert minmax_settings(cfg)["acceptance"] == whole


def test_a_part_of_a_preset_is_set_within_it_and_read_from_it():
    cfg = config()
    cfg.custom_hooks = [dict(type="MinMaxHook", preset="paper")]
    assert get_path(cfg, "minmax.acceptance.type") == "annealed"
    set_path(cfg, "minmax.acceptance.min_decrease", 0.5)
    set_path(cfg, "minmax.estimator.type", "paired")
    set_path(cfg, "minmax.estimator.fraction", 0.5)
    assert cfg.custom_hooks[0]["acceptance"] == dict(type="annealed", min_decrease=0.5)
    assert cfg.custom_hooks[0]["estimator"] == dict(type="paired", fraction=0.5, hold=8)  # that of the default


def test_minmax_settings_need_a_hook():
    with pytest.raises(SpaceError, match="'minmax.restore' needs a MinMaxHook in its custom_hooks"):
        set_path(config("mnist01_gda"), "minmax.restore", "both")


LOST = [
    ({"minmax": False, "minmax.restore": "both"}, "'minmax.restore' has no effect where MinMax is taken out"),
    (
        {"optimizer.generator.lr": 0.1, "optimizer.generator": {"type": "MinMaxSGD", "lr": 0.2}},
        "'optimizer.generator.lr' is set, and then overwritten",
    ),
    (
        {"minmax.acceptance.rate": 0.5, "minmax.acceptance.type": "annealed"},
        "'minmax.acceptance.rate' is set, and then overwritten",
    ),
    (
        {"minmax.estimator.fraction": 0.5, "minmax.estimator": "fresh"},
        "'minmax.estimator.fraction' is set, and then overwritten",
    ),
    (
        {"optimizer.generator.lr": 0.1, "optimizer.generator": None},
        "'optimizer.generator.lr' is set, and then overwritten",
    ),
]


@pytest.mark.parametrize(("settings", "message"), LOST)
def test_no_setting_is_silently_lost(settings, message):
    with pytest.raises(SpaceError, match=message):
        set_paths(config(), settings)


def test_k_can_be_searched_where_a_config_leaves_it_at_the_toolkits_default():
    cfg = load_config("styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py")
    assert "disc_steps" not in cfg.train_cfg
    assert get_path(cfg, "train_cfg.disc_steps") == 1
    set_path(cfg, "train_cfg.disc_steps", 3)
    assert dict(cfg.train_cfg) == dict(use_ema=True, disc_steps=3)
