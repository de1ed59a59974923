"""The connection of Ray Tune and Optuna: Ray runs the trials, and the Optuna studies remember them."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from minmax_plugin.errors import is_full_disk
from minmax_plugin.secrets import hide
from minmax_tune.commit import code_commit
from minmax_tune.failures import FailureKind
from minmax_tune.memory import Ended, HeldStorage
from minmax_tune.pickling import EmptyPickle
from minmax_tune.queue import enqueue, fail
from minmax_tune.race import Race
from minmax_tune.samplers import as_sampled, make_sampler
from minmax_tune.scores import by_seed, summary
from minmax_tune.space.constraints import MAX_DRAWS
from minmax_tune.stopping import TIME_BUDGET, SearchStopper
from minmax_tune.study import REPORTS, STOP, Search, source
from minmax_tune.validation import COSTS

_REPEATED = object()  # what is found for a trial that needs no training
MAX_REDRAWS = 20  # in a row by the sampler, before points are drawn at random
MAX_INITIAL_FAILURES = 3  # as many failures and nothing else, earlier ones included, end a search


@dataclasses.dataclass
class _Running(EmptyPickle):
    study: str
    trial: optuna.Trial
    races: bool = False
    result: dict[str, Any] = dataclasses.field(default_factory=dict)  # the last; with its outcome once it has one
    steps: set[int] = dataclasses.field(default_factory=set)


class StudySearcher(EmptyPickle, Searcher):
    """Asks the studies of a search for trials by turns, and tells them how the trials went.

    A trial ends in its study in one of these states:

    - COMPLETE: it trained to its end;
    - PRUNED, with its intermediate values: stopped early by the scheduler, collapsed, or cut by the time budget;
    - FAIL: an exception, a loss or objective that is not finite, a dead worker or node, an interruption.

    ``reason`` in the user attributes says which. A trial reports ``outcome`` when it ends by itself (``complete``,
    ``collapsed`` or ``failed``). A trial that ends without one was stopped from outside.

    Args:
        record: The search.
        stopper: The stopper, which is told when the search has nothing more to gain.
    """

    def __init__(self, record: Search, stopper: SearchStopper) -> None:
        metric, mode = record.objectives[0]
        super().__init__(metric=metric, mode=mode)
        self._record, self._stopper = record, stopper
        self._running: dict[str, _Running] = {}
        self._first_failure, self._first_error = "", Path()
        self._failed = self._finished = 0
        self.out_of_memory: set[str] = set()  # ids of trials that Ray killed for it
        self.limit = sys.maxsize  # of trials asked for and not ended
        self._broken: Counter[str] = Counter()  # points in a row that broke a constraint, for each study
        self._skipped: Counter[str] = Counter()
        self._random = optuna.samplers.RandomSampler(seed=record.options.seed)
        storage = record.hold()
        if isinstance(storage, HeldStorage):
            storage.outages.stopped = lambda: stopper.reason is not None
        self._ended = {name: Ended() for name in record.studies}
        self._races: dict[str, Race] = {}
        if record.options.race:
            self._races = {name: Race(mode) for name in record.studies}
            stopper.judge = self._judge
        self._trained_by: dict[str, dict[str, FrozenTrial]] = {name: {} for name in record.studies}  # their settings
        self._asked: dict[str, optuna.Study] = {}  # the studies as their samplers see them
        for index, (name, study) in enumerate(record.studies.items()):
            study.sampler = make_sampler(record.options, index, len(study.get_trials(deepcopy=False)))
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if self._races else ():
                if "runs" in trial.user_attrs:
                    self._races[name].finish(trial.number, self._seed_scores(trial.user_attrs["runs"]))
            self._asked[name] = as_sampled(study, storage, record.space if "kinds" in record.stored() else None)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        def suggest() -> dict[str, Any] | str | None:
            while (found := self._suggest(trial_id)) is _REPEATED:
                pass
            return found

        return self._guarded(suggest, Searcher.FINISHED)

    def _suggest(self, trial_id: str) -> Any:
        record = self._record
        left = {name: record.remaining(name) for name in record.studies}
        if record.options.sampler == "grid":  # its points are queued
            for n, study in record.studies.items():
                left[n] = min(left[n], len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,))))
        name = max(left, key=lambda n: left[n])
        if left[name] == 0 or self._stopper.reason:
            return Searcher.FINISHED
        if len(self._running) >= self.limit:
            return None
        with record.written_whole():
            trial = self._ask(name)
            attrs, broken = trial.user_attrs, None
            try:
                if "confirms" in attrs:
                    settings: dict[str, Any] = attrs["confirms"]["settings"]
                elif attrs.get("baseline"):
                    record.space.note(trial)
                    settings = {}
                else:
                    settings = record.space.draw(trial)
                    broken = record.space.broken(trial.params)
                violations = record.space.violations(trial.params) if "confirms" not in attrs else {}
            except Exception as error:
                fail(record, name, trial.number, FailureKind.ERROR, f"the space failed: {error}")
                self._stopper.end(f"the space failed at trial {trial.number} of {name}: {error}")
                return Searcher.FINISHED
            if broken:
                return self._skip(name, trial, broken)
            self._broken[name] = 0
            for text, value in violations.items():
                trial.set_constraint(text, value)
            trial.set_user_attr("commit", code_commit())
            trial.set_user_attr("settings", settings)
            trial.set_user_attr("baseline", bool(attrs.get("baseline")))
            trial.set_user_attr("source", source(attrs) or "sampler")
        if record.options.duplicates == "copy" and (known := self._trained(name, settings)):
            self._repeat(name, trial, known)
            return _REPEATED
        # The unmodified config trains all seeds, because all others are compared with it.
        self._running[trial_id] = _Running(name, trial, races=name in self._races and not attrs.get("baseline"))
        self._stopper.requests[trial_id] = record.trial_folder(name, trial.number) / STOP
        return {
            "study": name,
            "number": trial.number,
            "params": trial.params,
            "settings": settings,
            "folder": record.trial_folder(name, trial.number),
            "runs": record.runs(name, trial.number, settings),
            "continues": self._continues(name, attrs),
        }

    def _ask(self, name: str) -> optuna.Trial:
        if self._broken[name] < MAX_REDRAWS:
            return self._asked[name].ask()
        asked = self._record.studies[name]  # a sampler that sees no failed trials may propose one point for ever
        return optuna.load_study(study_name=asked.study_name, storage=self._record.storage, sampler=self._random).ask()

    def _skip(self, name: str, trial: optuna.Trial, broken: str) -> Any:
        """Skip a point that breaks a hard constraint. What it left open of a queued point is drawn again."""
        attrs = dict(trial.user_attrs)
        self._record.skip(name, trial.number, f"it breaks the constraint {broken!r}")
        self._broken[name] += 1
        self._skipped[name] += 1
        if self._broken[name] == MAX_DRAWS:
            self._stopper.end(f"{MAX_DRAWS} points in a row broke a constraint of the space, the last one {broken!r}")
            return Searcher.FINISHED
        if (params := attrs.pop("queued", None)) is not None and params.keys() != trial.params.keys():
            enqueue(self._record.studies[name], params, **attrs)
        return _REPEATED

    def _trained(self, name: str, settings: dict[str, Any]) -> FrozenTrial | None:
        """Find a finished trial of these settings."""
        trained = self._trained_by[name]
        for trial in self._ended[name].update(self._record.studies[name].get_trials(deepcopy=False)):
            if trial.state == TrialState.COMPLETE and "runs" in trial.user_attrs:
                trained.setdefault(_text(trial.user_attrs["settings"]), trial)
        return trained.get(_text(settings))

    def _repeat(self, name: str, trial: optuna.Trial, known: FrozenTrial) -> None:
        """Give a trial the results of a finished one."""
        for attribute in ("runs", "scores", "interval", "metrics", "history"):
            if attribute in known.user_attrs:
                trial.set_user_attr(attribute, known.user_attrs[attribute])
        trial.set_user_attr("reason", f"trial {known.number} has the same settings, so it was not trained again")
        for step, value in known.intermediate_values.items():
            trial.report(value, step)
        self._record.studies[name].tell(trial, known.values)
        self._record.log(f"{name}: trial {trial.number} repeats trial {known.number}, and gets its results")

    def _continues(self, name: str, attrs: dict[str, Any]) -> Path | None:
        """Find the folder of the earlier attempt from which a retry resumes."""
        trials = self._record.studies[name].get_trials(deepcopy=False)
        while attrs.get("continues"):
            folder = self._record.trial_folder(name, attrs["retry_of"])
            if (folder / REPORTS).exists():
                return folder
            attrs = trials[attrs["retry_of"]].user_attrs
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._guarded(lambda: self._on_result(self._running[trial_id], result), None)

    def _on_result(self, running: _Running, result: dict[str, Any]) -> None:
        trial, value = running.trial, result.get(self.metric)
        running.result |= result
        if result.get("outcome") == "failed" or value is None or not math.isfinite(value):
            return
        points = [*result.get("earlier", []), [result["images"], value]]
        if len(self._record.objectives) > 1:  # Optuna keeps intermediate values of single objectives only
            history = trial.user_attrs.get("history", [])
            trial.set_user_attr("history", [*history, *(p for p in points if p not in history)])
            return
        for images, earlier in points:
            if int(images) not in running.steps:
                trial.report(float(earlier), step=int(images))
                running.steps.add(int(images))

    def _judge(self, trial_id: str, result: dict[str, Any]) -> str | None:
        """Say why a trial that has ended a round is to train no further, if it has lost the race."""
        running = self._running[trial_id]
        if not running.races or result["runs_ended"] < len(result["runs"]):
            return None
        return self._races[running.study].verdict(self._seed_scores(result["runs"]))

    def _seed_scores(self, runs: list[dict[str, Any]]) -> dict[int, float]:
        """Return the mean score of each seed that has been trained on all data sets."""
        count = len(self._record.bases) if self._record.options.layout == "shared" else 1
        return by_seed(runs[: len(runs) // count * count], self.metric)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._guarded(lambda: self._on_complete(trial_id, result or {}, error), None)

    def _on_complete(self, trial_id: str, result: dict[str, Any], error: bool) -> None:
        running = self._running.pop(trial_id)
        self._stopper.requests.pop(trial_id, None)
        name, trial = running.study, running.trial
        study, outcome, reason = self._record.studies[name], result.get("outcome"), result.get("reason")
        if "images" in result:  # Ray tells of the result at which a trial is stopped here alone
            self._on_result(running, result)
        self._keep(trial, running.result)
        values: list[Any] = [result.get(m, result.get(f"objectives/{m}")) for m, _ in self._record.objectives]
        bad = [(m, v) for (m, _), v in zip(self._record.objectives, values, strict=True) if not _finite(v)]
        self._finished += 1
        if trial_id in self.out_of_memory:
            self._fail(
                name, trial, FailureKind.OUT_OF_MEMORY, "out of memory: Ray killed its worker when the node ran low"
            )
        elif error:
            times = self._record.options.max_failures + 1
            said = "its worker or node died" + (f", {times} times in all" if times > 1 else "")
            self._fail(name, trial, FailureKind.WORKER_DIED, said)
        elif outcome == "failed":
            kind = FailureKind(result["failure"])
            self._fail(name, trial, kind, str(reason))
            if kind.fatal:
                self._stopper.end(str(reason))
        elif outcome == "collapsed":
            self._prune(name, trial, str(reason))
        elif outcome == "complete" and bad:
            self._fail(name, trial, FailureKind.DIVERGED, f"the objective {bad[0][0]!r} ended as {bad[0][1]!r}")
        elif outcome == "complete":
            study.tell(trial, [float(v) for v in values])
            if name in self._races:
                self._races[name].finish(trial.number, self._seed_scores(result["runs"]))
        else:
            images, by = result.get("images", 0), f"early by {self._record.options.scheduler}"
            if trial_id in self._stopper.lost:
                by = f"early by the race, {self._stopper.lost[trial_id]},"
            elif trial_id in self._stopper.timed_out:
                by = f"after its time of {self._record.options.trial_time:g} s"
            elif trial_id in self._stopper.stopped_by:
                by = f"by {self._stopper.stopped_by[trial_id]}"
            self._prune(name, trial, f"stopped {by} at {images} images")

    def close(self, reason: str | None) -> None:
        """End the trials that still run in their studies, because the search ends before they do."""
        reason = reason or FailureKind.INTERRUPTED
        for trial_id, running in list(self._running.items()):
            if "outcome" in running.result:
                self.on_trial_complete(trial_id, running.result)
            else:
                self._guarded(functools.partial(self._cut, running, reason), None)
        self._running.clear()
        for name, skipped in self._skipped.items():
            self._record.log(f"{name}: {skipped} points broke a constraint, and others were drawn in their place")

    def _cut(self, running: _Running, reason: str) -> None:
        folder = self._record.trial_folder(running.study, running.trial.number)
        self._keep(running.trial, running.result)
        begun = (folder / REPORTS).exists()
        if begun and reason == TIME_BUDGET:
            self._prune(running.study, running.trial, reason)
            return
        kind = FailureKind.INTERRUPTED if begun else FailureKind.NOT_STARTED
        fail(self._record, running.study, running.trial.number, kind, f"{kind}: {reason}")

    def _keep(self, trial: optuna.Trial, result: dict[str, Any]) -> None:
        runs = result.get("runs", [])
        if not runs:
            return
        kept = summary(runs, self.metric)
        kept["metrics"] |= {cost: result[cost] for cost in COSTS}
        for key, value in kept.items():
            if value is not None:  # of one seed there is no interval
                trial.set_user_attr(key, value)

    def _prune(self, name: str, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", hide(reason))
        self._record.studies[name].tell(trial, state=TrialState.PRUNED)

    def _fail(self, name: str, trial: optuna.Trial, kind: FailureKind, reason: str) -> None:
        fail(self._record, name, trial.number, kind, reason)
        if not self._failed:
            self._first_error = self._record.trial_folder(name, trial.number) / "error.txt"
            self._first_failure = f"{name} trial {trial.number}: {reason}"
        self._failed += 1
        trials = self._record.options.num_samples * len(self._record.studies)
        if self._failed == self._finished >= min(MAX_INITIAL_FAILURES, trials) and not self._record.any_succeeded():
            self._stopper.end(f"nothing but failures: {self._first_failure}", self._first_error)

    def _guarded(self, action: Callable[[], Any], otherwise: Any) -> Any:
        """Run an action. A storage that fails ends the search, and Ray stops its trials in order."""
        try:
            return action()
        except Exception as error:
            if is_full_disk(error):
                self._stopper.end(f"{FailureKind.DISK_FULL}: make room")
            self._stopper.end(f"the search's storage failed: {type(error).__name__}: {' '.join(str(error).split())}")
            return otherwise

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("{}")  # the studies are the memory; nothing is read back

    def restore(self, checkpoint_path: str) -> None:
        pass


def _text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
