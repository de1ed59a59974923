"""Trainings in processes of their own, as on several GPUs; here it is one process, for there is no GPU."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from mmgen_runs import small_config

from minmax_plugin.mmgen import host
from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.mmgen.reporting import ReportHook
from minmax_tune.study import Run
from minmax_tune.trial import run as trial
from minmax_tune.trial.distributed import LAUNCHER, PATIENCE, _whole, last_words, side_by_side, stop, train_apart
from minmax_tune.trial.reporters import FileReporter


def config(**overlay):
    cfg = small_config(total_iters=30, **overlay)
    cfg.optimizer = {name: dict(type="Adam", lr=0.01) for name in ("generator", "discriminator")}
    metrics = dict(type="SampleMetrics", interval=10, metrics=[dict(type="ModeCoverage", num_images=100)])
    cfg.custom_hooks = [*cfg.custom_hooks, metrics]
    return cfg


def apart(cfg, folder):
    training = train_apart(cfg, folder, seed=3, checkpoint=None, metric="hq", processes=1)
    return (line for _, line in side_by_side({0: training}))


@pytest.mark.slow
def test_what_a_training_apart_measures_comes_as_it_is_measured(tmp_path):
    lines = list(apart(config(), tmp_path))
    assert [(line["iterations"], line["images"], line["last"]) for line in lines] == [
        (10, 160, False),
        (20, 320, False),
        (30, 480, True),
    ]
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["metrics"]["hq"] for line in lines] == [line["hq"] for line in written]


@pytest.mark.slow
def test_a_training_apart_that_fails_says_why(tmp_path):
    cfg = config()
    cfg.data.train.sigma = -1
    with pytest.raises(RuntimeError, match=r"(?s)exit code 2: .*sigma must be 0 or more and finite, but got -1"):
        list(apart(cfg, tmp_path))


@pytest.mark.slow
def test_a_training_apart_that_fails_shows_no_password(tmp_path):
    cfg = config()
    cfg.model.type = "x://me:S3cr3t@host"  # so that its error repeats one
    with pytest.raises(RuntimeError, match=r"x://me:\*\*\*@host") as told:
        list(apart(cfg, tmp_path))
    assert "S3cr3t" not in str(told.value) + (tmp_path / "output.txt").read_text()


@pytest.mark.slow
def test_a_trial_that_ends_early_leaves_no_process_behind(tmp_path):
    cfg = config()
    cfg.total_iters = 10**6
    lines = apart(cfg, tmp_path)
    next(lines)
    mine = ["pgrep", "--full", str(tmp_path / "apart.py")]
    assert subprocess.run(mine).returncode == 0
    lines.close()
    assert subprocess.run(mine).returncode == 1  # none


@pytest.mark.slow
def test_a_trial_that_is_killed_leaves_no_process_behind(tmp_path):
    lines = (
        "import test_several, pathlib; cfg = test_several.config(); cfg.total_iters = 10**6; "
        f"[print(line, flush=True) for line in test_several.apart(cfg, pathlib.Path({str(tmp_path)!r}))]"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    trial = subprocess.Popen(
        [sys.executable, "-c", lines], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    assert trial.stdout.readline()
    mine = ["pgrep", "--full", str(tmp_path / "apart.py")]
    assert subprocess.run(mine).returncode == 0
    trial.send_signal(signal.SIGKILL)
    trial.wait()
    trial.stdout.close()
    until = time.monotonic() + 60
    while subprocess.run(mine).returncode == 0:
        assert time.monotonic() < until
        time.sleep(0.2)


LAUNCHED = [sys.executable, *LAUNCHER, "--nproc-per-node=2"]


def test_processes_that_the_launcher_started_end_with_it(tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text("import os, time; open(f'{__file__}_{os.getpid()}', 'w').close(); time.sleep(999)")
    run = subprocess.Popen([*LAUNCHED, str(script)], start_new_session=True)
    until = time.monotonic() + 60
    while len(begun := list(tmp_path.glob("sleep.py_*"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    stop(run, PATIENCE)
    assert [Path("/proc", path.name.rpartition("_")[2]).exists() for path in begun] == [False, False]


def test_the_cause_is_told_and_not_what_the_launcher_says(tmp_path):
    script = tmp_path / "fail.py"
    script.write_text(
        "import os, time\n"
        "if os.environ['RANK'] == '1': time.sleep(999)\n"  # so that one of them has the last word
        "raise RuntimeError('CUDA out of memory')\n"
    )
    done = subprocess.run([*LAUNCHED, str(script)], capture_output=True, text=True)
    assert done.returncode
    assert last_words(done.stdout + done.stderr)[-1] == "RuntimeError: CUDA out of memory"


@pytest.mark.slow
def test_a_training_apart_that_diverges_says_so(tmp_path):
    cfg = config()
    cfg.optimizer = {name: dict(type="Adam", lr=1e30) for name in ("generator", "discriminator")}
    opt_in(cfg, "practical")
    with pytest.raises(FloatingPointError, match="not finite"):
        list(apart(cfg, tmp_path))


def test_a_training_whose_trial_has_ended_ends_though_its_worker_lives(tmp_path):
    file = tmp_path / "measured.jsonl"
    file.touch()
    reporter = FileReporter(str(file), watcher=os.getpid(), metric="hq")
    hook = ReportHook(reporter, batch_size=1)
    reporter.on_iteration()
    file.unlink()
    with pytest.raises(SystemExit, match="its trial has ended"):
        hook.after_train_iter(SimpleNamespace(rank=1))  # in each process


def test_numbers_of_any_library_are_reported():
    class Reporter:
        metric = "score"

        def on_iteration(self):
            pass

        def on_measure(self, metrics, *args, **more):
            self.metrics = metrics

    output = {"score": numpy.float32(0.5), "a": torch.tensor(2.0), "b": numpy.array(3), "text": "x", "many": [1]}
    runner = SimpleNamespace(
        iter=9, outputs=None, rank=0, world_size=1, max_iters=10, log_buffer=SimpleNamespace(output=output)
    )
    (hook := ReportHook(Reporter(), batch_size=1))._guarded = False
    hook.is_last_iter = lambda runner: True
    hook.after_train_iter(runner)
    assert hook.reporter.metrics == {"score": 0.5, "a": 2.0, "b": 3.0}


def test_half_a_line_waits_for_its_end():
    file = io.StringIO('{"a": 1}\n{"a"')
    assert list(_whole(file)) == ['{"a": 1}\n']
    place = file.tell()
    file.seek(0, io.SEEK_END)
    file.write(": 2}\n")
    file.seek(place)
    assert list(_whole(file)) == ['{"a": 2}\n']


class Died(Exception):
    pass


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Plays a trial: of each seed its scores, one in ten iterations and a second; with fewer than three it dies."""
    clock = [0.0]
    (tmp_path / "base.py").write_text("data = dict(samples_per_gpu=16)\ntotal_iters = 30\n")
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def play(scores, objective=("score", "max"), reached=0, **more):
        reports = []

        def train(cfg, folder, seed, checkpoint, reporter):
            for i, score in enumerate(scores[seed], start=1):
                if 10 * i > reached:
                    clock[0] += 1
                    reporter.on_measure({"score": score}, 10 * i, 160 * i, last=i == 3)
            if len(scores[seed]) < 3:
                raise Died

        checkpoint = Path(f"iter_{reached}.pth") if reached else None
        monkeypatch.setattr(trial, "last_checkpoint", lambda host, folder, before: checkpoint)
        monkeypatch.setattr(host, "train", train)
        monkeypatch.setattr(trial, "tune", SimpleNamespace(report=reports.append))
        runs = [Run("base", seed, tmp_path / "trial" / str(seed)) for seed in scores]
        job = trial.TrialRunner(tmp_path / "trial", runs, {"base": str(tmp_path / "base.py")}, {}, [objective], **more)
        with contextlib.suppress(Died):
            job.train()
        return reports

    return play


