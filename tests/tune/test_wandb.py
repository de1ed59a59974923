"""The logger of Weights & Biases, where it is installed."""

import importlib.util
import queue
from types import SimpleNamespace

import pytest
import ray.air.integrations.wandb as integration

from minmax_plugin.errors import ConfigError
from minmax_tune.cli import main
from minmax_tune.options import Options
from minmax_tune.report.wandb import WandbLogger, check_wandb

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="W&B is not installed")


def test_without_wandb_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(integration, "wandb", None)
    with pytest.raises(ConfigError, match="--wandb='gans' needs W&B: pip install wandb"):
        check_wandb("gans")


@needs_wandb
def test_without_a_key_there_is_one_clear_error_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["four_gaussians_minmax.py", "--wandb", "gans", "--storage-path", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert "--wandb='gans': W&B has no key: run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline" in error
    assert not (tmp_path / "results").exists()
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb("gans")


def test_a_name_that_is_no_project_is_refused():
    with pytest.raises(ConfigError, match="--wandb must be a name without / .*, but got me/gans"):
        Options(wandb="me/gans")


def test_steps_are_images_which_grow_over_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(integration, "wandb", True)
    logger, trial = WandbLogger(SimpleNamespace(name="night", folder=tmp_path), "gans"), object()
    logger._trial_logging_actors[trial], logger._trial_queues[trial] = None, queue.Queue()
    for reports, images in [(1, 640), (2, 1280), (1, 1920)]:  # its worker died in between
        logger.log_trial_result(0, trial, {"training_iteration": reports, "images": images, "balance": 0.5})
    steps = [logger._trial_queues[trial].get_nowait()[1]["training_iteration"] for _ in range(3)]
    assert steps == [640, 1280, 1920]
