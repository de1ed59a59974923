"""Search spaces: what is refused, what is drawn, and that it reaches the trained model."""

import math
import re
from pathlib import Path

import optuna
import pytest
import yaml
from mmcv import Config
from mmcv.runner import HOOKS, Hook

from minmax_plugin.errors import SpaceError
from minmax_plugin.mmgen import host
from minmax_plugin.mmgen.check import minmax_settings
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import train
from minmax_plugin.settings import MinMaxSettings
from minmax_tune.space.paths import get_path, set_path, set_paths, trial_config
from minmax_tune.space.schema import Choice, Fragments
from minmax_tune.space.space import Space
from minmax_tune.trial.run import last_checkpoint

ROOT = Path(__file__).parents[2]
SPACES = Path(__file__).parents[2] / "tune/minmax_tune/space/shipped"
SHIPPED = Space.read(SPACES / "minmax.yaml")


def config(name="mnist01_minmax"):
    return load_config(ROOT / "configs" / f"{name}.py")


def draw(space, seed=0, **fixed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.enqueue_trial(fixed)
    trial = study.ask()
    settings = space.draw(trial)
    return trial.params, settings


def yaml_space(**entries):
    return Space.load({"space": {name.replace("__", "."): entry for name, entry in entries.items()}})


# --- the shipped spaces ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist01_minmax", "four_gaussians_minmax"])
def test_the_shipped_space_fits_the_shipped_configs(name):
    cfg = config(name)
    SHIPPED.check({name: cfg})
    params = SHIPPED.baseline(cfg)
    assert SHIPPED.is_whole(params), "so that the sampler learns from the unmodified config"
    assert params["k"] == cfg.train_cfg.disc_steps
    assert params["minmax.acceptance.rate"] == cfg.custom_hooks[1].acceptance.rate


@pytest.mark.parametrize("name", ["mnist01_gda", "four_gaussians_demo", "mnist01_minmax"])
def test_the_space_for_any_gan_fits_configs_with_and_without_minmax(name):
    space = Space.read(SPACES / "gan.yaml")
    space.check({name: config(name)})
    assert space.is_whole(space.baseline(config(name)))


@HOOKS.register_module(force=True)
class Witness(Hook):
    """Sees the model, optimizers and hooks as they really train."""

    seen = None

    def after_run(self, runner):
        minmax = next((h for h in runner.hooks if type(h).__name__ == "MinMaxHook"), None)
        players, model = runner.optimizer, runner.model.module
        kinds = {type(hook).__name__ for hook in runner.hooks}
        penalties = list(getattr(model, "disc_auxiliary_losses", []))
        Witness.seen = {
            "method": "gda" if minmax is None else "minmax",
            "k": model.disc_steps,
            "regularisation": "r1" if penalties else "own",
            "r1_weight": penalties[0].loss_weight if penalties else None,
            "generator_annealing": "cosine" if "OfPlayerLrUpdaterHook" in kinds else "own",
            "averaging": "ema" if model.use_ema and "ExponentialMovingAverageHook" in kinds else "own",
            "beta1": {player: o.param_groups[0]["betas"][0] for player, o in players.items()},
            "minmax.estimator.type": minmax and minmax.settings.estimated.type,
            "minmax.restore": minmax and ("both" if minmax.settings.restored.max_player else "generator"),
            "optimizers": {type(o).__name__ for o in players.values()},
            "iterations": runner.iter,
            "batch": runner.data_loader._dataloader.batch_size,
        }
        for player, optimizer in players.items():
            Witness.seen[f"optimizer.{player}.lr"] = optimizer.param_groups[0].get(
                "initial_lr", optimizer.param_groups[0]["lr"]
            )
        if minmax is not None:
            rule = minmax.settings.policy
            names = {"ConstantRate": "constant"}
            Witness.seen["minmax.acceptance.type"] = names.get(type(rule).__name__, type(rule).__name__.lower())
            for number in ("rate", "tau1", "threshold", "z"):
                Witness.seen[f"minmax.acceptance.{number}"] = getattr(rule, number, None)


def trained(cfg, folder):
    cfg.total_iters, cfg.work_dir, cfg.log_level = 8, str(folder), "ERROR"
    cfg.custom_hooks = cfg.custom_hooks[1:]  # without measurements
    cfg.checkpoint_config = None
    train(cfg, hooks=[dict(type="Witness")])
    return Witness.seen


def points():
    """One point for each option of each choice of the shipped space, and for each number that depends on one."""
    for name, entry in SHIPPED.entries.items():
        for option in entry.options if isinstance(entry, (Choice, Fragments)) else []:
            yield {"method": "minmax", name: option}


@pytest.mark.parametrize("point", list(points()), ids=str)
def test_every_sampled_value_reaches_the_trained_model(tmp_path, point):
    params, settings = draw(SHIPPED, seed=len(str(point)), **point)
    cfg = config("four_gaussians_minmax")
    set_paths(cfg, settings)
    seen = trained(cfg, tmp_path)
    for name, value in params.items():
        if name == "beta1":
            assert seen[name] == {"generator": value, "discriminator": value}
        else:
            assert seen[name] == value, name
    assert seen["optimizers"] == ({"MinMaxAdam"} if params["method"] == "minmax" else {"Adam"})


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


def test_the_points_above_draw_every_entry():
    drawn = {name for point in points() for name in draw(SHIPPED, **point)[0]}
    assert drawn == set(SHIPPED.entries)


def test_gda_holds_back_all_settings_of_minmax():
    params, _ = draw(SHIPPED, method="gda")
    assert not any(name.startswith("minmax.") for name in params)


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


def test_a_number_that_yaml_reads_as_text_is_refused():
    space = Space.load(yaml.safe_load("space: {optimizer.generator.lr: {type: choice, options: [1e-4, 1.0e-3]}}"))
    with pytest.raises(SpaceError, match=r"lr='1e-4' is text where the config has the number .*: write 0.0001"):
        space.check({"gda": config("four_gaussians_gda")})


# --- what is drawn -----------------------------------------------------------------------------------------


def test_the_applied_config_survives_its_file(tmp_path):
    cfg = config()
    set_paths(cfg, draw(SHIPPED, method="minmax")[1])
    cfg.dump(str(tmp_path / "config.py"))
    assert load_config(tmp_path / "config.py")._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()


def test_steps_integers_and_choices_are_sampled():
    space = yaml_space(
        train_cfg__disc_steps={"type": "int", "low": 2, "high": 6, "step": 2},
        lr_config={"type": "choice", "options": [None]},
        optimizer__generator__lr={"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
    )
    cfg = config()
    set_paths(cfg, draw(space)[1])
    assert {draw(space, seed)[0]["train_cfg.disc_steps"] for seed in range(20)} == {2, 4, 6}
    assert cfg.lr_config is None
    assert cfg.optimizer.generator.lr in (0.1, 0.2, pytest.approx(0.3))


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


@pytest.mark.parametrize("bounds", [dict(type="int", low=-1, high=3), dict(type="int", low=0, high=2**32)])
def test_a_seed_that_no_training_takes_is_refused(bounds):
    with pytest.raises(
        SpaceError, match=r"space.s .*seed=(-1|4294967296) must be a whole number from 0 to 2\*\*32 - 1"
    ):
        yaml_space(s={**bounds, "keys": ["seed"]}).check({"mine": config()})
    yaml_space(s={**bounds, "low": 0, "high": 2**32 - 1, "keys": ["seed"]}).check({"mine": config()})


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


# --- Python spaces -----------------------------------------------------------------------------------------

PYTHON = """
POINTS = [{"depth": 1}]

def space(trial):
    depth = trial.suggest_int("depth", 1, 3)
    settings = {"model.generator.hidden": [2 ** trial.suggest_int(f"width_{i}", 5, 7) for i in range(depth)]}
    if trial.suggest_categorical("method", ["minmax", "gda"]) == "gda":
        settings["minmax"] = False
    return settings
"""


def test_a_python_space_is_defined_as_it_runs_and_reaches_the_model(tmp_path):
    (tmp_path / "space.py").write_text(PYTHON)
    space = Space.read(tmp_path / "space.py")
    cfg = config("four_gaussians_minmax")
    space.check({"mine": cfg})
    params, settings = draw(Space.load(space.content), depth=2, method="minmax")
    assert settings == {"model.generator.hidden": [2 ** params["width_0"], 2 ** params["width_1"]]}
    set_paths(cfg, settings)
    from mmgen.models import build_model

    model = build_model(cfg.model, train_cfg=cfg.train_cfg)
    widths = [m.out_features for m in model.generator.modules() if hasattr(m, "out_features")]
    assert widths[:2] == settings["model.generator.hidden"]


BAD_PYTHON = [
    ("1 +", "it cannot be run: SyntaxError"),
    ("import nothing_of_this_name", "it cannot be run: ModuleNotFoundError"),
    ("x = 1", r"it must define space\(trial\)"),
    ("POINTS = {}\ndef space(trial): return {}", "POINTS must be a list of dicts, but got {}"),
    ("def space(trial):\n    return {}[1]", r"space\(trial\) failed in line 2: KeyError: 1"),
    ("def space(trial): return [1]", r"must return a dict of settings by path, but returned \[1\]"),
    ("def space(trial): return {'total_iters': {1, 2}}", "must return numbers, strings, lists and dicts"),
    ("def space(trial): return {'total_iter': 1}", "no setting 'total_iter'; did you mean 'total_iters'"),
    (
        "POINTS = [{'n': 9}]\ndef space(trial): return {'total_iters': trial.suggest_int('n', 1, 3)}",
        "points: n=9 is not among 1 to 3",
    ),
]


@pytest.mark.parametrize(("source", "message"), BAD_PYTHON, ids=[m for _, m in BAD_PYTHON])
def test_a_malformed_python_space_is_one_clear_error(tmp_path, source, message):
    (tmp_path / "space.py").write_text(source)
    with pytest.raises(SpaceError, match=message) as error:
        Space.read(tmp_path / "space.py").check({"mine": config()})
    assert "\n" not in str(error.value)


# --- what is refused ---------------------------------------------------------------------------------------

LR = {"optimizer.generator.lr": {"type": "float", "low": "1e-4", "high": 1e-3, "log": True}}
A = {"type": "choice", "options": [1, 2]}
MALFORMED = [
    ({}, "space: Field required"),
    ([1], "Input should be a valid dictionary"),
    ({"space": {}}, "space: Dictionary should have at least 1 item"),
    ({"spaces": LR}, "space: Field required"),
    ({"space": LR, "point": []}, "point: Extra inputs are not permitted"),
    ({"space": {"a": {"low": 0, "high": 1}}}, "space.a: Unable to extract tag using discriminator 'type'"),
    ({"space": {"a": {"type": "flot", "low": 0, "high": 1}}}, "space.a: Input tag 'flot' .* does not match any"),
    ({"space": {"a": {"type": "float", "low": 1, "high": 1}}}, "low=1.0 must be below high=1.0"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "log": True}}}, "low=0.0 must be above 0 with log: true"),
    ({"space": {"a": {"type": "float", "low": "x", "high": 1}}}, "space.a.float.low: Input should be a valid number"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": -1}}}, "step=-1.0 must be above 0"),
    (
        {"space": {"a": {"type": "int", "low": 1, "high": 4, "step": 2, "log": True}}},
        "step and log: true exclude each other",
    ),
    ({"space": {"a": {"type": "int", "low": 0.5, "high": 2}}}, "space.a.int.low: Input should be a valid integer"),
    ({"space": {"a": {"type": "float", "low": 0, "high": float("inf")}}}, "space.a.float.high: .* finite .*got inf"),
    ({"space": {"a": {"type": "float", "low": float("nan"), "high": 1}}}, "space.a.float.low: .* finite .*got nan"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": float("inf")}}}, "space.a.float.step: .* finite"),
    ({"space": {"a": {"type": "int", "low": 0, "high": float("inf")}}}, "space.a.int.high: .* finite .*got inf"),
    ({"space": {"a": {"type": "choice", "options": []}}}, "space.a.choice.options: List should have at least 1 item"),
    ({"space": {"a": {"type": "choice", "options": [[1]]}}}, "space.a.choice.options.0"),
    ({"space": {"a": {"type": "fragments", "options": {"b": 1}}}}, "options.b: Input should be a valid dictionary"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "setp": 1}}}, "space.a.float.setp: Extra inputs"),
    ({"space": {"b": {**A, "when": {"a": 1}}}}, "space.b.when names 'a', which is no earlier"),
    ({"space": {"aa": A, "b": {**A, "when": {"ab": 1}}}}, "space.b.when names 'ab', .*; did you mean 'aa'"),
    ({"space": {"a": A, "b": {**A, "when": {"a": 3}}}}, "space.b.when: 'a' never is 3; it has"),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED, ids=[m for _, m in MALFORMED])
