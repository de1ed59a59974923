"""Two processes of one training, started by the documented command, on the CPU with gloo."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
COMMAND = next(line for line in (ROOT / "docs/opt-in.md").read_text().splitlines() if "torch.distributed.run" in line)
NOTES = """
import torch
from mmcv.runner import HOOKS, Hook, get_dist_info

@HOOKS.register_module()
class NotesWeights(Hook):
    def __init__(self, folder):
        self.folder = folder

    def before_run(self, runner):
        self.batches = []

    def after_train_iter(self, runner):
        self.batches.append(float(runner.outputs["results"]["real_imgs"].sum()))

    def after_run(self, runner):
        weights = {name: p.detach() for name, p in runner.model.named_parameters()}
        torch.save([weights, self.batches, get_dist_info()], f"{self.folder}/rank{get_dist_info()[0]}.pt")
"""
CONFIG = """
_base_ = "{base}"
custom_imports = dict(imports=["minmax_plugin.mmgen", "notes_weights"])
custom_hooks = [
    {{{{_base_.metrics_hook}}}},
    dict(type="MinMaxHook", acceptance=dict(type="constant", rate=0.5)),
    dict(type="NotesWeights", folder="{folder}"),
]
total_iters = 60
checkpoint_config = dict(interval=60, by_epoch=False)
"""


@pytest.mark.slow
def test_two_ranks_train_one_pair_of_networks_by_the_documented_command(tmp_path, monkeypatch):
    (tmp_path / "notes_weights.py").write_text(NOTES)
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(base=ROOT / "configs/four_gaussians_minmax.py", folder=tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    _, *command = shlex.split(COMMAND.replace("CONFIG", str(config)).replace("per-node=4", "per-node=2"))
    command += ["--work-dir", str(tmp_path / "run"), "--diff-seed"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (weights, batches, _), (others, other_batches, (_, ranks)) = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert ranks == 2
    assert len(batches) == 60
    assert not set(batches) & set(other_batches)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert (tmp_path / "run/ckpt/run/iter_60.pth").exists()
    assert "10 cycles" in next((tmp_path / "run").glob("*.log")).read_text()
