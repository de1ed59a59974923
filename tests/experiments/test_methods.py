"""Every method has a config that trains, on each experiment."""

import json

import pytest
import torch

from benchmarks.tables import ROOT
from experiments import configure
from experiments.configure import settings_file
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS, methods_of
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import PRESETS, MinMaxSettings

RATES = {"accepted": 0.4, "accepted_over_time": [0.9, 0.2], "kept_ascent": 14.3}


PAIRS = [(e, m) for e in EXPERIMENTS for m in methods_of(EXPERIMENTS[e])]


@pytest.mark.parametrize(("experiment", "method"), PAIRS)
def test_every_method_has_a_config_that_trains(experiment, method):
    task, recipe = EXPERIMENTS[experiment], METHODS[method]
    if recipe.tuned and not settings_file(task, recipe.tuned).exists():
        pytest.skip(f"no settings in {settings_file(task, recipe.tuned)}")
    cfg = recipe.config(task, RATES)
    check_config(cfg, paths=False)
    per_cycle = cfg.iterations_per_cycle
    assert cfg.total_iters >= task.cycles * per_cycle
    measured = [hook["interval"] for hook in cfg.custom_hooks if hook["type"] == "SampleMetrics"]
    assert measured == [task.every * per_cycle]
    gradients = cfg.total_iters / per_cycle * (recipe.gradients or per_cycle + 1)
    assert gradients >= 0.98 * task.cycles * (task.k + 1), "as many as plain descent-ascent, to a measurement"
    if method == "gda-matched":
        assert per_cycle == pytest.approx(14.3, abs=0.005)  # not a whole number
    if minmax := minmax_settings(cfg):  # a preset may change while seeds are added
        assert set(PRESETS[minmax.get("preset", "practical")]) <= set(minmax)
    assert all(cycle % task.every == 0 for cycle in task.reported)
    if recipe.after and minmax_settings(cfg):
        rule = minmax_settings(METHODS[recipe.after].config(task, RATES))["acceptance"]["type"]
        rate = dict(rate=[0.9, 0.2], window=100) if rule == "annealed" else dict(rate=0.4)
        assert minmax_settings(cfg)["acceptance"] == dict(type="random", **rate)


@pytest.mark.parametrize(
    ("experiment", "name", "method"),
    [
        ("four_gaussians", "tuned", "best"),
        ("four_gaussians", "unrolled", "best-unrolled"),
        ("mnist01", "tuned", "best"),
    ],
)
def test_the_tuned_config_is_what_was_found(experiment, name, method):
    shipped = load_config(ROOT / "configs" / f"{experiment}_minmax_{name}.py")
    check_config(shipped, paths=False)
    found = METHODS[method].config(EXPERIMENTS[experiment], {})
    wanted = minmax_settings(found)
    hook = {**minmax_settings(shipped), "record": True}
    assert MinMaxSettings.from_dict(hook).meaning == MinMaxSettings.from_dict(wanted).meaning
    assert shipped.get("lr_config") == found.get("lr_config")
    assert shipped.train_cfg == found.train_cfg
    assert shipped.model == found.model
    for player, settings in found.optimizer.items():
        assert shipped.optimizer[player] == dict(settings, betas=tuple(settings["betas"]))


def test_a_tuned_method_trains_with_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(configure, "BEST", tmp_path)
    task = EXPERIMENTS["four_gaussians"]
    settings = {"optimizer.generator.lr": 0.002, "minmax.restore": "generator"}
    file = settings_file(task, "practical")
    file.parent.mkdir()
    file.write_text(json.dumps({"settings": settings}))
    best, random, without = (METHODS[m].config(task, RATES) for m in ("best", "random-best", "gda-best"))
    assert {cfg.optimizer.generator.lr for cfg in (best, random, without)} == {0.002}
    assert minmax_settings(best)["restore"] == minmax_settings(random)["restore"] == "generator"
    assert minmax_settings(random)["acceptance"] == dict(type="random", rate=0.4)
    assert minmax_settings(without) is None
    assert without.optimizer.generator.type == "Adam"
    assert METHODS["exploratory-ascent"].config(task, {}).iterations_per_cycle == 12


CYCLES = {"gda-6": 6, "gda-1": 1, "extragradient": 2, "omd": 1, "lookahead": 6, "unrolled": 1, "best-unrolled": 1}


@pytest.mark.parametrize(("method", "iterations"), CYCLES.items())
def test_a_cycle_is_one_proposal_or_step(method, iterations):
    assert METHODS[method].config(EXPERIMENTS["four_gaussians"], RATES).iterations_per_cycle == iterations


RULES = [
    ("four_gaussians", "practical", dict(type="constant", rate=0.25)),
    ("mnist01", "practical", dict(type="constant", rate=0.2)),
    ("four_gaussians", "released", dict(type="periodic", every=4, reverse=True)),
    ("mnist01", "released", dict(type="periodic", every=5)),
]


@pytest.mark.parametrize(("experiment", "method", "rule"), RULES)
def test_the_rules_are_the_published_ones(experiment, method, rule, monkeypatch):
    monkeypatch.setenv("MINMAX_MNIST", "somewhere")
    assert minmax_settings(METHODS[method].config(EXPERIMENTS[experiment], {}))["acceptance"] == rule


@pytest.mark.parametrize(
    ("experiment", "strict", "by_eye"),
    [("four_gaussians", 0, 4), ("eight_gaussians", 0, 8), ("gaussian_grid", 0, 25)],
)
def test_noise_has_the_modes_that_the_page_says(experiment, strict, by_eye):
    from mmgen.core.registry import build_metric

    cfg = EXPERIMENTS[experiment].plain()
    (hook,) = (hook for hook in cfg.custom_hooks if hook["type"] == "SampleMetrics")
    metric = build_metric(hook["metrics"][0])
    noise = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = metric.measure(noise * 1.2 * metric.centres.abs().max())  # on a square around all modes
    assert (found["modes"], found["modes_by_eye"]) == (strict, by_eye)
