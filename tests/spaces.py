"""Search spaces for tests: the shipped one, and what is drawn of one."""

import optuna
from search_runs import ROOT

from minmax_plugin.mmgen.config import load_config
from minmax_tune.space.space import Space

SPACES = ROOT / "tune/minmax_tune/space/shipped"
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
