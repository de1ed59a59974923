"""Two trainings in turns in one process, so that whatever else the machine does meets both."""

from __future__ import annotations

import copy
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from scipy import stats

from minmax_plugin.mmgen.train import train

WARMING = 2  # rounds that are not counted


def bare(cfg: Config) -> Config:
    """A config without logs and checkpoints, in place: what is left is training."""
    cfg.merge_from_dict(dict(checkpoint_config=None, log_level="ERROR"))
    cfg.log_config = dict(interval=10**6, hooks=[])
    return cfg


class Done(Exception):
    """All turns have been had."""


def compare(configs: Sequence[Config], iterations: Sequence[int], rounds: int) -> dict[str, float]:
    """Train two configs in turns, which of them is first and is set up first changing halfway.

    (Two that are the same can differ by some percent for as long as they live, by where their memory happens to lie.)

    Args:
        configs: the plain one, and the other.
        iterations: of the toolkit that a turn of each has.
        rounds: of two turns, that are counted; an even number.

    Returns:
        Milliseconds of an iteration of the plain one, and what a turn of the other takes, as a ratio to one of the
        plain one: see :func:`ratio`.
    """
    first, second = _take(configs, iterations, rounds // 2)
    second_again, first_again = _take(configs[::-1], iterations[::-1], rounds // 2)
    plain, other = first + first_again, second + second_again
    return {"plain_ms": 1e3 * float(np.median(plain)) / iterations[0], **ratio(plain, other)}


def _take(configs: Sequence[Config], iterations: Sequence[int], rounds: int) -> tuple[list[float], list[float]]:
    """What each turn took, of each config."""
    turns = _Turns(iterations, rounds + WARMING)
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for side, cfg in enumerate(map(copy.deepcopy, configs)):
            cfg.work_dir = f"{folder}/{side}"
            runs.append(threading.Thread(target=turns.run, args=(side, cfg, torch.get_num_threads())))
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    if turns.failed:
        raise turns.failed[0]
    first, second = (seconds[WARMING:] for seconds in turns.seconds)
    return first, second


def ratio(plain: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The median ratio of two series of times, taken pair by pair, with its 95 % bootstrap interval.

    Examples:
        >>> found = ratio([1.0, 2.0, 1.0], [2.0, 4.0, 2.0])
        >>> found["ratio"], float(found["ratio_low"]), float(found["ratio_high"])
        (2.0, 2.0, 2.0)
    """
    ratios = np.asarray(other) / np.asarray(plain)
    interval = stats.bootstrap((ratios,), np.median, method="percentile", rng=0).confidence_interval
    return {"ratio": float(np.median(ratios)), "ratio_low": interval.low, "ratio_high": interval.high}


class _Turns:
    """Whose turn it is, and how long each took."""

    def __init__(self, iterations: Sequence[int], rounds: int) -> None:
        self._iterations, self._rounds = iterations, rounds
        self._condition, self._turn, self._done = threading.Condition(), 0, 0
        self.seconds: tuple[list[float], list[float]] = ([], [])
        self.failed: list[BaseException] = []

    def before(self, side: int) -> None:
        if self._done == 0 or self._turn != side:
            with self._condition:
                self._condition.wait_for(lambda: self._turn == side or self.failed)
            if self.failed or len(self.seconds[side]) == self._rounds:
                raise Done
            _synchronise()
            self._began = time.perf_counter()

    def after(self, side: int) -> None:
        self._done += 1
        if self._done == self._iterations[side]:
            _synchronise()
            self.seconds[side].append(time.perf_counter() - self._began)
            self.end(side)

    def end(self, side: int) -> None:
        with self._condition:
            self._turn, self._done = 1 - side, 0
            self._condition.notify_all()

    def run(self, side: int, cfg: Config, threads: int) -> None:
        torch.set_num_threads(threads)  # OpenMP keeps it for each thread of the program
        try:
            train(cfg, seed=side, hooks=[dict(type="TakesTurns", turns=self, side=side)])
        except Done:
            self.end(side)
        except BaseException as error:
            self.failed.append(error)
            self.end(side)


@HOOKS.register_module()
class TakesTurns(Hook):
    """Lets two trainings run in turns of some iterations, one waiting while the other runs."""

    reads_weights = False

    def __init__(self, turns: _Turns, side: int) -> None:
        self._turns, self._side = turns, side

    def before_train_iter(self, runner: Any) -> None:
        self._turns.before(self._side)

    def after_train_iter(self, runner: Any) -> None:
        self._turns.after(self._side)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
