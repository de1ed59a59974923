"""The check of a cluster's nodes, and searches on real Ray clusters of this machine."""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import optuna
import pytest
import ray
from optuna.trial import TrialState
from search_runs import AGENT_PORTS, ROOT, free_port

from minmax_plugin.errors import ClusterError
from minmax_tune import nodes
from minmax_tune.nodes import check_nodes
from minmax_tune.storage import open_storage
from minmax_tune.tuner import init_ray

PAGES = [ROOT / "docs/cluster.md", ROOT / "docs/thousand-trials.md"]

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def of_the_page(section, **replaced):
    """The words of each command in a section of the pages, what they leave to their reader filled in."""
    (text,) = re.findall(
        rf"^## {section}\n(.*?)(?=^## |\Z)", "".join(map(Path.read_text, PAGES)), re.DOTALL | re.MULTILINE
    )
    block = "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    for placeholder, value in replaced.items():
        assert placeholder in block
        block = block.replace(placeholder, str(value))
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def local_ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
        init_ray(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.mark.usefixtures("local_ray")
class TestNodes:
    def test_like_nodes_pass_and_nothing_stays_behind(self, tmp_path):
        assert len(check_nodes(tmp_path / "shared")) == 1
        assert list((tmp_path / "shared").iterdir()) == []

    @pytest.mark.parametrize("what", ["torch", "code of this project"])
    def test_another_version_is_named(self, monkeypatch, what):
        ours = {**nodes.versions(), what: "0.1"}
        monkeypatch.setattr(nodes, "versions", lambda: ours)
        with pytest.raises(
            ClusterError, match=rf"node [\d.]+ .* has {what} .*, but this process has 0\.1: use the same"
        ):
            check_nodes()


@contextlib.contextmanager
def started(*command, env, **options):
    """A process of our own, ended with all that it started; never others' Rays."""
    process = subprocess.Popen(list(map(str, command)), env=env, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)  # Ray stops what it started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def environment():
    temporary = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # not pytest's: a socket's path must be short
    more = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex, "OMP_NUM_THREADS": "1"}
    more |= {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "240", "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "200"}
    yield {**os.environ, **more, "RAY_TMPDIR": temporary, "PYTHONPATH": str(ROOT)}
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def short(tmp_path):
    path = tmp_path / "short.py"
    path.write_text(
        f"_base_ = {str(ROOT / 'configs/four_gaussians_minmax.py')!r}\n"
        "total_iters = 60\n"
        "checkpoint_config = dict(interval=20, by_epoch=False)\n"
        "metrics_hook = dict(type='SampleMetrics', interval=20, metrics=[dict(type='ModeCoverage', num_images=200)])\n"
        "custom_hooks = [metrics_hook, dict(type='MinMaxHook')]\n"
    )
    return path


def start_ray(env, *options):
    more = ["--block", "--disable-usage-stats", "--num-cpus=1", f"--temp-dir={env['RAY_TMPDIR']}"]
    ports = [f"{option}={free_port()}" for option in AGENT_PORTS]
    return started(*RAY, "start", *options, *more, *ports, env=env)  # what it says is shown if a test fails


def wait_for_nodes(arguments, env):
    command = [sys.executable, "-m", "minmax_tune.nodes", *arguments]
    deadline = time.monotonic() + 300
    while True:
        told = subprocess.run(command, env=env, capture_output=True, text=True)
        if told.returncode == 0 or time.monotonic() > deadline:
            return told
        time.sleep(1)


@pytest.mark.slow
def test_a_search_on_a_cluster_of_two_nodes(tmp_path, short, environment, postgres):
    """The page of a thousand trials, with four of them."""
    port = free_port()
    place = {"6379": port, "HEAD": "127.0.0.1"}
    token, head, worker, nodes = of_the_page("2. The nodes", **place, **{"--nodes 4": "--nodes 2", "/shared": "~"})
    mine = {"1000": 4, "--gpus-per-trial 0.5": "--gpus-per-trial 0", "asha": "none", "CONFIG": short}
    mine |= {"DATABASE": f"127.0.0.1:{postgres.port}", "/shared": tmp_path}
    (search,) = of_the_page("3. The search", **place, **mine)
    look, *_servers = of_the_page("4. Looking at it", **{"/shared": tmp_path})
    (resume,) = of_the_page("5. Stopping and resuming", **place, **{"/shared": tmp_path})
    report, _ray_stop = of_the_page("6. The result", **{"/shared": tmp_path})
    assert token[0] == "export"
    assert {word.partition("=")[0] for word in token[1:]} <= set(environment)
    assert head[:2] == worker[:2] == ["ray", "start"]
    assert nodes[:3] == ["python", "-m", "minmax_tune.nodes"]
    environment["PASSWORD"] = postgres.quoted
    folder = tmp_path / "searches/thousand"

    def run(command, code=0, **env):
        command = [sys.executable, *command[1:]] if command[0] == "python" else command
        told = subprocess.run(command, cwd=ROOT, env={**environment, **env}, capture_output=True, text=True)
        assert told.returncode == code, told.stdout + told.stderr
        return told

    # longer than a worker takes to start: else the first would do them all, one after the other
    text = short.read_text().replace("total_iters = 60", "total_iters = 600").replace("interval=20", "interval=200")
    short.write_text(text)
    here = ["--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    with start_ray(environment, *head[2:], *here), start_ray(environment, *worker[2:]):
        told = wait_for_nodes(nodes[3:], {**environment, "HOME": str(tmp_path)})
        assert told.stdout.startswith("2 nodes, all alike"), told.stderr
        assert (tmp_path / "searches").is_dir()
        # who has another token is kept out, with one clear error
        assert "--address=" in run([*search, "--name", "no"], code=2, RAY_AUTH_TOKEN=uuid.uuid4().hex).stderr
        run(search)
        assert "started" in run(look).stdout
        run([*resume, "--extend", "1"])
    shutil.rmtree(folder / "best")
    run(report)
    assert (folder / "best/short").is_dir()
    storage = open_storage(postgres.url(postgres.quoted), folder)
    trials = optuna.load_study(study_name="thousand-short", storage=storage).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 5
    # each node has room for one trial, so two ran at once only if both were used
    begun = [(folder / f"trials/short_{t.number}/config.py").stat().st_mtime for t in trials]
    ended = [t.datetime_complete.timestamp() for t in trials]
    assert any(begun[a] < begun[b] < ended[a] for a in range(4) for b in range(4))


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="it takes root to hide a folder")
def test_a_node_that_does_not_share_the_folder_is_refused(tmp_path, short, environment):
    port = free_port()
    address = f"127.0.0.1:{port}"
    hidden = tmp_path / "out"
    hidden.mkdir()
    head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false"]
    worker = [*RAY, "start", "--block", "--num-cpus=1", f"--address={address}", "--disable-usage-stats"]
    elsewhere = f"mount -t tmpfs none {hidden} && exec {shlex.join(worker)}"
    with start_ray(environment, *head), started("unshare", "--mount", "sh", "-c", elsewhere, env=environment):
        assert wait_for_nodes([address, "--nodes", "2"], environment).returncode == 0
        search = [sys.executable, ROOT / "tune/search.py", short, "--address", address, "--storage-path", hidden]
        told = subprocess.run(list(map(str, search)), env=environment, capture_output=True, text=True)
    assert told.returncode == 2
    assert re.search(r"error: node [\d.]+ .* does not see .*: give --storage-path a folder that all", told.stderr)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("aiohttp_cors") is None, reason="ray[default] is not installed")
