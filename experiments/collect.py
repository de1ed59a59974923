"""What the runs of an experiment measured, as small files that are committed."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import pandas
from mmcv import Config
from optuna.trial import FrozenTrial

from experiments.experiment import EXPERIMENTS
from minmax_plugin.acceptance import NO_DECISION
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import MinMaxSettings
from minmax_tune.failures import is_retryable
from minmax_tune.study import Search

WINDOW = 100  # decisions of each share over time
VERSIONS = ("python", "torch", "mmgen", "mmcv", "ray", "optuna")


@dataclasses.dataclass
class Run:
    """A training from one seed.

    Args:
        seed: of the training.
        failure: why it failed, if it did.
        measured: lines of its ``metrics.jsonl``.
        kept: for each proposal, whether it was kept.
        commit: of the code that began it.
    """

    seed: int
    failure: str | None
    measured: list[dict[str, Any]]
    kept: list[bool]
    commit: str = ""


@dataclasses.dataclass
class Result:
    """All runs of a method on an experiment that have ended.

    Args:
        config: of the runs.
        search: the search's ``search.json``.
        runs: by seed.
    """

    config: Config
    search: dict[str, Any]
    runs: list[Run]

    @classmethod
    def read(cls, folder: Path) -> Result:
        record = Search.open(folder)
        ((study, config),) = record.configs.items()
        search = json.loads((folder / "search.json").read_text())
        runs = []
        for trial in ended(record, study):
            place = record.trial_folder(study, trial.number)
            failure = None if trial.state.name == "COMPLETE" else trial.user_attrs.get("reason", "")
            kept = [d["accepted"] for d in _lines(place / "decisions.jsonl") if d["reason"] not in NO_DECISION]
            commit = short(trial.user_attrs.get("commit") or search["commit"] or "")
            runs.append(Run(trial.params["seed"], failure, _lines(place / "metrics.jsonl"), kept, commit))
        return cls(config, search, sorted(runs, key=lambda run: run.seed))

    def by_commit(self) -> list[Result]:
        """Its runs by the commit of the code that began them."""
        commits = dict.fromkeys(run.commit for run in self.runs)
        return [dataclasses.replace(self, runs=[r for r in self.runs if r.commit == commit]) for commit in commits]

    def rates(self) -> dict[str, Any]:
        """How often proposals were kept, over all runs.

        ``accepted`` is their share, and ``accepted_over_time`` that of each :data:`WINDOW` decisions. ``kept_ascent``
        is the number of ascent steps that survive for each kept proposal.
        """
        settings, k = minmax_settings(self.config), self.config.train_cfg.disc_steps
        kept = pandas.DataFrame([run.kept for run in self.runs if run.kept]).T.astype(float)  # a column for each run
        shares = kept.mean().tolist()
        if settings is None or not shares:
            return {}
        accepted = statistics.mean(shares)
        # where both players are restored, a rejection undoes the proposal's ascent steps too
        lost = MinMaxSettings.from_dict(settings).restored.max_player
        return {
            "accepted": round(accepted, 4),
            "accepted_over_time": kept.mean(axis=1).groupby(kept.index // WINDOW).mean().round(3).tolist(),
            "kept_ascent": round(k if lost else k / max(accepted, 1e-3), 2),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A line for each run and measurement. ``forgotten`` counts modes or digits found earlier but not now."""
        per_cycle, least = self.config.iterations_per_cycle, _least_share(self.config)
        rows = []
        for run in self.runs:
            ever: set[int] = set()
            for line in run.measured:
                shares = line.get("shares") or [v for n, v in line.items() if n.removeprefix("share_").isdigit()]
                found = {i for i, share in enumerate(shares) if share >= least}
                ever |= found
                more = {"forgotten": len(ever - found)} if shares else {}
                values = {n: v for n, v in line.items() if n not in ("iter", "shares")}
                rows.append({"seed": run.seed, "cycle": round(line["iter"] / per_cycle), **values, **more})
        return rows


def ended(record: Search, study: str) -> list[FrozenTrial]:
    """The trials of a study that have ended or failed. The search resumes those that were interrupted."""

    def interrupted(trial: FrozenTrial) -> bool:
        return trial.state.name != "COMPLETE" and is_retryable(trial.user_attrs)

    return [trial for trial in record.counted(study) if trial.state.is_finished() and not interrupted(trial)]


