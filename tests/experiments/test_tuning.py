"""Settings are searched on seeds that are not reported."""

import json

import pytest

from experiments import tuning
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS, TUNABLE
from experiments.tuning import space_of
from minmax_plugin.mmgen.config import load_config
from minmax_tune.cli import parse
from minmax_tune.space.space import Space
from minmax_tune.study import Search


@pytest.mark.parametrize("method", TUNABLE)
@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01_embedded", "cifar10"])
def test_a_tunable_method_has_a_space_that_fits_it(experiment, method):
    task = EXPERIMENTS[experiment]
    space = Space.load(space_of(task, method))
    space.check({method: METHODS[method].config(task, {})})
    assert any("minmax" in name for name in space.content["space"]) == (method == "practical")


def test_settings_are_searched_on_one_of_the_experiments_that_share_them(tmp_path):
    reason = tuning.tune("eight_gaussians", "gda-1", 2, 1, tmp_path)
    assert reason == "it trains with the settings that are searched on four_gaussians"
    assert not list(tmp_path.iterdir())
    assert {EXPERIMENTS[row.networks].networks for row in EXPERIMENTS.values()} <= set(EXPERIMENTS)


def test_a_search_uses_other_seeds_and_is_resumed(tmp_path, commands):
    assert "exit code 3" in tuning.tune("four_gaussians", "gda-1", 2, 1, tmp_path)
    options = parse(commands[0][2:]).options()
    assert (options.seed, options.seeds, options.num_samples) == (1001, 4, 2)
    assert options.directions == [("balance", "max")]
    configs = {"gda-1": load_config(options.configs[0])}
    folder = tmp_path / "tuning/four_gaussians/gda-1"
    Search.create(folder, options, Space.read(options.space), configs)
    assert "exit code 3" in tuning.tune("four_gaussians", "gda-1", 5, 1, tmp_path)
    assert commands[1][2:] == ["--resume", str(folder), "--extend", "3", "--max-concurrent", "1"]
    assert tuning.objective_of(EXPERIMENTS["cifar10"]) == "kid:min"


def test_the_best_settings_are_written(tmp_path, new_result):
    record = new_result("gda-1", "COMPLETE", "FAIL: ValueError: no", "FAIL: interrupted")
    found = dict(settings={"optimizer.generator.lr": 0.002}, params={"lr": 0.002}, objectives={}, trial=0, seeds=[1001])
    best = record.folder / "best" / "gda-1"
    best.mkdir(parents=True)
    (best / "params.json").write_text(json.dumps(found))
    (record.folder / "trials.csv").write_text("trial\n0\n")
    tuning.write_best(record.folder, tmp_path / "best/gda-1.json", "four_gaussians", "gda-1")
    kept = json.loads((tmp_path / "best/gda-1.json").read_text())
    assert kept["settings"] == found["settings"]
    assert kept["command"] == "python -m experiments four_gaussians gda-1 --tune --trials 2"  # that ended
    assert (tmp_path / "best/gda-1_trials.csv").read_text() == "trial\n0\n"