def test_a_malformed_space_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SpaceError, match=message) as error:
        Space.read(tmp_path / "space.yaml")
    assert "\n" not in str(error.value)


TWO = {**LR, "method": {"type": "fragments", "options": {"minmax": {}, "gda": {"minmax": False}}}}
WHOLE = {"total_iters": {"type": "int", "low": 1, "high": 9}}
STEPS = {"optimizer.generator.lr": {"type": "float", "low": 0, "high": 1, "step": 0.25}}
RESTORE = {"minmax.restore": {"type": "choice", "options": ["both", "generator"], "when": {"method": "minmax"}}}
BAD_POINTS = [
    (LR, {"optimizer.generator.l": 1}, "points: 'optimizer.generator.l' is no entry .* did you mean"),
    (LR, {"optimizer.generator.lr": 1}, "points: optimizer.generator.lr=1 is not among 0.0001 to 0.001"),
    (LR, {"optimizer.generator.lr": True}, "points: optimizer.generator.lr=True is not among"),
    (WHOLE, {"total_iters": 2.5}, "points: total_iters=2.5 is not among 1 to 9 in steps of 1"),
    (STEPS, {"optimizer.generator.lr": 0.3}, "points: optimizer.generator.lr=0.3 is not among 0.0 to 1.0 in steps of"),
    (TWO, {"method": "gad"}, r"points: method='gad' is not among \['minmax', 'gda'\]"),
    (
        TWO | RESTORE,
        {"method": "gda", "minmax.restore": "both"},
        "'minmax.restore' has no effect at .*: its conditions",
    ),
]


