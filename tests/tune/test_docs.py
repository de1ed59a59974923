"""docs/searching.md: its tutorial runs as it stands, and its reference is the parser's."""

import dataclasses
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from search_runs import ROOT

from minmax_tune.cli import parse
from minmax_tune.options import DEMO, Options
from minmax_tune.space.space import Space
from minmax_tune.study import Search

MADE = runpy.run_path(str(ROOT / "docs/make_options.py"))
TEXT = MADE["DOCUMENT"].read_text()


def test_the_reference_of_options_is_the_parser_s():
    assert MADE["with_table"](TEXT) == TEXT, "run python docs/make_options.py"


def test_every_default_that_the_help_names_is_the_option_s():
    defaults = Options()
    for name, value in re.findall(r"`--([a-z-]+)[^`]*` \|[^|]*\(default: (\d+)\)", TEXT):
        assert getattr(defaults, name.replace("-", "_")) == int(value), name
    assert parse(["a.py"]).options() == dataclasses.replace(defaults, configs=("a.py",))
    assert parse([]).options() == Options(**DEMO)


def test_the_python_space_of_the_guide_draws():
    (source,) = re.findall(r"```python\n(POINTS.*?)```", TEXT, re.DOTALL)
    from minmax_plugin.mmgen.config import load_config

    Space.load({"python": source}).check({"points": load_config(ROOT / "configs/four_gaussians_gda.py")})


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path):
    for part in ("tune", "configs"):
        (tmp_path / part).symlink_to(ROOT / part)
    tutorial = TEXT[TEXT.index("## Tutorial") : TEXT.index("## Spaces")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    outputs = []
    for block in re.findall(r"```bash\n(.*?)```", tutorial, re.DOTALL):
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    assert "points trial 1: {'method': 'gda'" in outputs[1]
    assert "minmax-train" in outputs[3]
    record = Search.open(tmp_path / "tutorial/first")
    assert [t.state.name for t in record.studies["points"].trials] == ["COMPLETE"] * 6
    assert (record.folder / "report.html").exists()
