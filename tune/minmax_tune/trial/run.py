"""One trial: the toolkit's own training of one sampled config, or of several, reporting to Ray Tune as it goes."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import math
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from minmax_plugin.errors import is_full_disk
from minmax_plugin.hosts import Config, Host, host_of, load_config
from minmax_plugin.recorder import truncate_lines
from minmax_plugin.secrets import hide
from minmax_tune.addresses import know
from minmax_tune.failures import FailureKind
from minmax_tune.files import write_text
from minmax_tune.space.paths import trial_config
from minmax_tune.study import REPORTS, STOP, Run
from minmax_tune.trial.distributed import own_share, side_by_side, train_apart
from minmax_tune.trial.files import config_text, numbered

COLLAPSE = 3  # measurements in a row


class Collapsed(Exception):
    """An objective that stays worse than the limit."""


class NeverMeasured(Exception):
    """A training that ended without its objective."""


@dataclasses.dataclass
class TrialRunner:
    """A trial at work: trains its runs, one after the other or in rounds, and scores it by their mean.

    The runs of a round train side by side, each in a separate process. ``images`` and ``seconds`` count over all
    runs, and continue from their values after a restart. So trials compare on an equal resource. Its arguments are
    part of Ray's config of the trial.

    Args:
        folder: The folder of the trial.
        runs: The trainings of the trial.
        bases: The base configs' files by name.
        settings: The settings that override them, by path.
        objectives: The objectives as (metric, mode), the primary one first.
        collapse_below: The limit of the primary objective. A trial must not stay worse.
        cpus: The CPU cores of each training.
        gpus: The GPUs of each training. With several, it runs in as many processes.
        at_once: The number of runs in a round.
    """

    folder: Path
    runs: list[Run]
    bases: dict[str, str]
    settings: dict[str, Any]
    objectives: list[tuple[str, str]]
    collapse_below: float | None = None
    cpus: float = 1
    gpus: float = 0
    at_once: int = 1

    def __post_init__(self) -> None:
        self.metric, self.mode = self.objectives[0]
        self.measured: dict[int, dict[str, float]] = {}  # each run's last metrics
        self.images: dict[int, int] = {}  # of each run
        self.seconds: dict[int, float] = {}
        self.ended: set[int] = set()  # runs
        self.reported: dict[str, Any] = {}
        self._earlier: list[list[float]] = []  # what was measured before a restart, to be reported again
        self._start: dict[int, float] = {}  # of each run at work, as if it had not been interrupted

    def train(self) -> None:
        """Train the runs that are not yet trained, and report the trial complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / REPORTS
        path.touch()
        truncate_lines(path, lambda line: True)  # a killed worker may leave half a line
        for index in range(len(self.runs)):
            self._recall(index)
        left = [index for index in range(len(self.runs)) if index not in self.ended]
        for start in range(0, len(left), self.at_once):
            self._train(left[start : start + self.at_once])
        if self.reported.get("outcome") != "complete":  # its last report was lost with its driver
            self._earlier = self._points()
            last = self._lines()[-1]
            self._report(last["run"], last["iteration"], last=True)

    def on_measure(self, index: int, metrics: dict[str, float], iterations: int, images: int, last: bool) -> None:
        """Report a measurement of a run at work.

        Args:
            index: The place of the run in ``runs``.
            metrics: The metrics by name.
            iterations: The iterations of this run so far.
            images: The number of real images that this run has seen.
            last: Whether the run ends here.

        Raises:
            Collapsed: If too many measurements in a row were worse than the limit.
        """
        self.measured[index], self.images[index] = metrics, images
        self.seconds[index] = time.monotonic() - self._start[index]
        self._report(index, iterations, last)
        if self.collapse_below is None:
            return
        sign, worse = (1, "below") if self.mode == "max" else (-1, "above")
        values = [sign * line["metrics"][self.metric] for line in self._lines(index)[-COLLAPSE:]]
        if len(values) == COLLAPSE and all(value < sign * self.collapse_below for value in values):
            raise Collapsed(
                f"collapsed: {self.metric} was {worse} {self.collapse_below} in {COLLAPSE} measurements in a row"
            )

    def end(self, outcome: str, reason: str, **more: Any) -> None:
        """Report how the trial ended, other than by completing."""
        tune.report({**self.reported, "outcome": outcome, "reason": hide(reason), **more})

    def _report(self, index: int, iterations: int, last: bool) -> None:
        metrics = self.measured[index]
        images, seconds = sum(self.images.values()), sum(self.seconds.values())
        scores = {name: self._mean(name) for name, _ in self.objectives}
        scores |= {name: value for name, value in (("images", images), ("seconds", seconds)) if name in scores}
        line = {
            "run": index,
            "iteration": iterations,
            "images": images,
            "seconds": seconds,
            "of_run": [self.images[index], self.seconds[index]],
            "score": scores[self.metric] if math.isfinite(scores[self.metric]) else None,
            "ended": last,
            "metrics": metrics,
        }
        with open(self.folder / REPORTS, "a") as file:
            file.write(json.dumps(line) + "\n")
        if last:
            self.ended.add(index)
        earlier, self._earlier = self._earlier, []
        self.reported = {
            **line,
            self.metric: scores[self.metric],
            "objectives": scores,
            "timesteps_total": images,  # the step of TensorBoard's logs
            "runs": [
                {"base": self.runs[i].base, "seed": self.runs[i].seed, "metrics": m}
                for i, m in sorted(self.measured.items())
            ],
            "runs_ended": len(self.ended),
        }
        if len(self.ended) == len(self.runs):
            self.reported["outcome"] = "complete"
        began = time.monotonic()
        tune.report({**self.reported, "earlier": earlier})
        waited = time.monotonic() - began  # the search may have waited for its database
        self._start = {i: start + waited for i, start in self._start.items()}

    def _mean(self, metric: str) -> float:
        values = [m.get(metric, math.nan) for m in self.measured.values()]
        return sum(values) / len(values)

    def _train(self, indices: list[int]) -> None:
        """Train the runs of a round."""
        prepared = {index: self._prepare(index) for index in indices}
        self._earlier = self._points()
        self._start = {index: time.monotonic() - self.seconds.get(index, 0.0) for index in indices}
        # Not the folder that Ray has for the trial, because a warm worker keeps that of its first trial.
        if len(indices) == 1 and self.gpus <= 1:
            (index,), run = indices, self.runs[indices[0]]
            cfg, checkpoint = prepared[index]
            host_of(cfg).train(cfg, run.folder, run.seed, checkpoint, _RunReporter(self, index))
        else:
            trainings, processes = {}, max(1, int(self.gpus))
            for place, (index, (cfg, checkpoint)) in enumerate(prepared.items()):
                run = self.runs[index]
                share = own_share(place, self.cpus, self.gpus) if len(indices) > 1 else None
                trainings[index] = train_apart(cfg, run.folder, run.seed, checkpoint, self.metric, processes, share)
            with contextlib.closing(side_by_side(trainings)) as watched:  # an error in here would keep it alive
                for index, measured in watched:
                    self.on_measure(index, **measured)
        for index in indices:
            if not (own := self._lines(index)):
                raise NeverMeasured(
                    f"the objective {self.metric!r} was never measured in {self.runs[index].base}: name another with "
                    "--metric, or give the config a hook that measures it"
                )
            if index not in self.ended:  # a hook that does not measure after the last iteration
                self._report(index, own[-1]["iteration"], last=True)

    def _prepare(self, index: int) -> tuple[Config, Path | None]:
        """Make the config of a run, find its last checkpoint, and forget what was measured after that."""
        run = self.runs[index]
        cfg = trial_config(load_config(self.bases[run.base]), self.settings)
        host = host_of(cfg)
        checkpoint = last_checkpoint(host, run.folder, before=host.iterations(cfg))
        reached = 0 if checkpoint is None else _iteration(checkpoint)
        truncate_lines(self.folder / REPORTS, lambda line: line["run"] != index or line["iteration"] <= reached)
        self._recall(index)
        return cfg, checkpoint

    def _recall(self, index: int) -> None:
        """Take what a run has measured and used so far from the trial's reports."""
        own = self._lines(index)
        if not own:
            for kept in (self.measured, self.images, self.seconds):
                kept.pop(index, None)
            return
        last, before = own[-1], self._lines(index - 1)[-1:]
        self.measured[index] = last["metrics"]
        # Version 0.1.0 trained one run after the other, and wrote the sums over them alone.
        images, seconds = (last[k] - sum(line[k] for line in before) for k in ("images", "seconds"))
        self.images[index], self.seconds[index] = last.get("of_run", (images, seconds))
        if last["ended"]:
            self.ended.add(index)

    def _lines(self, index: int | None = None) -> list[dict[str, Any]]:
        """Read the trial's reports, or those of one run."""
        lines = map(json.loads, (self.folder / REPORTS).read_text().splitlines())
        return [line for line in lines if index in (None, line["run"])]

    def _points(self) -> list[list[float]]:
        return [[line["images"], line["score"]] for line in self._lines() if line["score"] is not None]


