"""Settings for a method, found by a search on seeds that are not reported."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tables import ROOT
from experiments.collect import ended, short
from experiments.configure import settings_file
from experiments.experiment import EXPERIMENTS, TUNING, Experiment
from experiments.methods import METHODS
from experiments.search import search
from minmax_plugin.openmmlab import minmax_settings
from minmax_tune.space.renamed import MINMAX
from minmax_tune.study import Search

SPACES = ROOT / "experiments/spaces"


def space_of(experiment: Experiment, method: str) -> dict[str, Any]:
    """The space of a method: that of its experiment, less what is no setting of this method.

    Every method has the same choices of learning rates, momenta, annealing and proposal. So a search can do for all
    methods what it does for one. OMD's Wasserstein loss is part of the method.
    """
    content = yaml.safe_load((SPACES / experiment.space).read_text())
    cfg = METHODS[method].config(experiment, {})
    without = [] if minmax_settings(cfg) else [MINMAX]
    without += ["proposal"] if method.startswith("omd") else []

    def kept(entries: dict[str, Any]) -> dict[str, Any]:
        return {name: v for name, v in entries.items() if name.split(".")[0] not in without}

    points = [kept(point) for point in content.get("points", [])]
    return {"space": kept(content["space"]), "points": [p for i, p in enumerate(points) if p not in points[:i]]}


def objective_of(experiment: Experiment) -> str:
    """The objective of a search: how evenly samples fall on what is wanted, which is smoother than a count."""
    return "balance:max" if "balance" in experiment.shown else "kid:min"


def tune(name: str, method: str, trials: int | None, at_once: int, place: Path) -> str | None:
    """Search the settings of a method and write the best; give the reason if it cannot be done.

    Args:
        name: of the experiment.
        method: whose settings.
        trials: of the search; as many as for every other method if None.
        at_once: trials at a time.
        place: the folder of the runs.
    """
    experiment = EXPERIMENTS[name]
    if name != experiment.networks:
        return f"it trains with the settings that are searched on {experiment.networks}"
    if reason := experiment.reason_to_skip(method):
        return reason
    folder = place / "tuning" / name / method
    options = ["--objective", objective_of(experiment), "--seed", str(TUNING), "--scheduler", "median"]
    options += ["--seeds", str(experiment.tuning_seeds)]
    cfg, space = METHODS[method].config(experiment, {}), space_of(experiment, method)
    config = folder.parent / f"{method}.py"
    if reason := search(folder, config, cfg, space, options, trials or experiment.trials, at_once):
        return reason
    write_best(folder, settings_file(experiment, method), name, method)
    return None


def write_best(folder: Path, file: Path, name: str, method: str) -> None:
    """Write the settings of a search's best trial, how they were found, and the table of all trials."""
    (found,) = (json.loads(path.read_text()) for path in folder.glob("best/*/params.json"))
    started = json.loads((folder / "search.json").read_text())
    (study,) = (record := Search.open(folder)).configs
    trials = len(ended(record, study))  # fewer than asked for if the search was stopped by hand
    command = ["python", "-m", "experiments", name, method, "--tune", "--trials", str(trials)]
    best = {key: found[key] for key in ("settings", "objectives", "trial", "seeds")}
    best |= {"command": shlex.join(command), "commit": short(started["commit"] or "")}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(best, indent=1) + "\n")
    shutil.copy(folder / "trials.csv", file.with_name(f"{method}_trials.csv"))
