"""Runs the search command as a user does, for tests of searches with real Ray."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import yaml

ROOT = Path(__file__).parents[1]
STARTED: list[subprocess.Popen] = []
GIVEN: set[int] = set()
# Of the agents of a node of Ray, as options of `ray start` and as parameters: a node whose agents take more than 15 s
# to tell which ports they chose ends itself, one whose ports are given does not.
AGENT_PORTS = {
    "--dashboard-agent-listen-port": "dashboard_agent_listen_port",
    "--dashboard-agent-grpc-port": "metrics_agent_port",
    "--metrics-export-port": "metrics_export_port",
    "--runtime-env-agent-port": "runtime_env_agent_port",
}
HERE = Path(__file__).parent
GAUSSIANS = str(ROOT / "configs/four_gaussians_minmax.py")


def short_config(folder, name="short", pause=0.0, iterations=60, interval=20):
    """Write a config that trains in some seconds, with a checkpoint at each measurement."""
    path = folder / f"{name}.py"
    path.write_text(
        f"_base_ = {GAUSSIANS!r}\n"
        "custom_imports = dict(imports=['minmax_plugin.mmgen', 'search_trouble'], allow_failed_imports=False)\n"
        f"total_iters = {iterations}\n"
        f"checkpoint_config = dict(interval={interval}, by_epoch=False)\n"
        f"metrics_hook = dict(type='SampleMetrics', interval={interval},\n"
        "                    metrics=[dict(type='ModeCoverage', num_images=200)])\n"
        "trouble = dict(type='Trouble', kind='none', pause=%r)\n"
        "custom_hooks = [metrics_hook, dict(type='MinMaxHook'), trouble]\n" % pause
    )
    return path


def free_port():
    """A port for a server; of those that no outgoing connection and no worker of Ray is given in the meantime."""
    ports = range(20000, 32768)  # Linux hands out those above, Ray those below
    while True:
        port = random.SystemRandom().choice(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port


def space_file(folder, kinds=("none",)):
    """Write a space of one learning rate and the kinds of trouble, each of them a point."""
    content = {
        "space": {
            "optimizer.generator.lr": {"type": "float", "low": 1e-4, "high": 2e-3, "log": True},
            "trouble": {"type": "choice", "options": list(dict.fromkeys(kinds)), "keys": ["custom_hooks.2.kind"]},
        },
        "points": [{"trouble": kind} for kind in kinds],
    }
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def start(*arguments, cwd=None, log=None, **env):
    """Start the command in a session of its own; its output goes to ``log`` or a pipe."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with open(log, "a") if log else contextlib.nullcontext(subprocess.PIPE) as output:
        run = subprocess.Popen(
            [sys.executable, str(ROOT / "tune/search.py"), *map(str, arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **env},
            start_new_session=True,
        )
    run.log = log
    STARTED.append(run)
    return run


def stop_all():
    """Kill what a failed test has left running."""
    while STARTED:
        run = STARTED.pop()
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def search(*arguments, code=0, timeout=1000, **more):
    """Run the command to its end, and check its exit code."""
    run = start(*arguments, **more)
    try:
        output, _ = run.communicate(timeout=timeout)
    except BaseException:  # pytest's own limit too
        stop_all()
        print(run.communicate()[0])
        raise
    assert run.returncode == code, output
    return output


def trials(folder, study="short"):
    """The trials of a study, as the search's own SQLite file has them."""
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder / 'optuna.db'}").get_trials()


def wait_for(condition, run, timeout=250):
    """Wait until a condition holds while the command runs."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            if condition():
                return
        except Exception as error:  # Optuna's and SQLAlchemy's: the study is not there yet, or half of it
            last = error
        assert run.poll() is None, run.stdout.read() if run.stdout else run.log.read_text()
        assert time.monotonic() < deadline, last
        time.sleep(0.2)