@pytest.mark.parametrize(("space", "point", "message"), BAD_POINTS)
def test_a_point_that_is_not_in_the_space_is_named(space, point, message):
    with pytest.raises(SpaceError, match=message):
        Space.load({"space": space, "points": [point]}).check({"mine": config()})


UNFIT = [
    ("minmax.restore", "restore must be one of .*, but got 0.1"),
    ("minmax.acceptance.rate.x", "acceptance 'constant' takes .* but got \\['rate.x'\\]"),
    ("minmax.estimator.speed", "estimator 'paired' takes"),
    ("minmax", "'minmax' is true or false, but got 0.1"),
    ("optimizer.generator.lrr", "no setting 'optimizer.generator.lrr'; did you mean 'optimizer.generator.lr'"),
    ("optimiser.generator.lr", "did you mean 'optimizer'"),
    ("optimizer.generator.betas.2", "no setting 'optimizer.generator.betas.2'"),
    ("minmax.acceptance.speed", "acceptance 'constant' takes"),
    ("minmax.restor", "restor=0.1 is no setting of MinMax; the nearest is 'restore'"),
]


@pytest.mark.parametrize(("path", "message"), UNFIT)
def test_a_path_that_is_not_in_the_config_is_named(path, message):
    space = Space.load({"space": {path: {"type": "float", "low": 0.1, "high": 0.2}}})
    with pytest.raises(SpaceError, match=f"space.{re.escape(path)} does not fit config mine: .*{message}"):
        space.check({"mine": config()})