def short(commit: str) -> str:
    """Ten digits of a commit, and whether files differed from it."""
    digits, mark, dirty = commit.partition("-")
    return digits[:10] + mark + dirty


def write_results(place: Path, experiment: str) -> bool:
    """Write ``EXPERIMENT.csv``, a line for each run and measurement, and ``EXPERIMENT.json``, how they came about.

    The latter is a list of batches: runs of one method from one commit, machine and command. It returns whether there
    were any runs.

    Args:
        place: the folder of the runs, as ``EXPERIMENT/METHOD``; the files are written to it too.
        experiment: its name.
    """
    searches = sorted((place / experiment).glob("*/search.json"))
    found = {path.parent.name: Result.read(path.parent) for path in searches}
    results = {method: result for method, result in found.items() if result.runs}
    if not results:
        return False

    def given(method: str) -> dict[str, Any]:
        """The rates of another method that a control was trained with."""
        file = rates_file(place, experiment, method)
        rates = json.loads(file.read_text()) if file.exists() else {}
        return {"given": rates} if rates else {}

    rows = pandas.DataFrame([{"method": method, **row} for method, result in results.items() for row in result.rows()])
    batches = [
        {
            "method": method,
            "command": _command(experiment, method, [run.seed for run in batch.runs]),
            "commit": batch.runs[0].commit,
            "started": result.search["started"],
            "seeds": [run.seed for run in batch.runs],
            "failed": {run.seed: run.failure for run in batch.runs if run.failure is not None},
            "iterations": result.config.total_iters,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a run",
            "versions": {name: result.search["versions"][name] for name in VERSIONS},
            **batch.rates(),
            **given(method),
        }
        for method, result in results.items()
        for batch in result.by_commit()
    ]
    _write(place, experiment, rows, batches)
    return True


def read_results(place: Path, experiment: str) -> tuple[pandas.DataFrame, list[dict[str, Any]]]:
    """What :func:`write_results` wrote: the lines, and the batches of runs behind them."""
    return pandas.read_csv(place / f"{experiment}.csv"), json.loads((place / f"{experiment}.json").read_text())


def rates_file(place: Path, experiment: str, method: str) -> Path:
    """The file of the rates that a control is trained with."""
    return place / experiment / "configs" / f"{method}_rates.json"


def merge_results(fresh: Path, into: Path, experiment: str) -> None:
    """Add fresh results to those of other machines and days. A fresh run replaces an earlier one of its seed."""
    rows, batches = read_results(fresh, experiment)
    if (into / f"{experiment}.csv").exists():
        old_rows, old_batches = read_results(into, experiment)
        again = {(batch["method"], seed) for batch in batches for seed in batch["seeds"]}
        kept = [run not in again for run in zip(old_rows["method"], old_rows["seed"], strict=True)]
        rows = pandas.concat([old_rows[kept], rows])
        for batch in old_batches:
            seeds = [seed for seed in batch["seeds"] if (batch["method"], seed) not in again]
            if seeds and seeds != batch["seeds"]:
                batch["command"] = _command(experiment, batch["method"], seeds)
            batch["seeds"] = seeds
            batch["failed"] = {s: why for s, why in batch["failed"].items() if int(s) in seeds}
        batches = [*(batch for batch in old_batches if batch["seeds"]), *batches]
    into.mkdir(parents=True, exist_ok=True)
    _write(into, experiment, rows.sort_values(["method", "seed", "cycle"]), batches)


def _write(place: Path, experiment: str, rows: pandas.DataFrame, batches: list[dict[str, Any]]) -> None:
    rows.to_csv(place / f"{experiment}.csv", index=False, float_format="%.5g")
    (place / f"{experiment}.json").write_text(json.dumps(batches, indent=1) + "\n")


def _command(experiment: str, method: str, seeds: list[int]) -> str:
    """The command that trains these seeds, and those between them."""
    first, last = min(seeds), max(seeds)
    command = f"python -m experiments {experiment} {method} --seeds {last - first + 1}"
    return command + (f" --first {first}" if first != EXPERIMENTS[experiment].first else "")


def _least_share(config: Config) -> float:
    """The share of samples that makes a mode or digit found, in this config's metric."""
    from mmgen.core.registry import build_metric

    metrics = [m for hook in config.custom_hooks if hook["type"] == "SampleMetrics" for m in hook["metrics"]]
    return getattr(build_metric(metrics[0]), "min_share", 0.0)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
