from pathlib import Path

import optuna
import pytest
import yaml

from minmax_plugin.mmgen.train import load_config
from tune.space import Space, SpaceError, set_path, set_paths

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "tune" / "spaces" / "minmax.yaml"


def config(name="mnist01_minmax"):
    return load_config(ROOT / "configs" / f"{name}.py")


def sample(space, **fixed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(fixed)
    return space.sample(study.ask())


@pytest.mark.parametrize("name", ["mnist01_minmax", "four_gaussians_minmax"])
def test_the_shipped_space_fits_the_shipped_configs(name):
    Space.read(SHIPPED).check(config(name), name)


def test_every_sampled_value_reaches_the_built_model_and_hook():
    from mmgen.core.optimizer import build_optimizers
    from mmgen.models import build_model

    from minmax_plugin.mmgen.check import build_hook, minmax_settings

    space, cfg = Space.read(SHIPPED), config()
    params = sample(space, method="minmax", **{"minmax.restore": "generator"})
    set_paths(cfg, space.settings(params))
    hook = build_hook(minmax_settings(cfg))
    assert hook.acceptance.rate == params["minmax.acceptance.rate"]
    assert not hook.restore.max_player
    optimizers = build_optimizers(build_model(cfg.model, train_cfg=cfg.train_cfg, test_cfg=None), cfg.optimizer)
    for player, optimizer in optimizers.items():
        assert type(optimizer).__name__ == "MinMaxAdam"
        assert optimizer.defaults["lr"] == params[f"optimizer.{player}.lr"]
        assert optimizer.defaults["betas"][0] == params["beta1"]
        assert optimizer.defaults["betas"][1] == 0.999


def test_gda_is_a_choice_and_its_conditions_hold_back_the_rest():
    space, cfg = Space.read(SHIPPED), config()
    params = sample(space, method="gda")
    assert not any(name.startswith("minmax.") for name in params)
    set_paths(cfg, space.settings(params))
    assert cfg.optimizer.generator.type == "Adam"
    assert [h["type"] for h in cfg.custom_hooks] == ["SampleMetrics"]


def test_the_applied_config_survives_its_file(tmp_path):
    space, cfg = Space.read(SHIPPED), config()
    set_paths(cfg, space.settings(sample(space, method="minmax")))
    cfg.dump(str(tmp_path / "config.py"))
    assert load_config(tmp_path / "config.py")._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()


def test_integers_and_choices_are_sampled():
    space = Space(
        {
            "space": {
                "train_cfg.disc_steps": {"type": "int", "low": 2, "high": 4},
                "lr_config": {"type": "choice", "options": [None]},
            }
        }
    )
    cfg = config()
    set_paths(cfg, space.settings(sample(space)))
    assert cfg.train_cfg.disc_steps in (2, 3, 4)
    assert cfg.lr_config is None


def test_another_policy_takes_arguments_of_its_own():
    cfg = config()
    set_path(cfg, "minmax.acceptance.type", "always")
    assert cfg.custom_hooks[1].acceptance == dict(type="always")


LR = {"optimizer.generator.lr": {"type": "float", "low": "1e-4", "high": 1e-3, "log": True}}
MALFORMED = [
    ({}, "space: Field required"),
    ({"space": {}}, "space: Dictionary should have at least 1 item"),
    ({"space": {"a": {"type": "flot", "low": 0, "high": 1}}}, "space.a: Input tag 'flot' .* does not match any"),
    ({"space": {"a": {"type": "float", "low": 1, "high": 1}}}, "low=1.0 must be below high=1.0"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "log": True}}}, "low=0.0 must be above 0 with log: true"),
    ({"space": {"a": {"type": "int", "low": 0.5, "high": 2}}}, "space.a.int.low: Input should be a valid integer"),
    ({"space": {"a": {"type": "choice", "options": []}}}, "space.a.choice.options: List should have at least 1 item"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": 1}}}, "space.a.float.step: Extra inputs"),
    (
        {"space": LR, "points": [{"optimizer.generator.l": 1}]},
        "points: 'optimizer.generator.l' is no entry .* did you mean",
    ),
    (
        {"space": {"b": {"type": "choice", "options": [1], "when": {"a": 1}}}},
        "space.b.when names 'a', which is no earlier",
    ),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED, ids=[m for _, m in MALFORMED])
def test_a_malformed_space_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SpaceError, match=message):
        Space.read(tmp_path / "space.yaml")


UNFIT = [
    ("minmax.restore", "restore must be 'both' or 'generator', but got 0.1"),
    ("minmax.acceptance.rate.x", "is deeper than the settings of MinMaxHook"),
    ("minmax.value.speed", "value 'auto' takes"),
    ("optimizer.generator.lrr", "no setting 'optimizer.generator.lrr'; did you mean 'optimizer.generator.lr'"),
    ("optimiser.generator.lr", "did you mean 'optimizer'"),
    ("optimizer.generator.betas.2", "no setting 'optimizer.generator.betas.2'"),
    ("minmax.acceptance.speed", "acceptance 'constant' takes"),
    ("minmax.restor", "MinMaxHook does not take these settings: .*'restor'"),
]


@pytest.mark.parametrize(("path", "message"), UNFIT)
def test_a_path_that_is_not_in_the_config_is_named(path, message):
    space = Space({"space": {path: {"type": "float", "low": 0.1, "high": 0.2}}})
    with pytest.raises(SpaceError, match=f"space.{path} does not fit config mine: .*{message}"):
        space.check(config(), "mine")


def test_every_value_of_an_entry_is_tried():
    fragments = {"a": {}, "b": {"minmax.restore": "neither"}}
    for entry in (
        {"minmax.restore": {"type": "choice", "options": ["both", "generatr"]}},
        {"minmax.acceptance.rate": {"type": "float", "low": 0.1, "high": 1.7}},
        {"method": {"type": "fragments", "options": fragments}},
    ):
        with pytest.raises(SpaceError, match="does not fit config mine"):
            Space({"space": entry}).check(config(), "mine")


def test_a_part_of_a_preset_is_set_within_it():
    cfg = config()
    cfg.custom_hooks = [dict(type="MinMaxHook", preset="paper")]
    set_path(cfg, "minmax.acceptance.slack", 0.5)
    set_path(cfg, "minmax.value.type", "paired")
    set_path(cfg, "minmax.value.fraction", 0.5)
    assert cfg.custom_hooks[0]["acceptance"] == dict(type="annealed", slack=0.5)
    assert cfg.custom_hooks[0]["value"] == dict(type="paired", fraction=0.5)


def test_minmax_settings_need_a_hook():
    with pytest.raises(SpaceError, match="'minmax.restore' needs a MinMaxHook in its custom_hooks"):
        set_path(config("mnist01_gda"), "minmax.restore", "both")


def test_a_missing_file_is_named():
    with pytest.raises(SpaceError, match="space file 'nowhere.yaml' does not exist"):
        Space.read("nowhere.yaml")


def test_nothing_in_a_file_is_executed(tmp_path):
    (tmp_path / "space.yaml").write_text("space: !!python/object/apply:os.system ['touch /tmp/executed']")
    with pytest.raises(SpaceError, match="no valid YAML"):
        Space.read(tmp_path / "space.yaml")
