"""The search command: its errors, and searches with real Ray, real Optuna and the toolkit's own training."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from minmax_plugin.mmgen.train import load_config
from tune.search import lay_dataset, main

ROOT = Path(__file__).parents[2]
GAUSSIANS = str(ROOT / "configs/four_gaussians_minmax.py")

BROKEN = str(Path(__file__).parent / "broken.py")


@pytest.fixture
def short(tmp_path):
    """A config that trains in some seconds."""
    path = tmp_path / "short.py"
    path.write_text(
        f"_base_ = {GAUSSIANS!r}\n"
        "total_iters = 60\n"
        "checkpoint_config = dict(interval=60, by_epoch=False)\n"
        "metrics_hook = dict(type='SampleMetrics', interval=30, metrics=dict(type='ModeCoverage', num_images=200))\n"
        "custom_hooks = [metrics_hook, dict(type='MinMaxHook')]\n"
    )
    return path


BAD = [
    (["nowhere.py"], "config 'nowhere.py' does not exist"),
    ([GAUSSIANS, "--num-samples", "0"], "--num-samples must be 1 or more, but got 0"),
    ([GAUSSIANS, "--cpus-per-trial", "999"], "--cpus-per-trial=999.0 does not fit this machine"),
    ([GAUSSIANS, GAUSSIANS], "two studies would be named 'four_gaussians_minmax': rename one of the files"),
    ([GAUSSIANS, "--gpus-per-trial", "99"], "--gpus-per-trial=99.0 does not fit this machine"),
    ([GAUSSIANS, "--space", "nowhere.yaml"], "space file 'nowhere.yaml' does not exist"),
    ([GAUSSIANS, "--datasets", "nowhere.py"], "config 'nowhere.py' does not exist"),
    (
        [GAUSSIANS, "--datasets", BROKEN],
        "config four_gaussians_minmax-broken: data.train: GaussianMixture: modes must",
    ),
    (
        [GAUSSIANS.replace("minmax", "gda")],
        "space.method does not fit config four_gaussians_gda: 'minmax' needs a MinMaxHook",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_clear_error_before_anything_starts(tmp_path, capsys, arguments, message):
    assert main([*arguments, "--storage-path", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_another_data_set_replaces_the_old_one_and_its_measurement():
    cfg = load_config(GAUSSIANS)
    lay_dataset(cfg, load_config(ROOT / "configs/_base_/datasets/eight_gaussians.py"))
    assert cfg.data.train == dict(type="GaussianMixture", modes=8, radius=1.0, sigma=0.01)
    assert cfg.custom_hooks[0].metrics.modes == 8
    assert [h.type for h in cfg.custom_hooks] == ["SampleMetrics", "MinMaxHook"]


def command(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tune/search.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=more.get("cwd"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_search_over_two_data_sets_leaves_everything(tmp_path, short):
    datasets = [tmp_path / f"{n}_gaussians.py" for n in ("four", "eight")]
    for path in datasets:
        shipped = (ROOT / "configs/_base_/datasets" / path.name).read_text()
        path.write_text(shipped.replace("interval=1500", "interval=30"))
    run = command(
        short, "--datasets", *datasets, "--num-samples", 3, "--storage-path", "out", "--name", "s", cwd=tmp_path
    )
    output, _ = run.communicate(timeout=280)
    assert run.returncode == 0, output
    folder = tmp_path / "out" / "s"
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    names = ["short-four_gaussians", "short-eight_gaussians"]
    assert [(r["study"], r["trial"]) for r in rows] == [(n, str(i)) for n in names for i in range(3)]
    assert {r["state"] for r in rows} == {"COMPLETE"}
    assert len(json.loads((folder / "trials.json").read_text())) == 6
    for name in names:
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")
        assert [t.params == {} for t in study.trials] == [True, False, False]
        assert all(list(t.intermediate_values) == [30, 60] for t in study.trials)
        best = folder / "best" / name
        assert {p.name for p in best.iterdir()} == {"config.py", "params.json", "command.txt", "samples.png"}
        assert f"{name} | {study.best_trial.number}" in (folder / "leaderboard.md").read_text()
        assert (folder / "plots" / f"{name}_history.png").exists()
        # each trial kept its files in a folder of its own, though the workers were warm
        for trial in study.trials:
            assert (folder / "trials" / f"{name}_{trial.number}" / "metrics.jsonl").read_text().count("\n") == 2
    assert (folder / "samples.png").stat().st_size > 1000

    # the best config runs unchanged and gives its trial's result
    arguments = (folder / "best" / names[0] / "command.txt").read_text().split()
    done = subprocess.run(
        [sys.executable, "-m", "minmax_plugin.mmgen.train", *arguments[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    last = json.loads((folder / "best" / names[0] / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    best_value = json.loads((folder / "best" / names[0] / "params.json").read_text())["value"]
    assert last["balance"] == pytest.approx(best_value, abs=1e-6)


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_finished(tmp_path, short):
    run = command(short, "--num-samples", 40, "--storage-path", tmp_path, "--name", "s", "--max-concurrent", 1)
    trials = tmp_path / "s" / "trials.csv"
    deadline = time.monotonic() + 120
    while not (trials.exists() and trials.read_text().count("COMPLETE") >= 2):
        assert time.monotonic() < deadline
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.2)
    os.kill(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=100)
    assert run.returncode == 0, output
    assert "interrupted" in trials.read_text()
    states = [row["state"] for row in csv.DictReader(trials.read_text().splitlines())]
    assert states.count("COMPLETE") >= 2
    assert "RUNNING" not in states
    assert (tmp_path / "s" / "best" / "short" / "config.py").exists()
    assert "all results:" in output
