"""The imports point one way: the search to its hosts, the hosts to the core; and no circle anywhere."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOSTS = ("minmax_plugin.lightning", "minmax_plugin.mmengine", "minmax_plugin.mmgen")
TOOLKITS = ("accelerate", "lightning", "mmagic", "mmcv", "mmengine", "mmgen")
HEAVY = {"torch", "numpy", "mmcv", "mmgen", "ray", "optuna", "matplotlib", "scipy", "pandas", "sqlalchemy"}


def modules():
    files = [ROOT / f for part in ("minmax_plugin", "tune/minmax_tune") for f in (ROOT / part).rglob("*.py")]
    names = {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}
    names = {name.removeprefix("tune."): file for name, file in names.items()}
    return dict(sorted(names.items()))


def imports(file):
    """What a file imports anywhere, in its functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module != "minmax_plugin":  # its names are lazy: each is found in its own module
                found.add(node.module)
    return found


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {name: (imports(file) & set(known)) - {name} for name, file in known.items()}


def test_no_module_imports_itself_by_a_detour(graph):
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, with the circle


def layer(name):
    if name.startswith("minmax_tune"):
        return 3
    if name.startswith("minmax_plugin.cli"):
        return 2
    return 1 if name.startswith(HOSTS) else 0


def test_imports_point_from_the_search_to_hosts_to_the_core(graph):
    upwards = [(a, b) for a, others in graph.items() for b in others if layer(b) > layer(a)]
    assert upwards == []


def test_the_search_reaches_a_toolkit_through_the_interface_of_its_host_alone():
    searches = {name: imports(file) for name, file in modules().items() if layer(name) == 3}
    assert [(a, b) for a, found in searches.items() for b in found if b.startswith((*HOSTS, *TOOLKITS))] == []
    assert any("minmax_plugin.hosts.host_of" in found for found in searches.values())


OWN = {
    "minmax_plugin.lightning": ("lightning",),
    "minmax_plugin.mmengine": ("mmengine",),
    "minmax_plugin.mmgen": ("mmcv", "mmgen"),
}


@pytest.mark.parametrize(("host", "own"), OWN.items())
def test_a_host_imports_its_own_toolkit_alone(host, own):
    others = tuple({*HOSTS, *TOOLKITS} - {host, *own})
    files = {name: file for name, file in modules().items() if name.startswith(host)}
    assert [(a, b) for a, file in files.items() for b in imports(file) if b.startswith(others)] == []


COMMANDS = ["minmax_plugin.cli.train", "minmax_plugin.cli.doctor", "minmax_plugin.cli.certify", "minmax_tune.cli"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_waits_for_nothing_heavy(command):
    code = f"""
import runpy, sys
sys.argv = [{command!r}, "--help"]
try:
    runpy.run_module({command!r}, run_name="__main__")
except SystemExit:
    pass
print(*sorted({HEAVY!r} & set(sys.modules)), sep=",")
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("usage: minmax-"), done.stderr
    assert done.stdout.splitlines()[-1] == ""
