"""A search with real Ray that is steered while it runs and as it is resumed, and tells Weights & Biases."""

import importlib.util

import pytest
import yaml
from optuna.trial import TrialState
from search_runs import search, short_config, start, trials, wait_for

from minmax_tune.stopping import request_stop
from minmax_tune.study import Search

RATE = {"type": "float", "low": 1e-4, "high": 2e-3, "log": True}
RATES = {"optimizer.generator.lr": RATE, "optimizer.discriminator.lr": RATE}
BELOW = "optimizer.generator.lr < optimizer.discriminator.lr"
WANDB = ["--wandb", "gans"] if importlib.util.find_spec("wandb") else []
OFFLINE = {"WANDB_MODE": "offline"}


@pytest.mark.slow
def test_a_search_is_steered_while_it_runs_and_as_it_is_resumed(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump({"space": RATES, "constraints": [BELOW]}))
    choice = {"type": "choice", "options": [1.0e-4, 5.0e-4]}
    soft = {"space": {**RATES, "optimizer.generator.lr": choice}, "soft_constraints": ["optimizer.generator.lr - 1"]}
    second.write_text(yaml.safe_dump(soft))
    config, folder = short_config(tmp_path, iterations=40, interval=10, pause=0.1), tmp_path / "s"
    options = ["--space", first, "--num-samples", 2, "--max-concurrent", 1, "--no-baseline", *WANDB]
    run = start(config, *options, "--storage-path", tmp_path, "--name", "s", log=tmp_path / "log.txt", **OFFLINE)

    def measured():
        return [t.number for t in trials(folder) if t.state == TrialState.RUNNING and t.intermediate_values]

    wait_for(measured, run)
    request_stop(Search.open(folder), str(measured()[0]))
    assert run.wait(timeout=200) == 0, run.log.read_text()
    stopped, trained = Search.open(folder).counted("short")
    assert (stopped.state, trained.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert stopped.user_attrs["reason"].startswith("stopped by ")
    assert 0 < max(stopped.intermediate_values) < 40 * 512
    assert all(t.params["optimizer.generator.lr"] < t.params["optimizer.discriminator.lr"] for t in (stopped, trained))
    assert len([*folder.glob("wandb/offline-run-*/*.wandb")]) == len(WANDB)

    changes = ["--space", second, "--sampler", "gp", "--scheduler", "asha", "--max-concurrent", 2]
    search("--resume", folder, "--extend", 1, *changes, **OFFLINE)
    *earlier, last = Search.open(folder).counted("short")
    assert [t.params for t in earlier] == [stopped.params, trained.params]
    assert last.params.keys() == {"optimizer.generator.lr (2)", "optimizer.discriminator.lr"}
    assert last.user_attrs["settings"]["optimizer.generator.lr"] == last.params["optimizer.generator.lr (2)"]
    assert last.constraints.keys() == {"optimizer.generator.lr (2) - 1"}
    assert (folder / "trials.csv").read_text().count("\n") == 4
