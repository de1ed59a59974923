"""What a search survives, with real Ray, real processes and real signals."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from search_runs import (
    AGENT_PORTS,
    HERE,
    free_port,
    search,
    short_config,
    space_file,
    start,
    stop_all,
    trials,
    wait_for,
)

from minmax_tune.study import REPORTS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    stop_all()


TROUBLES = {
    "none": ("COMPLETE", None),
    "raise": ("FAIL", "ValueError: this trial was made to fail"),
    "nan": ("FAIL", "diverged: decision 5: something is not finite"),
    "memory": ("FAIL", "out of memory: CUDA out of memory. Tried to allocate 9 GiB"),
    "kill once": ("COMPLETE", None),
    "kill": ("FAIL", "its worker or node died, 2 times in all"),
}


def test_each_trouble_has_its_state_and_reason_and_failed_trials_can_be_run_again(tmp_path):
    config, space, folder = short_config(tmp_path), space_file(tmp_path, TROUBLES), tmp_path / "s"
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 7, "--max-failures", 1]
    search(config, "--space", space, *options)
    first = trials(folder)
    told = {t.params["trouble"]: (t.state.name, t.user_attrs.get("reason")) for t in first[1:]}
    assert {name: state for name, (state, _) in told.items()} == {name: state for name, (state, _) in TROUBLES.items()}
    assert all((told[name][1] or "").startswith(reason or "") for name, (_, reason) in TROUBLES.items()), told
    assert first[0].state.name == "COMPLETE"
    assert "made to fail" in (folder / "trials/short_2/error.txt").read_text()
    # the killed one went on from its checkpoint at iteration 20: nothing before it was trained twice
    killed = first[5]
    lines = [json.loads(line) for line in (folder / "trials/short_5" / REPORTS).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [20, 40, 60]
    assert list(killed.intermediate_values) == [20 * 512, 40 * 512, 60 * 512]
    assert "resumed from epoch" in "".join(p.read_text() for p in (folder / "trials/short_5").glob("*.log"))

    output = search("--resume", folder, "--retry-errored", "--extend", 1, TROUBLE="off")
    second = trials(folder)
    assert [t.state.name for t in second[:7]] == [t.state.name for t in first], "what is told stays told"
    again = {t.user_attrs["retry_of"]: t for t in second[7:] if "retry_of" in t.user_attrs}
    assert sorted(again) == [2, 3, 4, 6]
    assert all(t.params == first[n].params and t.state.name == "COMPLETE" for n, t in again.items())
    assert len(second) == 7 + 4 + 1
    assert "all results:" in output


def test_a_plain_trial_that_is_killed_measures_what_it_would_have(tmp_path):
    """As a MinMax trial does, so that the command that the search wrote down repeats it."""
    config, folder = short_config(tmp_path), tmp_path / "s"
    content = {
        "space": {
            "minmax": {"type": "choice", "options": [False]},
            "trouble": {"type": "choice", "options": ["none", "kill once"], "keys": ["custom_hooks.2.kind"]},
        },
        "points": [{"minmax": False, "trouble": kind} for kind in ("none", "kill once")],
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 2, "--no-baseline", "--max-failures", 1]
    search(config, "--space", tmp_path / "space.yaml", *options)
    whole, killed = trials(folder)
    assert (folder / "trials/short_1/killed").exists()
    assert whole.intermediate_values == killed.intermediate_values
    metrics = [{k: v for k, v in t.user_attrs["metrics"].items() if k != "seconds"} for t in (whole, killed)]
    assert metrics[0] == metrics[1]


def test_a_search_of_nothing_but_failures_stops_and_shows_the_first(tmp_path):
    config, space = short_config(tmp_path), space_file(tmp_path, ["raise"])
    output = search(
        *(config, "--space", space, "--no-baseline", "--storage-path", tmp_path, "--name", "s"),
        *("--num-samples", 30),
        code=1,
    )
    assert re.search("nothing but failures: short trial [01]: ValueError: this trial was made to fail", output)
    assert "search_trouble.py" in output, "its traceback"
    assert len(trials(tmp_path / "s")) <= 6


def test_an_objective_that_is_never_measured_ends_the_search_after_one_trial(tmp_path):
    config = short_config(tmp_path)  # of whose hook Trouble nobody knows what it measures
    options = ["--metric", "nothing", "--storage-path", tmp_path, "--name", "s", "--max-concurrent", 1]
    output = search(config, "--space", space_file(tmp_path), *options, code=1)
    assert "the objective 'nothing' was never measured in short: name another with --metric" in output
    assert [t.state.name for t in trials(tmp_path / "s") if t.state.name != "WAITING"] == ["FAIL"]


def test_a_full_disk_ends_the_search_with_one_message_and_is_retried(tmp_path):
    config, space, folder = short_config(tmp_path), space_file(tmp_path, ["disk", "none"]), tmp_path / "s"
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 3, "--max-concurrent", 1]
    output = search(config, "--space", space, *options, code=1)
    assert "the disk is full" in output
    assert output.count("error:") == 1
    search("--resume", folder, TROUBLE="off")
    states = [t.state.name for t in trials(folder)]
    assert (states[:2], states.count("COMPLETE")) == (["COMPLETE", "FAIL"], 3)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs Linux and root")
    yield folder
    stop_all()
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_file_system_that_fills_up_ends_the_search_with_one_line(tmp_path, small_disk):
    """The storage of the studies fills up with it, other than where a trial alone finds it full."""
    config, folder = short_config(tmp_path), small_disk / "s"
    options = ["--storage-path", small_disk, "--name", "s", "--num-samples", 1, "--max-concurrent", 1]
    output = search(config, "--space", space_file(tmp_path), *options, code=1)
    assert f"error: the disk is full: make room; then --resume {folder}" in output
    assert "Traceback" not in output
    assert "invalid data" not in output
    assert "report.html" not in output
    output = search("--resume", folder, code=1)  # on the disk that is still full
    assert "error: the disk is full: make room, then --resume" in output
    assert "Traceback" not in output


def test_a_worker_that_ray_kills_for_want_of_memory_is_not_started_again(tmp_path):
    # the limit is below what is in use anyway
    limits = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "250"}
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 1]
    search(short_config(tmp_path), "--space", space_file(tmp_path), *options, code=1, **limits)
    (trial,) = trials(tmp_path / "s")
    assert trial.user_attrs["reason"] == "out of memory: Ray killed its worker when the node ran low"
    assert (tmp_path / "s/trials/short_0/error.txt").read_text().count("Failure #") == 1


def test_a_time_budget_cuts_what_runs_and_keeps_what_it_measured(tmp_path):
    config, space = short_config(tmp_path, pause=0.5, iterations=2000, interval=5), space_file(tmp_path)
    for budget in (60, 200):  # the second on a busy machine, where a minute sees no measurement
        options = ["--storage-path", tmp_path, "--name", budget, "--num-samples", 8, "--time-budget", f"{budget}s"]
        search(config, "--space", space, *options, "--max-concurrent", 2, code=1)  # 1: no trial was finished
        stored = trials(tmp_path / str(budget))
        started = [t for t in stored if t.state.name == "PRUNED"]
        if len(started) == 2 and all(t.intermediate_values for t in started):
            break
    assert len(started) == 2
    assert all(t.user_attrs["reason"] == "time budget" and t.intermediate_values for t in started)
    assert not any(t.state.name == "RUNNING" for t in stored)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order_and_resume_goes_on_from_the_checkpoint(tmp_path, number, code):
    config, folder = short_config(tmp_path, pause=0.05, iterations=200), tmp_path / "s"
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 3, "--max-concurrent", 1]
    run = start(config, "--space", space_file(tmp_path), *options)
    wait_for(lambda: any((folder / "trials/short_1").rglob("iter_40.pth")), run)
    # Ctrl-C goes to the whole group of the terminal, a job's SIGTERM to the process alone
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
    output, _ = run.communicate(timeout=250)
    assert run.returncode == code, output
    assert f"go on with --resume {folder}" in output
    stored = trials(folder)
    assert [t.state.name for t in stored[:2]] == ["COMPLETE", "FAIL"]
    assert stored[1].user_attrs["reason"].startswith("interrupted")
    assert "COMPLETE" in (folder / "trials.csv").read_text()

    search("--resume", folder)
    stored = [t for t in trials(folder) if t.state.name == "COMPLETE"]
    assert len(stored) == 3
    (again,) = (t for t in stored if t.user_attrs.get("retry_of") == 1)
    assert list(again.intermediate_values) == [20 * 512 * i for i in range(1, 11)]
    log = "".join(p.read_text() for p in (folder / f"trials/short_{again.number}").glob("*.log"))
    assert "resumed from epoch" in log


def test_a_search_survives_kills_of_its_driver_at_random_moments(tmp_path):
    config, folder, log = short_config(tmp_path, pause=0.02), tmp_path / "s", tmp_path / "log"
    moments = random.Random(0)
    run = start(
        *(config, "--space", space_file(tmp_path), "--storage-path", tmp_path, "--name", "s", "--num-samples", 8),
        log=log,
    )
    complete: dict[int, float] = {}
    for kill in range(3):
        wait_for((folder / "search.json").exists, run)  # to look earlier would make the database
        wait_for(lambda kill=kill: len(trials(folder)) > 2 * kill, run)  # it is under way
        time.sleep(moments.uniform(0, 8))
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        complete |= {t.number: t.value for t in trials(folder) if t.state.name == "COMPLETE"}
        run = start("--resume", folder, log=log)
    assert run.wait(timeout=1000) == 0, log.read_text()
    check_consistent(folder, complete, 8)


def check_consistent(folder, complete, wanted):
    """What a killed and resumed search must look like in the end."""
    stored = trials(folder)
    assert {t.state.name for t in stored} <= {"COMPLETE", "FAIL"}
    assert sum(t.state.name == "COMPLETE" for t in stored) == wanted
    for number, value in complete.items():
        assert (stored[number].state.name, stored[number].value) == ("COMPLETE", value), "nothing COMPLETE is lost"
    retried = [t.user_attrs["retry_of"] for t in stored if "retry_of" in t.user_attrs]
    assert len(set(retried)) == len(retried), "each is run again once"
    assert all(stored[n].state.name == "FAIL" for n in retried), "nothing COMPLETE is run again"
    failed = {t.number: t.user_attrs["reason"] for t in stored if t.state.name == "FAIL"}
    assert set(failed) == set(retried)
    assert set(failed.values()) <= {"the search was killed"}


STALL = """
import pathlib, sys, time
stalled = pathlib.Path(__file__).with_name("stalled")
if any(word.endswith("dashboard/agent.py") for word in sys.orig_argv) and not stalled.exists():
    stalled.touch()
    time.sleep(25)