@dataclasses.dataclass
class _RunReporter:
    """The :class:`~minmax_plugin.hosts.Reporter` of one run in the trial's own process."""

    trial: TrialRunner
    index: int

    def __post_init__(self) -> None:
        self.metric = self.trial.metric

    def on_iteration(self) -> None:
        """Nothing ends a training in this process but an exception."""

    def on_measure(self, *measured: Any, **more: Any) -> None:
        self.trial.on_measure(self.index, *measured, **more)


def run_trial(config: dict[str, Any]) -> None:
    """Ray Tune's trainable: trains the base configs with the settings ``config["settings"]``.

    An exception of the training is reported, not raised. Only a worker that dies is an error to Ray, which starts it
    again.
    """
    for address in config["addresses"]:
        know(address)  # so that what this process writes shows no password of theirs
    torch.set_num_threads(max(1, int(config["cpus"])))
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what an earlier trial of this worker may have left
    runner = TrialRunner(**{field.name: config[field.name] for field in dataclasses.fields(TrialRunner)})
    try:
        copy_attempt(config["continues"], runner.folder)
        runner.train()
    except Collapsed as error:
        runner.end("collapsed", str(error))
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk may be full
            (runner.folder / "error.txt").write_text(hide(traceback.format_exc()))
        if "CUDA error" in str(error):  # the process can use its GPU no more: Ray starts another
            os._exit(1)
        kind, reason = diagnose(error, runner.folder)
        runner.end("failed", reason, failure=kind.value)
    finally:
        write_configs(config)