def test_a_trial_counts_the_time_and_images_of_all_its_trainings(attempt):
    reports = attempt({1: [0.1, 0.2, 0.4], 2: [0.2, 0.4, 0.8]})
    assert [report["images"] for report in reports] == [160, 320, 480, 640, 800, 960]
    assert [report["seconds"] for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1]["score"] == pytest.approx(0.6)
    assert [report.get("outcome") for report in reports] == [None] * 5 + ["complete"]


def test_a_trial_that_is_started_again_goes_on_counting(attempt):
    attempt({1: [0.1, 0.2]})
    (last,) = attempt({1: [0.1, 0.2, 0.4]}, reached=20)
    assert (last["images"], last["seconds"], last["earlier"]) == (480, 3, [[160, 0.1], [320, 0.2]])


COLLAPSES = [(("score", "max"), 0.1, "below"), (("score", "min"), 0.9, "above")]


@pytest.mark.parametrize(("objective", "score", "worse"), COLLAPSES)
def test_a_trial_collapses_in_the_direction_of_its_objective_and_over_a_restart(attempt, objective, score, worse):
    attempt({1: [score] * 2}, objective, collapse_below=0.5)
    with pytest.raises(trial.Collapsed, match=f"score was {worse} 0.5 in 3 measurements in a row"):
        attempt({1: [score] * 3}, objective, reached=20, collapse_below=0.5)


@pytest.mark.parametrize(("objective", "score", "worse"), COLLAPSES)
def test_a_trial_that_is_better_than_the_limit_does_not_collapse(attempt, objective, score, worse):
    assert attempt({1: [1 - score] * 3}, objective, collapse_below=0.5)[-1]["outcome"] == "complete"
