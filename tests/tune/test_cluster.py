"""The files that start a cluster, the check of its nodes, and searches on real Ray clusters of this machine."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from pathlib import Path

import jsonschema
import optuna
import pytest
import ray
import yaml
from optuna.trial import TrialState
from search_runs import AGENT_PORTS, free_port

from minmax_plugin.errors import ClusterError
from minmax_tune import nodes
from minmax_tune.cli import parse
from minmax_tune.nodes import check_nodes
from minmax_tune.tuner import init_ray

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tune/cluster"
PAGE = ROOT / "docs/cluster.md"
SCRIPTS = [FILES / "start_or_resume.sh", FILES / "search.sbatch"]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def launcher():
    return yaml.safe_load((FILES / "ray-cluster.yaml").read_text())


def test_the_launchers_file_is_valid_by_rays_own_schema():
    from ray.autoscaler._private.util import prepare_config, validate_config  # as `ray up` does

    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(launcher(), schema)
    prepared = prepare_config(launcher())  # with what the kind of provider adds
    validate_config(prepared)
    assert prepared["max_workers"] == len(launcher()["provider"]["worker_ips"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**launcher(), "worker_count": 2}, schema)


# The parts of KubeRay 1.5's RayJob that ours uses, by its type definitions (ray-operator/apis/ray/v1).
GROUP = {
    "type": "object",
    "required": ["rayStartParams", "template"],
    "properties": {
        "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {"type": "object", "required": ["spec"]},
        "groupName": {"type": "string"},
        **{name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")},
    },
    "additionalProperties": False,
}
RAYJOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["entrypoint", "rayClusterSpec"],
            "properties": {
                "entrypoint": {"type": "string"},
                "backoffLimit": {"type": "integer", "minimum": 0},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                "rayClusterSpec": {
                    "type": "object",
                    "required": ["headGroupSpec"],
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "authOptions": {"properties": {"mode": {"enum": ["token", "disabled"]}}},
                        "headGroupSpec": GROUP,
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": {
                                **GROUP,
                                "required": [*GROUP["required"], "groupName", "minReplicas", "maxReplicas"],
                            },
                        },
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def rayjob():
    return list(yaml.safe_load_all((FILES / "rayjob.yaml").read_text()))


def pods():
    spec = rayjob()[1]["spec"]["rayClusterSpec"]
    return [spec["headGroupSpec"]["template"]["spec"]] + [g["template"]["spec"] for g in spec["workerGroupSpecs"]]


def test_the_rayjob_is_well_formed_and_agrees_with_itself():
    claim, job = rayjob()
    jsonschema.validate(job, RAYJOB)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == importlib.metadata.version("ray")
    for pod in pods():
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        (volume,) = pod["volumes"]
        assert mounts == {volume["name"]: "/shared"}
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert container["image"] == pods()[0]["containers"][0]["image"]
    # what it runs is there in the image, and is a command line of ours
    shell, script, folder, address, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (shell, address) == ("bash", "auto")
    assert folder.startswith("/shared/")
    assert Path(script.replace("/minmax-plugin", str(ROOT))).exists()
    (config,) = parse(arguments).options().configs
    assert Path(config.replace("/minmax-plugin", str(ROOT))).exists()


def test_its_pods_and_claim_are_valid_for_kubernetes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for pod in pods():
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}, "1.30"
        )
    kubernetes_validate.validate(rayjob()[0], "1.30")


def test_the_image_is_built_of_files_and_extras_that_exist():
    text = (FILES / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    extras = set(re.search(r'"\.\[(.*)\]"', text)[1].split(","))
    assert extras <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_well_formed(script):
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)
    told = subprocess.run(["bash", script], capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr.startswith("usage: ")


def test_the_same_line_starts_a_search_and_goes_on_with_it(tmp_path):
    folder = tmp_path / "a b" / "night"

    def line():
        command = ["bash", FILES / "start_or_resume.sh", folder, "10.0.0.1:6379", "x.py", "--num-samples", "9"]
        environment = {**os.environ, "PYTHON": "echo"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert line().endswith(
        f"tune/search.py --storage journal:{folder}.journal x.py --num-samples 9 "
        f"--address 10.0.0.1:6379 --storage-path {folder.parent} --name night"
    )
    folder.mkdir(parents=True)
    (folder / "search.json").touch()
    assert line().endswith(f"tune/search.py --resume {folder} --address 10.0.0.1:6379")


def of_the_page(section, **replaced):
    """The words of each command in a section of docs/cluster.md, what it leaves to its reader filled in."""
    (block,) = re.findall(rf"^## {section}\n.*?```bash\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
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


def wait_for_nodes(address, number, env, *more):
    command = [sys.executable, "-m", "minmax_tune.nodes", address, "--nodes", str(number), *more]
    deadline = time.monotonic() + 300
    while True:
        told = subprocess.run(command, env=env, capture_output=True, text=True)
        if told.returncode == 0 or time.monotonic() > deadline:
            return told
        time.sleep(1)


@pytest.mark.slow
def test_a_search_on_a_cluster_of_two_nodes(tmp_path, short, environment):
    port = free_port()
    address = f"127.0.0.1:{port}"
    secrets, head, worker, search = of_the_page(
        "A cluster that you start", **{"6379": port, "HEAD": "127.0.0.1", "CONFIG": short, "/shared": tmp_path}
    )
    assert secrets[0] == "export"
    assert {word.partition("=")[0] for word in secrets[1:]} <= set(environment)
    assert head[:2] == worker[:2] == ["ray", "start"]
    assert search[:2] == ["python", "tune/search.py"]
    search = [sys.executable, *search[1:], "--num-samples", "4"]
    # longer than a worker takes to start: else the first would do them all, one after the other
    text = short.read_text().replace("total_iters = 60", "total_iters = 600").replace("interval=20", "interval=200")
    short.write_text(text)
    here = ["--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    with start_ray(environment, *head[2:], *here), start_ray(environment, *worker[2:]):
        told = wait_for_nodes(address, 2, {**environment, "HOME": str(tmp_path)}, "--folder", "~/searches")
        assert told.stdout.startswith("2 nodes, all alike"), told.stderr
        assert (tmp_path / "searches").is_dir()
        # who has another token is kept out, with one clear error
        stranger = {**environment, "RAY_AUTH_TOKEN": uuid.uuid4().hex}
        told = subprocess.run([*search, "--name", "no"], cwd=ROOT, env=stranger, capture_output=True, text=True)
        assert (told.returncode, "--address=" in told.stderr) == (2, True), told.stderr
        told = subprocess.run([*search, "--name", "yes"], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
    trials = optuna.load_study(study_name="yes-short", storage=journal(tmp_path / "night.journal")).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 4
    # each node has room for one trial, so two ran at once only if both were used
    begun = [(tmp_path / f"searches/yes/trials/short_{t.number}/config.py").stat().st_mtime for t in trials]
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
        assert wait_for_nodes(address, 2, environment).returncode == 0
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
        assert wait_for_nodes(f"127.0.0.1:{port}", 1, environment).returncode == 0
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
