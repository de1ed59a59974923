"""Search spaces: what is drawn, and how the unmodified config is expressed."""

import math

import pytest
from mmcv import Config
from spaces import config, draw, yaml_space

from minmax_plugin.mmgen import host
from minmax_plugin.mmgen.config import load_config
from minmax_tune.space.paths import set_paths
from minmax_tune.space.space import Space


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


@pytest.mark.parametrize("entry", [dict(type="float", low=1e-4, high=1.0), dict(type="int", low=1, high=10_000)])
def test_a_logarithmic_range_is_drawn_by_its_decades(entry):
    space = yaml_space(total_iters={**entry, "log": True})
    drawn = [draw(space, seed)[0]["total_iters"] for seed in range(100)]
    assert 30 < sum(value < math.sqrt(entry["low"] * entry["high"]) for value in drawn) < 70


def test_the_objective_is_looked_for_among_what_a_stock_config_measures():
    cfg = load_config("dcgan/dcgan_celeba-cropped_64_b128x1_300k.py")
    assert host.measured_metrics(cfg) == []
    cfg.evaluation = dict(type="GenerativeEvalHook")
    assert host.measured_metrics(cfg) is None  # whatever it measures
