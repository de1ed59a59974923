"""After a real search: its page, its best config trained again, and the programs that one looks further with."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from search_runs import free_port

ROOT = Path(__file__).parents[2]
SEEDS = 2

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A search of three trials, two seeds each."""
    home = tmp_path_factory.mktemp("search")
    config = home / "short.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/four_gaussians_minmax.py')!r}\n"
        "total_iters = 60\n"
        "checkpoint_config = dict(interval=30, by_epoch=False)\n"
        "metrics_hook = dict(type='SampleMetrics', interval=20, metrics=[dict(type='ModeCoverage', num_images=200)])\n"
        "custom_hooks = [metrics_hook, dict(type='MinMaxHook')]\n"
    )
    command = [sys.executable, ROOT / "tune/search.py", config, "--num-samples", 3, "--seeds", SEEDS]
    command += ["--objective", "hq:max", "--storage-path", home, "--name", "s"]
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment())
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("\n[") == 3, "a log has a line for each trial"
    return home / "s"


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def test_the_best_config_gives_its_trials_metrics_with_its_seeds(folder):
    best = folder / "best" / "short"
    assert (best / "checkpoint.pth").resolve().name == "iter_60.pth"
    assert (best / "samples.png").stat().st_size > 1000
    scores = json.loads((best / "params.json").read_text())["scores"]
    commands = (best / "command.txt").read_text().splitlines()
    assert len(scores) == len(commands) == SEEDS
    assert scores[0] != scores[1]
    for score, line in zip(scores, commands, strict=True):
        line = line.replace("minmax-train", f"{sys.executable} -m minmax_plugin.cli.train")
        subprocess.run(line, shell=True, check=True, capture_output=True, env=environment())
        work = Path(line.split()[-1])
        last = json.loads((work / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["hq"] == score


def test_each_trial_has_tensorboard_logs_by_images(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for number in range(3):
        events = accumulator.EventAccumulator(str(folder / "trials" / f"short_{number}"))
        events.Reload()
        steps = [event.step for event in events.Scalars("ray/tune/hq")]
        assert steps == sorted(steps)
        assert steps[-1] == 60 * 512 * SEEDS  # iterations × batch, over all its trainings


PROGRAMS = [
    ("tensorboard", "--logdir={folder}/trials", "/data/runs", "short_2"),
    ("optuna-dashboard", "sqlite:///{folder}/optuna.db", "/api/studies", "short"),
]


@pytest.mark.parametrize(("name", "place", "page", "shown"), PROGRAMS)
def test_the_programs_to_look_further_with_answer(folder, tmp_path, name, place, page, shown):
    program = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"{name} is not installed")
    port = free_port()
    command = [program, place.format(folder=folder), "--port", str(port), "--host", "127.0.0.1"]
    said = tmp_path / "said"
    with open(said, "w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
    try:
        deadline = time.monotonic() + 200
        answer = ""
        while shown not in answer and time.monotonic() < deadline:
            assert server.poll() is None, said.read_text()
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as response:
                    answer = response.read().decode()
            except OSError:  # it is not there yet, or takes its time
                continue
        assert shown in answer
    finally:
        server.terminate()
        server.wait(30)