def write_configs(config: dict[str, Any]) -> None:
    """Write the configs that a trial trained into its folder, one for each data set, ready for ``minmax-train``."""
    with contextlib.suppress(OSError):  # the search writes what is missing
        for base in {run.base for run in config["runs"]}:
            cfg = trial_config(load_config(config["bases"][base]), config["settings"])
            text = config_text(config["study"], config["number"], cfg)
            write_text(config["folder"] / f"{base}.py", text)


def diagnose(error: Exception, folder: Path) -> tuple[FailureKind, str]:
    """Tell why a trial failed: the kind of failure, and a line for people.

    Examples:
        >>> diagnose(ValueError("lr must be above 0"), Path())[1]
        'ValueError: lr must be above 0'
        >>> diagnose(RuntimeError("CUDA out of memory. Tried to allocate"), Path())[1]
        'out of memory: CUDA out of memory. Tried to allocate'
    """
    text = " ".join(str(error).split())
    if isinstance(error, NeverMeasured):
        return FailureKind.NOT_MEASURED, text
    if isinstance(error, FloatingPointError):
        kind = FailureKind.DIVERGED
    elif isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        kind = FailureKind.OUT_OF_MEMORY
    elif is_full_disk(error) or (folder.exists() and shutil.disk_usage(folder).free < 2**16):
        kind = FailureKind.DISK_FULL
    else:
        return FailureKind.ERROR, f"{type(error).__name__}: {text}".removesuffix(": ")
    return kind, f"{kind}: {text}".removesuffix(": ")


def last_checkpoint(host: Host, folder: Path, before: int) -> Path | None:
    """Find the newest intact checkpoint of a run, of an iteration earlier than ``before``."""
    for path in reversed(numbered(folder, "**/iter_*.pth")):
        if _iteration(path) < before and host.is_intact(path):
            return path
    return None


def copy_attempt(earlier: Path | None, folder: Path) -> None:
    """Copy the files of an earlier attempt at the same trial, unless that has been done."""
    if earlier is None or not earlier.exists() or (folder / REPORTS).exists():
        return
    # latest.pth is a link, of no use here, and would block a second copy.
    skip = (
        STOP,
        "error.txt",
        "error.pkl",
        "events.*",
        "params.*",
        "progress.csv",
        "result.json",
        "latest.pth",
        REPORTS,
    )
    shutil.copytree(earlier, folder, ignore=shutil.ignore_patterns(*skip), symlinks=True, dirs_exist_ok=True)
    # The reports come last and whole, because they mark that it has been done.
    partial = shutil.copy2(earlier / REPORTS, folder / f"{REPORTS}.tmp")
    os.replace(partial, folder / REPORTS)


def _iteration(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("iter_"))