"""


def test_a_machine_that_stalls_while_ray_starts_costs_the_time(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STALL)  # which every Python begins with: so the first of Ray's agents
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", 1]
    search(short_config(tmp_path), *options, PYTHONPATH=f"{tmp_path}{os.pathsep}{HERE}")
    assert (tmp_path / "stalled").exists()
    assert [t.state.name for t in trials(tmp_path / "s")] == ["COMPLETE"]


@pytest.mark.filterwarnings("ignore")  # Ray's own, of a cluster in this process
def test_a_node_killed_under_a_trial_costs_that_trial_its_time_only(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # long enough for both to be under way at once, however late a worker starts
    config, folder = short_config(tmp_path, pause=0.2, iterations=200), tmp_path / "s"

    def ports():
        return {name: free_port() for name in AGENT_PORTS.values()}

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    try:
        node = cluster.add_node(num_cpus=1, **ports())
        cluster.wait_for_nodes()
        run = start(
            *(config, "--space", space_file(tmp_path), "--storage-path", tmp_path, "--name", "s"),
            *("--num-samples", 2, "--address", cluster.address, "--fresh-workers"),
            log=tmp_path / "log",
        )
        both = [folder / f"trials/short_{number}" for number in (0, 1)]
        wait_for(lambda: all(any(path.rglob("iter_20.pth")) for path in both), run)
        cluster.remove_node(node, allow_graceful=False)
        assert run.wait(timeout=1000) == 0, (tmp_path / "log").read_text()
    finally:
        ray.shutdown()
        cluster.shutdown()
    stored = trials(folder)
    assert [t.state.name for t in stored] == ["COMPLETE"] * 2
    logs = [len(list((folder / f"trials/short_{number}").glob("2*.log"))) for number in (0, 1)]
    assert sorted(logs) == [1, 2], "one of the two was started again"
    assert "died" in (tmp_path / "log").read_text()
