"""What a search leaves behind: tables, plots and the best configs, rebuilt from the studies after every trial."""

from __future__ import annotations

import json
import shlex
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas
from optuna.trial import FrozenTrial, TrialState

from tune.record import SearchRecord


class Report:
    """Writes the results of a search into its folder.

    ``trials.csv``, ``trials.json``, ``leaderboard.md``; ``best/STUDY/`` with ``config.py``, ``params.json``,
    ``command.txt`` and the last samples; ``plots/``; ``samples.png``, the best of each study side by side.

    Args:
        record: the search.
    """

    def __init__(self, record: SearchRecord) -> None:
        self._record, self._folder, self._studies = record, record.folder, record.studies
        self._metric = record.objectives[0][0]
        self._seed = record.options.seed

    def finish(self) -> None:
        """Write everything, pictures too; at the end of a search."""
        self.write()
        self.plot()

    def write(self) -> None:
        """Write tables and the best configs."""
        rows = [self._row(name, trial) for name, study in self._studies.items() for trial in study.get_trials()]
        table = pandas.DataFrame(rows)
        table.to_csv(self._folder / "trials.csv", index=False)
        table.to_json(self._folder / "trials.json", orient="records", indent=2)
        (self._folder / "leaderboard.md").write_text(self.leaderboard() + "\n")
        for name, study in self._studies.items():
            if _complete(study):
                self._write_best(name, study.best_trial)

    def plot(self) -> None:
        """Draw the plots and the samples of the best; slower than :meth:`write`, so done once, at the end."""
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as plots

        folder = self._folder / "plots"
        folder.mkdir(exist_ok=True)
        pyplot.switch_backend("agg")
        for name, study in self._studies.items():
            if not _complete(study):
                continue
            drawings: dict[str, Any] = {"history": plots.plot_optimization_history}
            if len({repr(t.params) for t in _complete(study)}) > 2:
                drawings["parallel_coordinate"] = plots.plot_parallel_coordinate
                drawings["importances"] = lambda study: plots.plot_param_importances(
                    study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
                )
            for kind, draw in drawings.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Optuna marks its matplotlib backend as experimental
                    try:
                        draw(study)
                    except (ValueError, RuntimeError) as error:  # too few trials that share a parameter
                        (folder / f"{name}_{kind}.txt").write_text(f"not drawn: {error}\n")
                        continue
                pyplot.savefig(folder / f"{name}_{kind}.png", bbox_inches="tight", dpi=100)
                pyplot.close("all")
        self._draw_samples()

    def leaderboard(self) -> str:
        """A Markdown table: the trials of each study, best first."""
        lines = [
            f"| data set | trial | {self._metric} | state | settings |",
            "|---|---|---|---|---|",
        ]
        for name, study in self._studies.items():
            sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
            ranked = sorted(study.get_trials(), key=lambda t: (t.value is None, sign * (t.value or 0), t.number))
            for trial in ranked:
                value = "–" if trial.value is None else f"{trial.value:.4f}"
                settings = "as in the config" if trial.user_attrs.get("baseline") else _format(trial.params)
                note = trial.user_attrs.get("reason")
                state = trial.state.name.lower() + (f": {note}" if note else "")
                lines.append(f"| {name} | {trial.number} | {value} | {state} | {settings} |")
        return "\n".join(lines)

    def _row(self, name: str, trial: FrozenTrial) -> dict[str, Any]:
        attrs = trial.user_attrs
        return {
            "study": name,
            "trial": trial.number,
            "state": trial.state.name,
            self._metric: trial.value,
            **trial.params,
            **{f"metrics/{key}": value for key, value in attrs.get("metrics", {}).items()},
            "seed": self._seed,
            "baseline": attrs.get("baseline"),
            "reason": attrs.get("reason"),
            "folder": str(self._record.trial_folder(name, trial.number)),
        }

    def _write_best(self, name: str, best: FrozenTrial) -> None:
        folder = self._folder / "best" / name
        folder.mkdir(parents=True, exist_ok=True)
        self._record.config(name, best).dump(str(folder / "config.py"))
        params = {"trial": best.number, "value": best.value, "seed": self._seed, "params": best.params}
        (folder / "params.json").write_text(json.dumps(params, indent=2) + "\n")
        command = ["minmax-train", folder / "config.py", "--seed", self._seed, "--work-dir", folder / "run"]
        (folder / "command.txt").write_text(shlex.join(map(str, command)) + "\n")
        samples = self._last_samples(name, best)
        if samples:
            shutil.copy(samples, folder / "samples.png")

    def _last_samples(self, name: str, trial: FrozenTrial) -> Path | None:
        folder = self._record.trial_folder(name, trial.number) / "samples"
        pictures = sorted(folder.glob("iter_*.png"), key=lambda p: int(p.stem.removeprefix("iter_")))
        return pictures[-1] if pictures else None

    def _draw_samples(self) -> None:
        from matplotlib import pyplot

        shown = [(n, s.best_trial) for n, s in self._studies.items() if _complete(s)]
        pictures = [(n, t, p) for n, t in shown if (p := self._last_samples(n, t)) is not None]
        if not pictures:
            return
        figure, axes = pyplot.subplots(1, len(pictures), figsize=(4 * len(pictures), 4.3), squeeze=False)
        for axis, (name, trial, picture) in zip(axes[0], pictures, strict=True):
            axis.imshow(pyplot.imread(picture))
            axis.set_title(f"{name}\ntrial {trial.number}: {self._metric} {trial.value:.3f}", fontsize=10)
            axis.axis("off")
        figure.savefig(self._folder / "samples.png", bbox_inches="tight", dpi=100)
        pyplot.close(figure)


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _format(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
