"""Compares the nodes of a Ray cluster: ``python -m minmax_tune.nodes ADDRESS`` waits for them first."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import minmax_plugin
import minmax_tune
from minmax_plugin.errors import ClusterError
from minmax_plugin.hosts import TOOLKITS
from minmax_plugin.installed import installed

SOURCES = [Path(str(package.__file__)).resolve().parent for package in (minmax_plugin, minmax_tune)]
PACKAGES = ("ray", "torch", "torchvision", "optuna", *TOOLKITS, "numpy")  # what results depend on


def source_folders() -> list[str]:
    """List the folders from which this process has the project's packages, for the workers on this machine."""
    return list(dict.fromkeys(str(folder.parent) for folder in SOURCES))


def versions(sources: Sequence[Path] = tuple(SOURCES)) -> dict[str, str]:
    """Return the versions in a process: Python, the packages, and a digest of this project's own code.

    Args:
        sources: The folders of the project's packages.

    Examples:
        >>> list(versions())[:2], len(versions()["code of this project"])
        (['python', 'ray'], 12)
    """
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*.py")):
            digest.update(path.relative_to(source.parent).as_posix().encode() + path.read_bytes())
    return {**installed(PACKAGES), "code of this project": digest.hexdigest()[:12]}


def check_nodes(folder: Path | None = None, timeout: float = 120) -> list[str]:
    """Compare each living node of the connected Ray cluster with this process.

    Args:
        folder: The folder of the search. Every node must see it under the same path.
        timeout: The seconds that a node has for its answer.

    Returns:
        The addresses of the nodes.

    Raises:
        ClusterError: If a node differs, does not see ``folder``, or does not answer. The message names the first one.
    """
    nodes = {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]}
    expected = versions()
    probe = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.write_text(probe.name)
    try:
        asked = {
            node: _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(probe)
            for node in nodes
        }
        for node, answer in asked.items():
            where = f"node {nodes[node]} of the Ray cluster"
            try:
                found, sees_folder = ray.get(answer, timeout=timeout)
            except RayError as error:
                raise ClusterError(
                    f"{where} cannot run this project's code: {str(error).strip().splitlines()[-1]}; "
                    "install it there (docs/cluster.md)."
                ) from error
            for name, version in expected.items():
                if found.get(name) != version:
                    raise ClusterError(
                        f"{where} has {name} {found.get(name)}, but this process has {version}: use the same "
                        "environment on all nodes (docs/cluster.md)."
                    )
            if not sees_folder:
                raise ClusterError(f"{where} does not see {folder}: give --storage-path a folder that all nodes share.")
    finally:
        if probe is not None:
            probe.unlink(missing_ok=True)
    return sorted(nodes.values())


@ray.remote(num_cpus=0, max_retries=0)
def _look(probe: Path | None) -> tuple[dict[str, str], bool]:
    # Runs on the node, once and before any trial. mmcv uses YAPF, which builds a cache at its first import. Several
    # trials that did so at once would find half of it.
    importlib.import_module("yapf")
    # A network file system may take a moment to show a new file.
    deadline = time.monotonic() + 10
    while probe is not None and time.monotonic() < deadline and not probe.exists():
        time.sleep(0.2)
    return versions(), probe is None or probe.exists()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code: 2 if nodes are missing or differ."""
    parser = argparse.ArgumentParser(prog="python -m minmax_tune.nodes", description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT", help="address of the cluster's head")
    parser.add_argument("--nodes", type=int, default=1, help="wait until so many nodes have joined (default: 1)")
    parser.add_argument("--folder", type=lambda text: Path(text).expanduser(), help="a folder that every node must see")
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait (default: 120)")
    args = parser.parse_args(argv)
    try:
        ray.init(
            address=args.address,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(source_folders())}},
        )
        deadline = time.monotonic() + args.timeout
        while (joined := sum(n["Alive"] for n in ray.nodes())) < args.nodes:
            if time.monotonic() > deadline:
                raise ClusterError(f"--nodes={args.nodes}: only {joined} joined within {args.timeout:g} s.")
            time.sleep(1)
        addresses = check_nodes(args.folder, args.timeout)
    except (ClusterError, ConnectionError, RuntimeError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    finally:
        ray.shutdown()
    print(f"{len(addresses)} nodes, all alike: {', '.join(addresses)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
