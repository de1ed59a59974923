"""Two trainings in turns, so that other work on the machine affects both."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv import Config
from mmcv.runner import HOOKS, Hook

from experiments.stats import paired_ratio
from minmax_plugin.mmgen.train import train

WARMING = 2  # rounds that are not counted


def bare(cfg: Config) -> Config:
    """A config without logs and checkpoints, in place: what is left is training."""
    cfg.merge_from_dict(dict(checkpoint_config=None, log_level="ERROR"))
    cfg.log_config = dict(interval=10**6, hooks=[])
    return cfg


def compare(configs: Sequence[Config], iterations: Sequence[int], rounds: int) -> dict[str, float]:
    """Train two configs in turns, each in a separate process. Halfway two new processes begin, in the other order.

    Two equal trainings can differ by some percent over their life, by where their memory lies.

    Args:
        configs: the plain one, and the other.
        iterations: of the toolkit that a turn of each has.
        rounds: of two turns, that are counted; an even number.

    Returns:
        Milliseconds of an iteration of the plain one, and the ratio of a turn of the other to one of the plain one:
        see :func:`~experiments.stats.paired_ratio`. Peak memory of the plain one, and how much more the other has, in
        MiB.

    Raises:
        RuntimeError: with what was raised in a training.
    """
    sides = list(zip(configs, iterations, strict=True))
    halves = [_take(sides, rounds // 2), _take(sides[::-1], rounds // 2)[::-1]]
    plain, other = ([x for half in halves for x in half[i].seconds] for i in (0, 1))
    plain_mib, mib = (float(np.mean([half[i].peak_mib for half in halves])) for i in (0, 1))
    return {
        "plain_ms": 1e3 * float(np.median(plain)) / iterations[0],
        **paired_ratio(plain, other),
        "plain_mib": plain_mib,
        "more_mib": mib - plain_mib,
    }


class _Taken(NamedTuple):
    """The seconds of each turn of a training, and its peak memory."""

    seconds: list[float]
    peak_mib: float


def _take(sides: Sequence[tuple[Config, int]], rounds: int) -> list[_Taken]:
    """Some turns of each side."""
    spawn = multiprocessing.get_context("spawn")
    ours, runs = [], []
    for cfg, iterations in sides:
        mine, its = spawn.Pipe()
        runs.append(spawn.Process(target=_run, args=(cfg, iterations, its, torch.get_num_threads()), daemon=True))
        runs[-1].start()
        ours.append(mine)
    seconds = [[_turn(side) for side in ours] for _ in range(rounds + WARMING)]
    by_side = zip(*seconds[WARMING:], strict=True)
    taken = [_Taken(list(times), _end(side)) for side, times in zip(ours, by_side, strict=True)]
    for run in runs:
        run.join()
    return taken


def _turn(side: Connection) -> float:
    side.send(True)
    told = side.recv()
    if isinstance(told, str):
        raise RuntimeError(told)
    return float(told)


def _end(side: Connection) -> float:
    side.send(False)
    return float(side.recv())


def _run(cfg: Config, iterations: int, turns: Connection, threads: int) -> None:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Done):
        cfg.work_dir = folder
        try:
            train(cfg, seed=0, hooks=[dict(type="TakesTurns", turns=turns, iterations=iterations)])
        except Exception:
            turns.send(traceback.format_exc())


class Done(BaseException):
    """All turns have been had."""


@HOOKS.register_module()
class TakesTurns(Hook):
    """Lets a training run in turns of some iterations, each on a message, and sends the seconds of each.

    At the end it sends its peak memory since the training began. Reading the data and building the networks come
    before, and could hide what a step takes.
    """

    reads_weights = False

    def __init__(self, turns: Connection, iterations: int) -> None:
        self._turns, self._iterations, self._done, self._begun = turns, iterations, 0, False

    def before_run(self, runner: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from here

    def before_train_iter(self, runner: Any) -> None:
        if not self._begun:
            self._wait()
            self._begun = True

    def after_train_iter(self, runner: Any) -> None:
        self._done = (self._done + 1) % self._iterations
        if self._done == 0:
            self._turns.send(now() - self._began)
            self._wait()

    def _wait(self) -> None:
        """Wait for the next turn, and start the clock: before any hook of its first iteration, whatever its order."""
        if not self._turns.recv():
            self._turns.send(peak_mib())
            raise Done
        self._began = now()


def now() -> float:
    """Seconds; of the processor if one thread does all, since a clock would count other processes too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def peak_mib() -> float:
    """Peak memory of this process, or of its GPU, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10