def test_every_value_of_an_entry_is_tried():
    fragments = {"a": {}, "b": {"minmax.restore": "neither"}}
    for entry in (
        {"minmax.restore": {"type": "choice", "options": ["both", "generatr"]}},
        {"minmax.acceptance.rate": {"type": "float", "low": 0.1, "high": 1.7}},
        {"method": {"type": "fragments", "options": fragments}},
    ):
        with pytest.raises(SpaceError, match="does not fit config mine"):
            Space.load({"space": entry}).check({"mine": config()})


def test_values_that_do_not_go_together_are_found():
    space = {
        "method": {"type": "fragments", "options": {"minmax": {}, "gda": {"minmax": False}}},
        "minmax.restore": {"type": "choice", "options": ["both"]},
    }
    with pytest.raises(SpaceError, match="does not fit config mine at .*'gda'.*: 'minmax.restore' has no effect"):
        Space.load({"space": space}).check({"mine": config()})
    space = {"a": {**A, "keys": ["total_iters"]}, "b": {**A, "keys": ["total_iters"]}}
    with pytest.raises(SpaceError, match="space.b sets 'total_iters', which an earlier entry sets"):
        Space.load({"space": space}).check({"mine": config()})


def test_a_missing_file_is_named():
    with pytest.raises(SpaceError, match="space file 'nowhere.yaml' does not exist"):
        Space.read("nowhere.yaml")


