"""The trials of a study besides its sampler's proposals. The study itself queues them, so that none is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from minmax_plugin.errors import ConfigError, SpaceError
from minmax_plugin.hosts import Config
from minmax_plugin.secrets import hide
from minmax_tune.failures import FailureKind, is_retryable
from minmax_tune.memory import is_skipped
from minmax_tune.space.renamed import by_present_paths
from minmax_tune.space.space import Space
from minmax_tune.study import Search, source

WARM = "warm start"
WARM_POINTS = f"{WARM}: points"  # kept in the study, because the other search may be deleted
MOST_POINTS = 10_000  # of a grid


def plan(record: Search, configs: Mapping[str, Config]) -> None:
    """Queue the first trials of a search: the unmodified config, the points, another search's best, the grid.

    A trial that is queued already is skipped, because a search may be killed while it is planned, or be extended.

    Args:
        record: The search.
        configs: The merged base configs, by name.
    """
    options = record.options
    for name, study in record.studies.items():
        trials = [trial for trial in study.get_trials(deepcopy=False) if not is_skipped(trial)]
        known = [(source(trial.user_attrs), trial.user_attrs.get("queued")) for trial in trials]
        queue: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if options.baseline:
            shared = options.layout == "shared"
            queue.append(baseline(record.space, list(configs.values()) if shared else [configs[name]]))
        queue += [(point, {"source": "point"}) for point in record.space.points]
        if options.warm_start and WARM_POINTS not in study.user_attrs:
            study.set_user_attr(WARM_POINTS, warm_points(record, name, _earlier(options.warm_start)))
        warm = study.user_attrs.get(WARM_POINTS, [])  # perhaps of an earlier space
        queue += [(params, {"source": source(a)}) for params, a in warm if not record.space.validation_error(params)]
        for params, attrs in queue[: options.num_samples]:
            tried = [known_params for its_source, known_params in known if its_source == attrs["source"]]
            # there is one unmodified config, though a later version may express it by other parameters
            if params not in tried and not (tried and attrs["source"] == "baseline"):
                enqueue(study, params, **attrs)
        if options.sampler == "grid":
            queue_grid(record, name)


def baseline(space: Space, configs: Sequence[Config]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make trial 0: the config as it is, with its values that the space can express and several configs share."""
    first, *others = (space.baseline(cfg) for cfg in configs)
    params = {name: value for name, value in first.items() if all(o.get(name) == value for o in others)}
    return params, {"source": "baseline", "baseline": True, "partial": not space.is_whole(params)}


def warm_points(record: Search, name: str, earlier: Search) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the best parameters of each study of another search, with the study of the same name first."""
    points: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for other in sorted(earlier.studies, key=lambda other: other != name):
        for best in earlier.studies[other].best_trials[:3]:  # of one objective, those that share the best value
            partial, params = best.user_attrs.get("partial"), by_present_paths(best.params)
            problem = "it is the unmodified config" if partial else record.space.validation_error(params)
            if problem:
                record.log(f"{name}: warm start passes over trial {best.number} of {other}: {problem}")
            elif params not in [known for known, _ in points]:
                points.append((params, {"source": f"{WARM}: {other} trial {best.number}"}))
    return points


def queue_grid(record: Search, name: str) -> None:
    """Queue the points of the grid that the study lacks, as many as it has trials left."""
    study = record.studies[name]
    trials = [trial for trial in study.get_trials(deepcopy=False) if not is_skipped(trial)]
    tried = [t.params or t.user_attrs.get("queued") for t in trials]
    waiting = sum(t.state == TrialState.WAITING for t in trials)
    fresh = [point for point in grid(record.space, record.options.seed) if point not in tried]
    room = record.remaining(name) - waiting
    for point in fresh[: max(0, room)]:
        enqueue(study, point, source="grid")
    if len(fresh) < room:
        record.log(f"{name}: the grid has no more points; {room - len(fresh)} trials fewer than asked for")


def grid(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return all points of a finite space, in a shuffled order.

    Raises:
        ConfigError: If the space is not finite.

    Examples:
        >>> space = Space.load({"space": {"optimizer.generator.lr": dict(type="choice", options=[0.1, 0.2])}})
        >>> len(grid(space, seed=0))
        2
    """
    study = optuna.create_study(sampler=_Grid(seed=seed))
    problems: list[Exception] = []

    def visit(trial: optuna.Trial) -> float:
        try:
            space.draw(trial)
        except (ConfigError, SpaceError) as error:  # Optuna would show its traceback
            problems.append(error)
            study.stop()
        return 0.0

    study.optimize(visit, n_trials=MOST_POINTS)  # it stops by itself after the last point
    for problem in problems:  # of a Python space as the cause
        raise problem.__cause__ if isinstance(problem.__cause__, ConfigError) else problem
    return [t.params for t in study.get_trials(deepcopy=False) if not space.broken(t.params)]


