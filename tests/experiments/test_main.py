"""What is run, on which seeds, and with which rates."""

import dataclasses
import json

import pandas
import pytest

from experiments import __main__ as main
from experiments import page
from experiments.collect import Result, read_results, write_results
from experiments.cost import read_costs
from experiments.experiment import EXPERIMENTS
from experiments.pictures import write_decisions
from minmax_plugin.openmmlab import minmax_settings


@pytest.mark.slow
def test_a_method_is_run_extended_and_reported(tmp_path, monkeypatch):
    small = dataclasses.replace(EXPERIMENTS["four_gaussians"], cycles=20, every=10, reported=(20,))
    monkeypatch.setitem(EXPERIMENTS, "four_gaussians", small)
    monkeypatch.setattr(main, "RESULTS", tmp_path / "committed")
    for method in ("gda-6", "released", "random-released"):
        assert main.run("four_gaussians", method, 2, 2, tmp_path) is None
    assert main.run("four_gaussians", "gda-6", 1, 2, tmp_path, first=3) is None
    reason = main.run("four_gaussians", "gda-6", 1, 2, tmp_path, first=5)
    assert "are of the seeds from 1: give a --first from that to 4" in reason
    write_results(tmp_path, "four_gaussians")
    frame, batches = read_results(tmp_path, "four_gaussians")
    about = {batch["method"]: batch for batch in batches}
    rates = {name: about["released"][name] for name in ("accepted", "accepted_over_time", "kept_ascent")}
    assert {name: batch.get("given") for name, batch in about.items()} == {
        "gda-6": None,
        "random-released": rates,
        "released": None,
    }
    assert {name: batch["seeds"] for name, batch in about.items()} == {
        "gda-6": [1, 2, 3],
        "random-released": [1, 2],
        "released": [1, 2],
    }
    assert about["released"]["kept_ascent"] == pytest.approx(6 / about["released"]["accepted"], abs=0.01)
    assert sorted(frame["cycle"].unique()) == [10, 20]
    costs = read_costs(tmp_path, "four_gaussians")
    assert costs.filter(like="ratio").stack().between(0.3, 3).all()
    assert costs["more_mib"].between(-100, 100).all()
    assert set(costs.index) == {*about, "off-k6"}
    assert costs.loc["gda-6"].tolist() == [1, 1, 1, 0]
    decisions = tmp_path / "four_gaussians_decisions.csv"
    decisions.write_text("index,f_new,accepted,method,seed\n1,0.5,1,best,1\n2,0.5,1,released,1\n")  # of an earlier day
    write_decisions(tmp_path, tmp_path, "four_gaussians")
    assert pandas.read_csv(decisions).value_counts("method").to_dict() == {"released": 20, "best": 1}
    page.write_page(tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    assert "GDA, k = 6 | 0/3" in text
    assert "Empty for want of machine time: 20 runs" in text
    assert (tmp_path / "images/results_four_gaussians.png").exists()
    monkeypatch.setitem(EXPERIMENTS, "four_gaussians", dataclasses.replace(small, rate=0.5))
    reason = main.run("four_gaussians", "released", 4, 2, tmp_path)
    assert "begun with another config" in reason
    assert main.run("four_gaussians", "random-released", 2, 2, tmp_path) is None  # it does not depend on it
    config = Result.read(tmp_path / "four_gaussians/random-released").config
    assert minmax_settings(config)["acceptance"]["rate"] == about["released"]["accepted"]


def test_a_run_that_is_here_and_committed_counts_once(tmp_path, monkeypatch, new_result):
    new_result("released", "COMPLETE", "COMPLETE")  # of which half was accepted
    (tmp_path / "committed").mkdir()
    monkeypatch.setattr(main, "RESULTS", tmp_path / "committed")
    batch = {"method": "released", "seeds": [1, 2, 3], "accepted": 0.2, "kept_ascent": 30.0}
    (tmp_path / "committed/four_gaussians.json").write_text(json.dumps([batch]))
    (tmp_path / "committed/four_gaussians.csv").write_text("method,seed,cycle\n")
    rates = main.rates_of("released", "four_gaussians", tmp_path)
    assert rates == {"accepted": 0.4, "kept_ascent": 18.0}  # two runs with 0.5 and 12, one with 0.2 and 30


@pytest.mark.parametrize(
    ("first", "seeds", "more"), [(None, 2, []), (None, 5, ["--extend", "3"]), (3, 2, ["--extend", "2"]), (2, 1, [])]
)
def test_only_missing_seeds_are_trained(tmp_path, first, seeds, more, commands, new_result):
    record = new_result("gda-6", "COMPLETE", "COMPLETE")
    reason = main.run("four_gaussians", "gda-6", seeds, 1, tmp_path, first)
    assert "the search ended with exit code 3" in reason
    assert commands[0][2:] == ["--resume", str(record.folder), *more, "--max-concurrent", "1"]


BEYOND = [  # of the runs 1 and 2
    (4, 1, "are of the seeds from 1: give a --first from that to 3"),
    (2, 100, "are of the seeds from 1, and can be no more than 100: ask for 99 at most"),
]


@pytest.mark.parametrize(("first", "seeds", "message"), BEYOND)
def test_a_result_has_no_gaps_and_no_seed_twice(tmp_path, first, seeds, message, commands, new_result):
    new_result("gda-6", "COMPLETE", "COMPLETE")
    assert message in main.run("four_gaussians", "gda-6", seeds, 1, tmp_path, first)
    assert not commands


def test_a_control_uses_the_committed_rates_if_its_method_was_not_run(tmp_path, monkeypatch):
    batches = [
        {"method": "released", "seeds": [1], "accepted": 0.6, "kept_ascent": 10.0},
        {"method": "released", "seeds": [2, 3, 4], "accepted": 0.4, "kept_ascent": 14.0},
        {"method": "random-released", "seeds": [1], "accepted": 0.62, "given": {"accepted": 0.6}},
    ]
    (tmp_path / "four_gaussians.json").write_text(json.dumps(batches))
    (tmp_path / "four_gaussians.csv").write_text("method,seed,cycle\nreleased,1,100\n")
    monkeypatch.setattr(main, "RESULTS", tmp_path)
    mean = {"accepted": 0.45, "kept_ascent": 13.0}  # over runs
    # a control with runs at several rates uses those of the seeds that are asked for
    more = [{"method": "random-released", "seeds": [2, 3], "accepted": 0.5, "given": {"accepted": 0.5}}]
    (tmp_path / "more").mkdir()
    (tmp_path / "more/four_gaussians.json").write_text(json.dumps(batches + more))
    (tmp_path / "more/four_gaussians.csv").write_text("method,seed,cycle\nreleased,1,100\n")
    assert main.rates_of("released", "four_gaussians", tmp_path / "runs") == mean
    assert main.rates_given("gda-matched", "four_gaussians", tmp_path / "runs") == mean
    # seeds that are added to a control have the rates of its earlier seeds
    assert main.rates_given("random-released", "four_gaussians", tmp_path / "runs") == {"accepted": 0.6}
    with monkeypatch.context() as patch:
        patch.setattr(main, "RESULTS", tmp_path / "more")
        for seeds, rate in (([1], 0.6), ([2, 3], 0.5), ([3, 4], 0.5)):
            rates = main.rates_given("random-released", "four_gaussians", tmp_path / "runs", seeds)
            assert rates == {"accepted": rate}
    for method, experiment in (("best", "four_gaussians"), ("released", "eight_gaussians")):
        assert main.rates_of(method, experiment, tmp_path / "runs") == {}
    assert main.run("eight_gaussians", "gda-matched", 1, 1, tmp_path / "runs") == "needs released first"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["five_gaussians"], "no such experiment: 'five_gaussians'"),
        (["four_gaussians", "exploratory-kept"], "no such method of four_gaussians: 'exploratory-kept'"),
        (["four_gaussians", "gda-best", "--tune"], "no such method to tune: 'gda-best'"),
        (["four_gaussians", "--seeds", "0"], "--seeds must be 1 to 100, but got 0"),
        (["four_gaussians", "--seeds", "150"], "--seeds must be 1 to 100, but got 150"),
        (["four_gaussians", "--first", "0"], "--first must be 1 or more, but got 0"),
        (["four_gaussians", "--at-once", "0"], "--at-once must be 1 or more, but got 0"),
        (["four_gaussians", "gda-6", "--trials", "3"], "--trials is for --tune"),
        (["four_gaussians", "gda-6", "--publish"], "--publish trains nothing"),
        (["four_gaussians", "best", "--first", "1001"], "--first=1001: seeds from 1001 have chosen settings"),
        (["four_gaussians", "best", "--first", "990"], "--first=990: seeds from 1001 have chosen settings"),
    ],
)
def test_invalid_arguments_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        main.parse(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["exploratory", "exploratory-kept"], ["exploratory", "exploratory-again"], ["--tune"], ["--publish"]]
)
def test_valid_arguments_are_not(arguments):
    assert main.parse(arguments)


def test_an_experiment_without_its_data_is_reported_and_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINMAX_MNIST", raising=False)
    monkeypatch.setattr(main, "PLACE", tmp_path / "none yet")
    monkeypatch.setattr("sys.argv", ["experiments", "mnist01", "gda-1"])
    assert main.main() == 1
    assert "mnist01, gda-1: not run: MINMAX_MNIST does not name its data" in capsys.readouterr().out
