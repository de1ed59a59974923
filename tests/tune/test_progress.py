"""What a search says while it runs, in a log and on a terminal."""

import io
import os
import pty
import re
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from minmax_plugin.mmgen.config import load_config
from minmax_tune.options import Options
from minmax_tune.report import progress
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.space.space import Space
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives

GAUSSIANS = str(Path(__file__).parents[2] / "configs/four_gaussians_minmax.py")


@pytest.fixture
def record(tmp_path):
    options = Options(configs=(GAUSSIANS,), num_samples=4)
    return Search.create(tmp_path / "s", options, Space.read(options.space), {"a": load_config(GAUSSIANS)})


@pytest.fixture
def report(record):
    """Of the record, with its thread ended."""
    report = Report(record)
    yield report
    report.stop()


def play(record, says):
    """Four trials, as Ray Tune tells of them and as the searcher leaves them in the study."""
    study = record.studies["a"]
    endings = [
        (TrialState.COMPLETE, 0.25, None),
        (TrialState.FAIL, None, "diverged: loss is nan at iteration 3"),
        (TrialState.PRUNED, None, "stopped early by asha at 640 images"),
        (TrialState.COMPLETE, 0.125, None),
    ]
    for number, (state, value, reason) in enumerate(endings):
        trial = study.ask()
        known = SimpleNamespace(config={"study": "a", "number": number})
        says.on_trial_start(iteration=0, trials=[], trial=known)
        says.on_step_end(iteration=0, trials=[])
        if reason:
            trial.set_user_attr("reason", reason)
        study.tell(trial, value, state=state)
        if state == TrialState.FAIL:
            says.on_trial_recover(iteration=1, trials=[], trial=known)
            says.on_trial_error(iteration=1, trials=[], trial=known)
        else:
            says.on_trial_complete(iteration=1, trials=[], trial=known)
    says.on_experiment_end(trials=[])


LEFT = r"; about [\d.]+ (s|min|h) left"


def test_a_log_gets_a_line_for_each_trial_that_ends(record, report):
    out = io.StringIO()
    play(record, Progress(record, report, stream=out))
    lines = out.getvalue().splitlines()
    expected = [
        r"\[1/4\] \d\d:\d\d:\d\d a trial 0: balance 0\.2500, the best so far" + LEFT,
        r"\[1/4\] \S+ a trial 1: its worker died; it starts again" + LEFT,
        r"\[2/4\] \S+ a trial 1: failed: diverged: loss is nan at iteration 3" + LEFT,
        r"\[3/4\] \S+ a trial 2: stopped early by asha at 640 images" + LEFT,
        r"\[4/4\] \S+ a trial 3: balance 0\.1250",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


def test_a_log_without_news_gets_a_sign_of_life(record, report, monkeypatch):
    monkeypatch.setattr(progress, "HEARTBEAT_S", -1.0)
    out = io.StringIO()
    play(record, Progress(record, report, stream=out))
    signs = [line for line in out.getvalue().splitlines() if "running" in line]
    assert len(signs) == 4
    assert re.fullmatch(r"\[3/4\] \S+ 1 running, 1 failed, a best 0\.2500 \(trial 0\)" + LEFT, signs[3])


def test_a_terminal_gets_a_line_that_stays_up_to_date(record, report):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    seen = []
    watcher = threading.Thread(target=lambda: seen.extend(iter(lambda: read(ours), b"")))
    watcher.start()
    with os.fdopen(theirs, "w") as terminal:
        play(record, Progress(record, report, stream=terminal))
    watcher.join()
    os.close(ours)
    updates = re.split(r"[\r\n]+", b"".join(seen).decode())
    for pattern in (
        r"0/4 trials \|.*\| 1 running",
        r"\[1/4\] \d\d:\d\d:\d\d a trial 0: balance 0\.2500, the best so far",
        r"3/4 trials \|.*\| 1 running, 1 failed, a best 0\.2500 \(trial 0\), about [\d.]+ \S+ left",
        r"\[4/4\] \S+ a trial 3: balance 0\.1250",
    ):
        assert any(re.fullmatch(pattern, update.strip()) for update in updates), (pattern, updates)


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end was closed
        return b""


def test_what_an_earlier_run_did_is_counted(record, report):
    study = record.studies["a"]
    study.tell(study.ask(), 0.5)
    out = io.StringIO()
    says = Progress(record, report, stream=out)
    trial = study.ask()
    study.tell(trial, 0.75)
    says.on_trial_complete(iteration=1, trials=[], trial=SimpleNamespace(config={"study": "a", "number": 1}))
    assert out.getvalue().startswith("[2/4]")


def test_results_follow_the_trials(record, report, monkeypatch):
    monkeypatch.setattr("minmax_tune.report.results.PAUSE", 0)
    play(record, Progress(record, report, stream=io.StringIO()))
    table = record.folder / "leaderboard.md"
    end = time.monotonic() + 60
    while not (table.exists() and "| a | 3 | 0.1250" in table.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert table.read_text().count("\n") == 6
    assert "| a | 1 | – | fail: diverged" in table.read_text()


def test_no_trial_waits_for_the_results(record, report, monkeypatch):
    may_write, written = threading.Event(), []

    def write():
        may_write.wait(60)
        written.append(record.state()["a"]["COMPLETE"])
        return 0.0

    monkeypatch.setattr(report, "write", write)
    play(record, Progress(record, report, stream=io.StringIO()))
    assert not written
    may_write.set()
    report.stop()
    assert written
    assert written[-1] == 2


def test_the_time_left_is_that_of_the_trials_left(record, report, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(
        progress, "time", SimpleNamespace(monotonic=lambda: clock[0], strftime=time.strftime, gmtime=time.gmtime)
    )
    out = io.StringIO()
    says = Progress(record, report, stream=out)
    study = record.studies["a"]
    study.tell(study.ask(), 0.5)
    clock[0] = 10.0
    says.on_trial_complete(iteration=1, trials=[], trial=SimpleNamespace(config={"study": "a", "number": 0}))
    assert out.getvalue().endswith("; about 30 s left\n")
