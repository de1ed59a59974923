"""Trainings in separate processes, watched by their trial: on several GPUs each, or several side by side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from minmax_plugin.hosts import Config, host_of
from minmax_plugin.secrets import hide
from minmax_tune.files import replaced

POLL_INTERVAL_S = 0.5  # seconds between two looks at what was measured
LAST_WORDS = 20  # lines of a failed training's output that its error shows
PATIENCE = 40  # seconds that the launcher has to end its processes; it gives them 30
LAUNCHER = ("-m", "torch.distributed.run", "--standalone")
REPORTER = "minmax_tune.trial.reporters:FileReporter"
STOPPED = "minmax-train: stopped: "  # what a training that diverged says

Training = Generator[list[dict[str, Any]], None, None]  # yields what was measured since its last look


def side_by_side(trainings: Mapping[int, Training]) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Watch several trainings apart, and yield the measurements of each, with its key, as they come.

    All of them end with the reader of this generator, and with the first that fails.

    Args:
        trainings: The trainings, as :func:`train_apart` makes them.
    """
    left = dict(trainings)
    try:
        while left:
            for key, training in [*left.items()]:
                found = next(training, None)
                if found is None:
                    del left[key]
                yield from ((key, measured) for measured in found or [])
            time.sleep(POLL_INTERVAL_S if left else 0)
    finally:
        for training in trainings.values():
            training.close()


def train_apart(
    cfg: Config,
    folder: Path,
    seed: int,
    checkpoint: Path | None,
    metric: str,
    processes: int,
    environment: Mapping[str, str] | None = None,
) -> Training:
    """Train a config in separate processes, one for each GPU, and yield the new measurements at each look.

    Each of them is ``minmax-train``, under PyTorch's launcher where there are several. They end with the reader of
    this generator. A trial that is stopped, or dies by an exception, leaves none behind. After a trial that is killed,
    they end themselves at their next iteration.

    Args:
        cfg: The merged config. It gets a :class:`~minmax_tune.trial.reporters.FileReporter`.
        folder: The folder of the training's files.
        seed: The seed of the training.
        checkpoint: The checkpoint from which it continues, if any.
        metric: The primary objective.
        processes: The number of processes.
        environment: Variables of their environment, besides those of this process.

    Yields:
        The measurements of the first process since the last look, as the reporter writes them.

    Raises:
        FloatingPointError: If the training stops itself, because it diverged.
        RuntimeError: If it fails otherwise. The message has its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    measured, output, config = folder / f"apart_{os.getpid()}.jsonl", folder / "output.txt", folder / "apart.py"
    measured.write_text("")
    host_of(cfg).add_reporter(cfg, REPORTER, file=str(measured), watcher=os.getpid(), metric=metric)
    cfg.dump(str(config))
    command = [sys.executable, *training(processes), str(config), "--seed", str(seed), "--work-dir", str(folder)]
    command += ["--resume-from", str(checkpoint)] if checkpoint else []
    with open(output, "w") as words:
        # In a separate session, so that all of them can be ended together.
        run = subprocess.Popen(
            command,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        with open(measured) as lines:
            ended = False
            while not ended:
                ended = run.poll() is not None  # before the last look
                yield [json.loads(line) for line in _whole(lines)]
    finally:
        measured.unlink(missing_ok=True)
        stop(run, PATIENCE if processes > 1 else 0)
        text = hide(output.read_text(errors="replace"))  # a traceback shows all its arguments
        with replaced(output) as aside:
            aside.write_text(text)
    if run.returncode:
        said = last_words(output.read_text())
        if diverged := [line for line in said if line.startswith(STOPPED)]:
            raise FloatingPointError(diverged[0].removeprefix(STOPPED))
        words_left = "\n".join(said)
        raise RuntimeError(f"the training ended with exit code {run.returncode}: {words_left}")


def own_share(place: int, cpus: float, gpus: float) -> dict[str, str]:
    """Return the variables that give one of several trainings its own cores and GPUs of those that a trial has.

    Args:
        place: The place of the training among them.
        cpus: The cores of each.
        gpus: The GPUs of each.

    Examples:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, CUDA_VISIBLE_DEVICES="4,5,6,7"):
        ...     own_share(1, cpus=2, gpus=2), own_share(1, cpus=1, gpus=0.5)["CUDA_VISIBLE_DEVICES"]
        ({'OMP_NUM_THREADS': '2', 'CUDA_VISIBLE_DEVICES': '6,7'}, '4')
    """
    share = {"OMP_NUM_THREADS": str(max(1, int(cpus)))}
    if gpus:
        devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")  # Ray sets it
        first = int(place * gpus + 1e-9)
        share["CUDA_VISIBLE_DEVICES"] = ",".join(devices[first : first + max(1, int(gpus))])
    return share


def training(processes: int) -> list[str]:
    """Return Python's arguments that run ``minmax-train`` in ``processes`` processes. Its own arguments follow.

    Examples:
        >>> training(1)
        ['-m', 'minmax_plugin.cli.train']
    """
    module = ["-m", "minmax_plugin.cli.train"]
    if processes == 1:
        return module
    return [*LAUNCHER, f"--nproc-per-node={processes}", *module, "--launcher", "pytorch"]


def stop(run: subprocess.Popen[bytes], patience: float) -> None:
    """End a process that leads a session, and all that it has started.

    Args:
        run: The process.
        patience: The seconds that it has to end its processes. PyTorch's launcher puts each of them in a separate
            session, which no signal to the launcher's reaches.
    """
    if patience and run.poll() is None:
        run.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def last_words(output: str) -> list[str]:
    """Return the last lines of a failed training, without the lines of PyTorch's launcher.

    Examples:
        >>> last_words("RuntimeError: CUDA out of memory\\nW1 torch/distributed/elastic/api.py:9] Sending SIGTERM")
        ['RuntimeError: CUDA out of memory']
    """
    lines = output.splitlines()
    launcher = next((i for i, line in enumerate(lines) if "torch/distributed/elastic/" in line), len(lines))
    return (lines[:launcher] or lines)[-LAST_WORDS:]


def _whole(lines: Any) -> Iterator[str]:
    """Yield the lines that have come whole. Half a line is left for the next look."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return
        yield line
