"""The files that start a cluster: well formed, and in agreement with what they run."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from search_runs import ROOT

from minmax_tune.cli import parse

FILES = ROOT / "tune/cluster"

SCRIPTS = [FILES / "start_or_resume.sh", FILES / "search.sbatch"]


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
