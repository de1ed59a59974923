"""The shipped spaces fit the shipped configs, and what they draw reaches the trained model."""

import pytest
from mmcv.runner import HOOKS, Hook
from spaces import SHIPPED, SPACES, config, draw

from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import train
from minmax_tune.space.paths import set_paths
from minmax_tune.space.schema import Choice, Fragments
from minmax_tune.space.space import Space


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


def test_the_space_for_each_host_is_a_part_of_the_shipped_one():
    space = Space.read(SPACES / "rates.yaml")
    assert space.entries.items() <= SHIPPED.entries.items()
    space.check({"mnist01_minmax": config()})
    assert space.is_whole(space.baseline(config()))


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


def test_the_points_above_draw_every_entry():
    drawn = {name for point in points() for name in draw(SHIPPED, **point)[0]}
    assert drawn == set(SHIPPED.entries)


def test_gda_holds_back_all_settings_of_minmax():
    params, _ = draw(SHIPPED, method="gda")
    assert not any(name.startswith("minmax.") for name in params)


def test_the_applied_config_survives_its_file(tmp_path):
    cfg = config()
    set_paths(cfg, draw(SHIPPED, method="minmax")[1])
    cfg.dump(str(tmp_path / "config.py"))
    assert load_config(tmp_path / "config.py")._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()
