"""Runs a search: starts or joins Ray, lets Tune run the trials, and ends in order for any reason."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock, Timeout
from ray import tune

from minmax_plugin.errors import ClusterError, ConfigError
from minmax_plugin.hosts import host_of
from minmax_plugin.secrets import hide
from minmax_tune.files import writing
from minmax_tune.folders import LOCK
from minmax_tune.machine import count_cores, socket_folder
from minmax_tune.nodes import check_nodes, source_folders
from minmax_tune.options import Options
from minmax_tune.schedulers import make_scheduler
from minmax_tune.searcher import StudySearcher
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import TRIALS, Search
from minmax_tune.trial.run import run_trial

# Ray's own snapshots of a search, which nothing reads: where the disk is full, each is a traceback.
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)

ZERO_GPUS = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
ATTEMPTS = 3  # to start a node
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run(record: Search, callbacks: Sequence[tune.Callback], stopper: SearchStopper) -> None:
    """Run the trials of a search that are left.

    Args:
        record: The search.
        callbacks: Callbacks of Ray Tune. They see each trial start, report and end.
        stopper: The stopper, which says why the search ended before its last trial.

    Raises:
        ConfigError: If the cluster cannot be reached, or cannot hold a trial.
    """
    options = record.options
    searcher = StudySearcher(record, stopper)
    sizes = {n: host_of(cfg).iterations(cfg) * host_of(cfg).batch_size(cfg) for n, cfg in record.configs.items()}
    images = {  # of a trial of each study; a batch for each process
        name: options.processes * sum(sizes[run.base] for run in record.runs(name, 0)) for name in record.studies
    }
    connect(options.address)
    try:
        gpus = gpus_per_trial(options)
        fitting, most = count_slots(record, gpus), options.max_concurrent or sys.maxsize
        at_once = runs_at_once(record, fitting, gpus)
        slots = sum(fit // at_once for fit in fitting)
        searcher.limit = min(slots + 1, most)  # one is asked for ahead, so that a free worker does not wait
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(slots, most))  # they start together, not one by one
        tuner = tune.Tuner(
            tune.with_resources(run_trial, {"cpu": options.cpus_per_trial * at_once, "gpu": gpus * at_once}),
            param_space={
                "bases": record.bases,
                "objectives": record.objectives,
                "collapse_below": options.collapse_below,
                "cpus": options.cpus_per_trial,
                "gpus": gpus,
                "at_once": at_once,
                "addresses": [address for address in (options.storage, options.mlflow) if address],
            },
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=make_scheduler(options, images, record.studies, searcher.out_of_memory.add),
                num_samples=-1,  # the searcher knows when it has finished
                reuse_actors=not options.fresh_workers,
                trial_dirname_creator=_name,
                trial_name_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=TRIALS,
                storage_path=str(record.folder),
                callbacks=list(callbacks),
                failure_config=tune.FailureConfig(max_failures=options.max_failures),
                stop=stopper,
                verbose=0,
            ),
        )
        with signals_end(stopper):
            tuner.fit()
    finally:
        try:
            searcher.close(stopper.reason)
        finally:
            ray.shutdown()


def _name(trial: Any) -> str:
    return f"{trial.config['study']}_{trial.config['number']}"


def connect(address: str) -> None:
    """Start Ray on this machine, or join the cluster at ``address``.

    Raises:
        ConfigError: If there is no cluster.
    """
    local = address == "local"
    if local:  # it listens on this machine alone
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    path = os.pathsep.join(filter(None, [*source_folders(), os.environ.get("PYTHONPATH")]))
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit():  # Ray itself tries for minutes where nothing listens
            socket.create_connection((host.rpartition("/")[2], int(port)), timeout=10).close()
        init_ray(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": path, ZERO_GPUS: os.environ[ZERO_GPUS]}},
            **({"include_dashboard": False, "num_cpus": count_cores(), "_temp_dir": socket_folder()} if local else {}),
        )
    except (OSError, RuntimeError, ValueError) as error:
        if local:
            raise
        raise ConfigError(
            f"--address={address!r}: no Ray cluster can be reached there (--address local takes this machine alone): "
            f"{hide(' '.join(str(error).split()))}"
        ) from error


def init_ray(**options: Any) -> None:
    """Call ``ray.init``, and try again where a node of this machine did not start in time.

    Ray gives the agents of a node 15 s to start, with no way to change that. A machine that stalls for a moment, or is
    very busy, takes longer.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray has no type for it
            if attempt == ATTEMPTS or "timed out during startup" not in str(error):
                raise


def gpus_per_trial(options: Options) -> float:
    """Return the GPUs of a trial: the number asked for, or one where there are any."""
    if options.gpus_per_trial is not None:
        return options.gpus_per_trial
    return float(any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"]))


def count_slots(record: Search, gpus: float) -> list[int]:
    """Count the trainings, with ``gpus`` GPUs each, that fit at a time.

    Returns:
        The number on each node that has room for one.

    Raises:
        ConfigError: If none fits, or the nodes of a cluster differ.
    """
    options = record.options
    wanted = {"CPU": options.cpus_per_trial, "GPU": gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = [
        min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in wanted.items() if amount > 0) for node in nodes
    ]
    if not sum(fitting):
        most = {kind: max(node.get(kind, 0) for node in nodes) for kind in wanted}
        raise ConfigError(
            f"--cpus-per-trial={options.cpus_per_trial} --gpus-per-trial={gpus:g} fits no node of the "
            f"cluster; the largest has {most['CPU']:g} CPUs and {most['GPU']:g} GPUs."
        )
    if options.address != "local":
        try:
            check_nodes(record.folder)
        except ClusterError as error:
            raise ConfigError(str(error)) from error
    return [fits for fits in fitting if fits]


def runs_at_once(record: Search, fitting: Sequence[int], gpus: float) -> int:
    """Count the runs of a trial that train side by side: more than one where there would be idle workers else.

    Args:
        record: The search.
        fitting: The trainings that fit at a time, on each node.
        gpus: The GPUs of a training.
    """
    left = sum(record.remaining(name) for name in record.studies)
    runs = len(record.runs(next(iter(record.studies)), 0))
    room = min(sum(fitting), record.options.max_concurrent or sys.maxsize) // max(1, left)
    most = max(1, min(runs, room, *fitting))  # on one node
    return next(n for n in range(most, 0, -1) if n == 1 or gpus * n <= 1 or not gpus * n % 1)  # Ray's rule of GPUs


@contextlib.contextmanager
def signals_end(stopper: SearchStopper) -> Iterator[None]:
    """Have SIGINT and SIGTERM end a search in order, and a second one at once."""

    def handle(number: int, frame: Any) -> None:
        if stopper.reason is not None:
            raise KeyboardInterrupt
        stopper.end(signal.Signals(number).name)

    before: dict[Any, Callable[..., Any] | int | None] = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a search's folder, so that no second process runs it too. The lock ends with the process.

    Raises:
        ConfigError: If another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    with writing(str(folder)):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"{folder}: this search is running already.") from error
    try:
        yield
    finally:
        lock.release()