class _Grid(optuna.samplers.BruteForceSampler):
    """Visits each point, and refuses a parameter of too many values before it lists them."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        low, high, step = (getattr(param_distribution, name, 0) for name in ("low", "high", "step"))
        if step is None:
            raise ConfigError("--sampler grid needs a step for each float of the space, or choices in its place.")
        if step and (high - low) / step >= MOST_POINTS:
            raise ConfigError(f"--sampler grid: {param_name} has over {MOST_POINTS} values; give it a larger step.")
        return super().sample_independent(study, trial, param_name, param_distribution)


def reconcile(record: Search) -> int:
    """Mark the trials that a killed search left running as failed, and queue trials again that failed without fault.

    A trial that is COMPLETE in its study is finished, even if other records differ. It is not run again.

    Returns:
        The number of trials queued again.
    """
    queued = 0
    for name, study in record.studies.items():
        for trial in record.counted(name):
            retryable = trial.state == TrialState.FAIL and is_retryable(trial.user_attrs)
            if trial.state == TrialState.RUNNING or retryable:
                retry(study, trial, continues=True)
                queued += 1
        # also those whose retry was queued just before the search was killed
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            fail(record, name, trial.number, FailureKind.SEARCH_KILLED, FailureKind.SEARCH_KILLED)
    return queued


def withdraw(record: Search, grid: bool) -> int:
    """Skip the trials in the queue that the present space would not draw as they were meant.

    Args:
        record: The search.
        grid: Whether the points of a grid are skipped too, because its sampler has been replaced.

    Returns:
        The number of trials skipped.
    """
    withdrawn = 0
    for name, study in record.studies.items():
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state != TrialState.WAITING or trial.user_attrs.get("baseline"):
                continue
            params, again = trial.user_attrs.get("queued", {}), trial.user_attrs.get("retry_of")
            unfit = bool(record.space.validation_error(params))
            if not unfit and again is not None:  # it may continue from a checkpoint of its settings
                found = record.space.at(params)
                unfit = (found and found[0]) != by_present_paths(trials[again].user_attrs.get("settings", {}))
            if unfit or (grid and source(trial.user_attrs) == "grid"):
                record.skip(name, trial.number, "withdrawn from the queue: the search has another space or sampler")
                withdrawn += 1
    return withdrawn


def retry_errored(record: Search) -> int:
    """Queue failed trials again, from their beginning.

    Returns:
        The number of trials queued again.
    """
    failed = [(s, t) for n, s in record.studies.items() for t in record.counted(n) if t.state == TrialState.FAIL]
    for study, trial in failed:
        retry(study, trial, continues=False)
    return len(failed)


def retry(study: optuna.Study, trial: FrozenTrial, continues: bool) -> None:
    """Queue a trial again: a new trial of the same parameters, linked by ``retry_of``.

    Args:
        study: The study of the trial.
        trial: The trial that is replaced.
        continues: Whether the new trial resumes from the old one's last checkpoint.
    """
    kept = {k: trial.user_attrs[k] for k in ("baseline", "partial", "confirms") if k in trial.user_attrs}
    # A trial that was killed while it was being sampled may have its params in its queue entry alone.
    params = trial.params or trial.user_attrs.get("queued", {})
    enqueue(study, params, **kept, source="retry", retry_of=trial.number, continues=continues)


def enqueue(study: optuna.Study, params: dict[str, Any], **attrs: Any) -> None:
    """Queue a trial, with user attributes. Parameters that are not in ``params`` are sampled."""
    study.enqueue_trial(params, user_attrs={**attrs, "queued": params})


def fail(record: Search, study: str, number: int, kind: FailureKind, reason: str) -> None:
    """Tell a study that a trial failed, and why: a kind for the program, a sentence for people."""
    record.set_attribute(study, number, "failure", kind.value)
    record.set_attribute(study, number, "reason", hide(reason))
    record.studies[study].tell(number, state=TrialState.FAIL)


def _earlier(folder: str) -> Search:
    try:
        return Search.open(folder)
    except ConfigError as error:
        raise ConfigError(f"--warm-start: {error}") from error
