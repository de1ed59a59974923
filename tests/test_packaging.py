"""The wheel and the sdist hold what is needed to work away from a clone."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it, as an installer does."""
    place = tmp_path_factory.mktemp("dist")
    build = "from setuptools import build_meta; import sys; print(build_meta.build_{}(sys.argv[1]))"

    def run(what, folder):
        command = [sys.executable, "-W", "ignore", "-c", build.format(what), str(place)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return place / done.stdout.splitlines()[-1]

    clone = place / "clone"  # what is built leaves traces
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    sdist = run("sdist", clone)
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    return sdist, run("wheel", place / sdist.name.removesuffix(".tar.gz"))


@pytest.mark.slow
def test_wheel_and_sdist_are_complete(built):
    sdist, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    modules = [str(p.relative_to(ROOT)) for p in (ROOT / "minmax_plugin").rglob("*.py")]
    package = ROOT / "tune/minmax_tune"
    files = [p for pattern in ("*.py", "*.yaml", "*.j2") for p in package.rglob(pattern)]
    modules += [str(p.relative_to(package.parent)) for p in files]
    configs = [f"minmax_plugin/.mim/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.py")]
    assert set(names) >= {*modules, *configs, "minmax_plugin/py.typed"}
    assert not [name for name in names if name.startswith(("tests", "tune/", "benchmarks", "experiments"))]
    with tarfile.open(sdist) as archive:
        packed = archive.getnames()
    assert {f"{packed[0].split('/')[0]}/{name}" for name in ("LICENSE", "README.md", "CITATION.cff")} <= set(packed)


@pytest.mark.slow
def test_the_wheel_works_away_from_the_clone(built, tmp_path):
    _, wheel = built
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    away = dict(cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)})
    code = "import minmax_plugin, minmax_plugin.mmgen; print(minmax_plugin.__file__)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], **away)
    assert done.stdout.strip() == str(site / "minmax_plugin/__init__.py"), done.stderr
    # a config of its own, by name
    command = ["minmax_plugin.cli.train", "four_gaussians_minmax.py", "--cfg-options", "total_iters=12"]
    done = subprocess.run([sys.executable, "-m", *command, "--work-dir", "runs"], **away)
    assert done.returncode == 0, done.stderr
    assert "MinMax: 2 cycles" in done.stderr + done.stdout
    # searches: on a config that ships, and on one of the user's own with a space of theirs
    (tmp_path / "mine.py").write_text(Path(tmp_path / "runs/four_gaussians_minmax.py").read_text())
    entry = {"type": "float", "low": 1e-4, "high": 1e-3}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"space": {"optimizer.generator.lr": entry}}))
    for name, arguments in (("ships", ["mnist01_minmax_short.py"]), ("own", ["mine.py", "--space", "mine.yaml"])):
        command = ["minmax_tune.cli", *arguments, "--num-samples", "1", "--storage-path", "out", "--name", name]
        done = subprocess.run([sys.executable, "-m", *command], **away)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "out" / name / "report.html").exists()
    code = "import minmax_tune; print(minmax_tune.__file__)"
    done = subprocess.run([sys.executable, "-c", code], **away)
    assert done.stdout.strip() == str(site / "minmax_tune/__init__.py"), done.stderr


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment(built, tmp_path):
    _, wheel = built
    place = tmp_path / "empty"
    venv.create(place, with_pip=True)
    alone = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    pip = [str(place / "bin/python"), "-m", "pip", "install", "-q", "--retries", "10"]
    pip += ["-c", str(ROOT / "constraints.txt"), str(wheel)]  # torch and what it needs are some gigabytes
    done = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True, env=alone)
    unreachable = "connection|HTTP error|No matching distribution found for torch"
    if done.returncode and re.search(unreachable, done.stderr, re.IGNORECASE):
        pytest.skip("no package index can be reached, from which torch could be installed")
    assert done.returncode == 0, done.stderr
    example = (ROOT / "docs/pytorch.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [str(place / "bin/python"), "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=alone,
    )
    shutil.rmtree(place)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\w[\w -]* \d+ 19\n", done.stdout), done.stdout