def test_nothing_in_a_yaml_file_is_executed(tmp_path):
    touched = tmp_path / "executed"
    (tmp_path / "space.yaml").write_text(f"space: !!python/object/apply:os.system ['touch {touched}']")
    with pytest.raises(SpaceError, match="no valid YAML"):
        Space.read(tmp_path / "space.yaml")
    assert not touched.exists()


def test_the_meaning_of_a_config_is_compared_not_its_spelling():
    space = yaml_space(minmax__restore={"type": "choice", "options": ["generator", "both"]})
    assert space.baseline(config()) == {"minmax.restore": "both"}  # which the config leaves to its preset
    assert space.baseline(Config(dict(custom_hooks=[]))) == {}
    cfg = config()
    cfg.custom_hooks = [dict(type="MinMaxHook", record=True)]
    assert yaml_space(minmax__record={"type": "choice", "options": [False, True]}).baseline(cfg) == {
        "minmax.record": True
    }


def test_a_whole_number_does_not_stand_for_a_fraction():
    cfg = config()
    cfg.optimizer.generator.lr = 2.5
    whole = {"type": "int", "low": 1, "high": 9}
    assert yaml_space(optimizer__generator__lr=whole).baseline(cfg) == {}


def test_a_space_has_to_fit_every_config():
    space = Space.load({"python": "def space(trial): return {'minmax.restore': 'both'}"})
    with pytest.raises(SpaceError, match="does not fit config second"):
        space.check({"first": config(), "second": config("mnist01_gda")})


@pytest.mark.parametrize("entry", [dict(type="float", low=1e-4, high=1.0), dict(type="int", low=1, high=10_000)])
def test_a_logarithmic_range_is_drawn_by_its_decades(entry):
    space = yaml_space(total_iters={**entry, "log": True})
    drawn = [draw(space, seed)[0]["total_iters"] for seed in range(100)]
    assert 30 < sum(value < math.sqrt(entry["low"] * entry["high"]) for value in drawn) < 70


def test_k_can_be_searched_where_a_config_leaves_it_at_the_toolkits_default():
    cfg = load_config("styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py")
    assert "disc_steps" not in cfg.train_cfg
    assert get_path(cfg, "train_cfg.disc_steps") == 1
    set_path(cfg, "train_cfg.disc_steps", 3)
    assert dict(cfg.train_cfg) == dict(use_ema=True, disc_steps=3)


def test_the_objective_is_looked_for_among_what_a_stock_config_measures():
    cfg = load_config("dcgan/dcgan_celeba-cropped_64_b128x1_300k.py")
    assert host.measured_metrics(cfg) == []
    cfg.evaluation = dict(type="GenerativeEvalHook")
    assert host.measured_metrics(cfg) is None  # whatever it measures
