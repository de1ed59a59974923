"""Settings for a method, found by a search on seeds that are not reported."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.evidence.collect import ended, short
from benchmarks.evidence.columns import METHODS
from benchmarks.evidence.experiments import EXPERIMENTS, ROOT, TUNING, Experiment
from benchmarks.evidence.methods import settings_file
from minmax_plugin.mmgen.check import minmax_settings
from minmax_plugin.mmgen.config import load_config
from tune.record import SearchRecord
from tune.settings import MINMAX

SPACES = ROOT / "benchmarks/evidence/spaces"


def space_of(experiment: Experiment, method: str) -> dict[str, Any]:
    """The space of a method: that of its experiment, less what is no setting of this method.

    Every method is given the same choices of learning rates, momenta, annealing and proposal, so that what the search
    does for one it can do for all. OMD's Wasserstein loss is part of the method.
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
    """What a search goes by: how evenly samples fall on what is wanted; smooth, where counts of it are not."""
    return "balance:max" if "balance" in experiment.shown else "kid:min"


def tune(name: str, method: str, trials: int | None, at_once: int, place: Path) -> str | None:
    """Search the settings of a method, and keep what was found; give the reason if it cannot be done.

    Args:
        name: of the experiment.
        method: whose settings.
        trials: of the search; as many as for every other method if None.
        at_once: trials.
        place: the folder of the runs.
    """
    experiment = EXPERIMENTS[name]
    if name != experiment.networks:
        return f"it trains with the settings that are searched on {experiment.networks}"
    trials = trials or experiment.trials
    if experiment.missing or method in experiment.skipped:
        return experiment.missing or experiment.skipped[method]
    folder = place / "tuning" / name / method
    config, space = folder.parent / f"{method}.py", folder.parent / f"{method}.yaml"
    command = ["tune/search.py"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    METHODS[method].config(experiment, {}).dump(str(config))
    content = space_of(experiment, method)
    if (folder / "search.json").exists():
        record = SearchRecord.open(folder)
        ((_, begun),) = record.configs.items()
        if begun._cfg_dict != load_config(config)._cfg_dict or yaml.safe_load(space.read_text()) != content:
            return f"its search in {folder} was begun with another config or space: remove that folder"
        done = record.options.num_samples
        command += ["--resume", str(folder)] + (["--extend", str(trials - done)] if trials > done else [])
    else:
        space.write_text(yaml.safe_dump(content, sort_keys=False))
        command += [str(config), "--space", str(space), "--objective", objective_of(experiment)]
        command += ["--num-samples", str(trials), "--seed", str(TUNING), "--seeds", str(experiment.tuning_seeds)]
        command += ["--scheduler", "median", "--storage-path", str(folder.parent), "--name", method]
    code = subprocess.run([sys.executable, *command, "--max-concurrent", str(at_once)], cwd=ROOT).returncode
    if code:
        return f"the search ended with exit code {code}; the same command goes on"
    keep(folder, settings_file(experiment, method), name, method)
    return None


def keep(folder: Path, file: Path, name: str, method: str) -> None:
    """Write the settings of a search's best trial to a file of the repository, how they came about, and all trials."""
    (found,) = (json.loads(path.read_text()) for path in folder.glob("best/*/params.json"))
    started = json.loads((folder / "search.json").read_text())
    (study,) = (record := SearchRecord.open(folder)).configs
    trials = len(ended(record, study))  # fewer than it was begun with, where it was ended by hand
    kept = {
        "settings": found["settings"],
        "objectives": found["objectives"],
        "trial": found["trial"],
        "seeds": found["seeds"],
        "command": shlex.join(
            ["python", "-m", "benchmarks.evidence", name, method, "--tune", "--trials", str(trials)],
        ),
        "commit": short(started["commit"] or ""),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=1) + "\n")
    shutil.copy(folder / "trials.csv", file.with_name(f"{method}_trials.csv"))
