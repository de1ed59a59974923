"""The clock that costs are measured with sees all of a training, whichever hook does it."""

import threading
import time
from multiprocessing import Pipe

import pytest
import torch
from mmcv.runner import HOOKS, Hook

from benchmarks.turns import Done, bare
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import train

WORK = 0.03  # seconds of the processor


@HOOKS.register_module()
class WorksOnce(Hook):
    """Takes its time in each iteration, at one of its points."""

    def __init__(self, point):
        setattr(self, point, lambda runner: self.work())

    def work(self):
        end = time.process_time() + WORK
        while time.process_time() < end:
            pass


@pytest.mark.parametrize("priority", ["HIGHEST", "LOWEST"])
@pytest.mark.parametrize("point", ["before_train_iter", "after_train_iter"])
def test_a_turn_has_what_every_hook_takes(tmp_path, point, priority):
    cfg = bare(load_config("configs/four_gaussians_gda.py"))
    cfg.merge_from_dict(dict(work_dir=str(tmp_path), total_iters=100, evaluation=None, custom_hooks=[]))
    mine, its = Pipe()
    taken = []

    def take():
        for _ in range(4):
            mine.send(True)
            taken.append(mine.recv())
        mine.send(False)
        assert mine.recv() >= 0  # MiB

    taker = threading.Thread(target=take)
    taker.start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the processor's time is what counts then
    try:
        hooks = [
            dict(type="TakesTurns", turns=its, iterations=1),
            dict(type="WorksOnce", point=point, priority=priority),
        ]
        with pytest.raises(Done):
            train(cfg, seed=0, hooks=hooks)
    finally:
        torch.set_num_threads(threads)
        taker.join(timeout=60)
    assert len(taken) == 4
    assert min(taken[1:]) >= WORK  # the first waits for its turn in mid-iteration, and is not counted
