"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def snippet(containing):
    (found,) = (code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in code)
    return found


def test_the_opt_in_lines_opt_a_config_in(tmp_path):
    from minmax_plugin.mmgen.check import check_config, minmax_settings
    from minmax_plugin.mmgen.train import load_config

    base = Path(__file__).parents[1] / "configs" / "mnist01_gda.py"
    (tmp_path / "config.py").write_text(snippet("MinMaxHook").replace("your_config.py", str(base)))
    cfg = load_config(tmp_path / "config.py")
    check_config(cfg)
    assert minmax_settings(cfg) == {"type": "MinMaxHook"}
    assert cfg.optimizer.generator.lr == 2e-4


@pytest.mark.parametrize(
    ("bullet", "experiment"),
    [
        ("**Four Gaussians.**", "four_gaussians"),
        ("**Eight Gaussians**", "eight_gaussians"),
        ("**The 5×5 grid**", "gaussian_grid"),
        ("**0-1 MNIST.**", "mnist01"),
    ],
)
def test_what_is_said_of_runs_is_what_was_measured(bullet, experiment):
    from benchmarks.evidence.__main__ import RESULTS
    from benchmarks.evidence.collect import read_results
    from benchmarks.evidence.experiments import EXPERIMENTS
    from benchmarks.evidence.page import at_end, succeeded

    # Each count must be some method's; that it is the one named is for the reader's eye.
    text = README[README.index(f"- {bullet}") :]
    text = re.split(r"\n(?:- |\n)", text)[0]
    said = {(hits, runs) for hits, runs in re.findall(r"(\d+|none) of\s+(\d+|three)", text)}
    row = EXPERIMENTS[experiment]
    frame, batches = read_results(RESULTS, experiment)
    measured = set()
    for cycle in row.reported:
        for _, runs in at_end(row, frame, cycle).groupby("method"):
            for counted in {row.wanted[0], *({"modes_by_eye"} & set(runs))}:
                had = succeeded(row, runs, batches, counted)
                measured.add((int(had.sum()), len(had)))
    words = {"none": "0", "three": "3"}
    assert said
    assert {tuple(int(words.get(n, n)) for n in pair) for pair in said} <= measured