def test_a_search_as_a_ray_job(tmp_path, short, environment):
    port, dashboard = free_port(), free_port()
    head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard}"]
    _, submit = of_the_page(
        "As a Ray job", **{"HEAD:8265": f"127.0.0.1:{dashboard}", "CONFIG": short, "/shared": tmp_path}
    )
    submit = [*RAY, *submit[1:], "--num-samples", "2", "--name", "job"]
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with start_ray(environment, *head, "--include-dashboard=true"):
        assert wait_for_nodes([f"127.0.0.1:{port}", "--nodes", "1"], environment).returncode == 0
        deadline = time.monotonic() + 200
        while True:  # the dashboard, and the agent that takes jobs, start after the node
            told = subprocess.run(submit, cwd=ROOT, env=environment, capture_output=True, text=True)
            early = re.search("No available agent|Failed to connect|status code 500", told.stderr)
            if not early or time.monotonic() > deadline:
                break
            time.sleep(1)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "succeeded" in told.stdout
    trials = optuna.load_study(study_name="job-short", storage=journal(tmp_path / "night.journal")).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2


SHIMS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'echo "$@" >> "$SCONTROL_LOG"',
}


@pytest.fixture
def job_id():
    """A number for a job on Slurm, under which its Ray keeps what it needs."""
    yield str(os.getpid())
    shutil.rmtree(f"/tmp/ray-{os.getpid()}", ignore_errors=True)


@pytest.mark.slow
def test_the_slurm_script_stops_in_time_and_goes_on_when_it_is_requeued(tmp_path, short, environment, job_id):
    """The script itself, with Ray and the search; of Slurm only what it hands to a job of one node."""
    for name, body in SHIMS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}",
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_ID": job_id,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURMD_NODENAME": "here",
        "SLURM_CPUS_PER_TASK": "1",
        "PYTHON": sys.executable,
        "HEAD_IP": "127.0.0.1",
    }
    folder = tmp_path / "night"
    ((sbatch, *given),) = of_the_page(
        "On Slurm",
        **{"/shared/searches/night": folder, "CONFIG": short, "200": "6", "--gpus-per-trial 0.5": "--gpus-per-trial 0"},
    )
    assert sbatch == "sbatch"
    script = ["bash", *(word for word in given if not re.match("--(nodes|cpus-per-task|gpus-per-node|time)=", word))]
    # six trials that would take too long are cut short ...
    short.write_text(short.read_text().replace("total_iters = 60", "total_iters = 100"))
    with started(*script, env={**environment, **slurm}, cwd=ROOT) as job:
        deadline = time.monotonic() + 400
        while not ((folder / "trials.csv").exists() and "COMPLETE" in (folder / "trials.csv").read_text()):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(200) != 0
    assert (tmp_path / "scontrol.log").read_text() == f"requeue {job_id}\n"
    study = optuna.load_study(study_name="night-short", storage=journal(f"{folder}.journal"))
    before = [t.number for t in study.trials if t.state == TrialState.COMPLETE]
    assert 1 <= len(before) < 6
    # ... and the same job, started again, does the others
    with started(*script, env={**environment, **slurm}, cwd=ROOT) as job:
        assert job.wait(400) == 0
    study = optuna.load_study(study_name="night-short", storage=journal(f"{folder}.journal"))
    done = [t.number for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(done) == 6
    assert set(before) <= set(done)


def journal(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
