"""The evidence: every cell's config can be trained, and what is read from runs is right."""

import dataclasses
import json

import pandas
import pytest
import torch

from benchmarks.evidence import __main__ as evidence
from benchmarks.evidence import methods, page, tuning
from benchmarks.evidence.collect import Cell, Run, merge_results, read_results, write_results
from benchmarks.evidence.columns import METHODS, TUNABLE, columns
from benchmarks.evidence.cost import read_costs
from benchmarks.evidence.experiments import EXPERIMENTS, ROOT
from benchmarks.evidence.methods import settings_file
from benchmarks.evidence.pictures import write_decisions
from benchmarks.evidence.tuning import space_of
from minmax_plugin.mmgen.check import check_config, minmax_settings
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.estimates import ValueSetting
from minmax_plugin.presets import PRESETS, preset
from tune.space import Space

RATES = {"accepted": 0.4, "accepted_over_time": [0.9, 0.2], "kept_ascent": 14.3}
CELLS = [(e, m) for e in EXPERIMENTS for m in columns(EXPERIMENTS[e])]


@pytest.mark.parametrize(("experiment", "method"), CELLS)
def test_every_cell_has_a_config_that_trains(experiment, method):
    row, column = EXPERIMENTS[experiment], METHODS[method]
    if column.tuned and not settings_file(row, column.tuned).exists():
        pytest.skip(f"no settings in {settings_file(row, column.tuned)}")
    cfg = column.config(row, RATES)
    check_config(cfg, paths=False)
    per_cycle = cfg.iterations_per_cycle
    assert cfg.total_iters >= row.cycles * per_cycle
    measured = [hook["interval"] for hook in cfg.custom_hooks if hook["type"] == "SampleMetrics"]
    assert measured == [row.every * per_cycle]
    gradients = cfg.total_iters / per_cycle * (column.gradients or per_cycle + 1)
    assert gradients >= 0.98 * row.cycles * (row.k + 1), "as many as plain descent-ascent, to a measurement"
    if method == "gda-matched":
        assert per_cycle == pytest.approx(14.3, abs=0.005)  # not a whole number of them
    if minmax := minmax_settings(cfg):  # a preset may change after a cell was begun
        assert set(PRESETS[minmax["preset"]]) <= set(minmax)
    assert all(cycle % row.every == 0 for cycle in row.reported)
    if column.after and minmax_settings(cfg):
        rule = minmax_settings(METHODS[column.after].config(row, RATES))["acceptance"]["type"]
        rate = dict(rate=[0.9, 0.2], window=100) if rule == "annealed" else dict(rate=0.4)
        assert minmax_settings(cfg)["acceptance"] == dict(type="random", **rate)


@pytest.mark.parametrize("method", TUNABLE)
@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01_embedded", "cifar10"])
def test_what_is_tuned_has_a_space_that_fits_it(experiment, method):
    row = EXPERIMENTS[experiment]
    space = Space.load(space_of(row, method))
    space.check({method: METHODS[method].config(row, {})})
    assert any("minmax" in name for name in space.content["space"]) == (method == "practical")


@pytest.mark.parametrize(
    ("experiment", "name", "method"),
    [
        ("four_gaussians", "tuned", "best"),
        ("four_gaussians", "unrolled", "best-unrolled"),
        ("mnist01", "tuned", "best"),
    ],
)
def test_the_tuned_config_is_what_was_found(experiment, name, method):
    shipped = load_config(ROOT / "configs" / f"{experiment}_minmax_{name}.py")
    check_config(shipped, paths=False)
    found = METHODS[method].config(EXPERIMENTS[experiment], {})
    wanted = minmax_settings(found)
    hook = dict(preset("practical", **minmax_settings(shipped)), preset="practical", record=True)
    assert ValueSetting.parse(hook.pop("value")) == ValueSetting.parse(wanted.pop("value"))
    assert hook == wanted
    assert shipped.get("lr_config") == found.get("lr_config")
    assert shipped.train_cfg == found.train_cfg
    assert shipped.model == found.model
    for player, settings in found.optimizer.items():
        assert shipped.optimizer[player] == dict(settings, betas=tuple(settings["betas"]))


def test_a_tuned_method_trains_with_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "BEST", tmp_path)
    row = EXPERIMENTS["four_gaussians"]
    settings = {"optimizer.generator.lr": 0.002, "minmax.restore": "generator"}
    file = settings_file(row, "practical")
    file.parent.mkdir()
    file.write_text(json.dumps({"settings": settings}))
    best, coin, without = (METHODS[m].config(row, RATES) for m in ("best", "random-best", "gda-best"))
    assert {cfg.optimizer.generator.lr for cfg in (best, coin, without)} == {0.002}
    assert minmax_settings(best)["restore"] == minmax_settings(coin)["restore"] == "generator"
    assert minmax_settings(coin)["acceptance"] == dict(type="random", rate=0.4)
    assert minmax_settings(without) is None
    assert without.optimizer.generator.type == "Adam"
    assert METHODS["tried-ascent"].config(row, {}).iterations_per_cycle == 12


@pytest.mark.slow
def test_a_cell_is_run_extended_and_reported(tmp_path, monkeypatch):
    small = dataclasses.replace(EXPERIMENTS["four_gaussians"], cycles=20, every=10, reported=(20,))
    monkeypatch.setitem(EXPERIMENTS, "four_gaussians", small)
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "committed")
    for method in ("gda-6", "released", "random-released"):
        assert evidence.run_cell("four_gaussians", method, 2, 2, tmp_path) is None
    assert evidence.run_cell("four_gaussians", "gda-6", 1, 2, tmp_path, first=3) is None
    reason = evidence.run_cell("four_gaussians", "gda-6", 1, 2, tmp_path, first=5)
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
    decisions.write_text("index,f_new,accepted,method,seed\n1,0.5,1,best,1\n2,0.5,1,released,1\n")  # of another day
    write_decisions(tmp_path, tmp_path, "four_gaussians")
    assert pandas.read_csv(decisions).value_counts("method").to_dict() == {"released": 20, "best": 1}
    page.write_page(tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    assert "GDA, k = 6 | 0/3" in text
    assert "Empty for want of machine time: 20 runs" in text
    assert (tmp_path / "images/results_four_gaussians.png").exists()
    monkeypatch.setitem(EXPERIMENTS, "four_gaussians", dataclasses.replace(small, rate=0.5))
    reason = evidence.run_cell("four_gaussians", "released", 4, 2, tmp_path)
    assert "begun with other settings" in reason
    assert evidence.run_cell("four_gaussians", "random-released", 2, 2, tmp_path) is None  # it does not depend on it
    config = Cell.read(tmp_path / "four_gaussians/random-released").config
    assert minmax_settings(config)["acceptance"]["rate"] == about["released"]["accepted"]


def test_a_control_goes_by_the_committed_rates_where_its_method_was_not_run(tmp_path, monkeypatch):
    batches = [
        {"method": "released", "seeds": [1], "accepted": 0.6, "kept_ascent": 10.0},
        {"method": "released", "seeds": [2, 3, 4], "accepted": 0.4, "kept_ascent": 14.0},
        {"method": "random-released", "seeds": [1], "accepted": 0.62, "given": {"accepted": 0.6}},
    ]
    (tmp_path / "four_gaussians.json").write_text(json.dumps(batches))
    (tmp_path / "four_gaussians.csv").write_text("method,seed,cycle\nreleased,1,100\n")
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    mean = {"accepted": 0.45, "kept_ascent": 13.0}  # over runs
    # of one that has runs of several rates those count that the asked-for seeds had
    more = [{"method": "random-released", "seeds": [2, 3], "accepted": 0.5, "given": {"accepted": 0.5}}]
    (tmp_path / "more").mkdir()
    (tmp_path / "more/four_gaussians.json").write_text(json.dumps(batches + more))
    (tmp_path / "more/four_gaussians.csv").write_text("method,seed,cycle\nreleased,1,100\n")
    assert evidence.rates_of("released", "four_gaussians", tmp_path / "runs") == mean
    assert evidence.rates_given("gda-matched", "four_gaussians", tmp_path / "runs") == mean
    # whoever adds seeds to a control trains what its earlier ones were
    assert evidence.rates_given("random-released", "four_gaussians", tmp_path / "runs") == {"accepted": 0.6}
    with monkeypatch.context() as patch:
        patch.setattr(evidence, "RESULTS", tmp_path / "more")
        for seeds, rate in (([1], 0.6), ([2, 3], 0.5), ([3, 4], 0.5)):
            rates = evidence.rates_given("random-released", "four_gaussians", tmp_path / "runs", seeds)
            assert rates == {"accepted": rate}
    for method, experiment in (("best", "four_gaussians"), ("released", "eight_gaussians")):
        assert evidence.rates_of(method, experiment, tmp_path / "runs") == {}
    assert evidence.run_cell("eight_gaussians", "gda-matched", 1, 1, tmp_path / "runs") == "needs released first"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["five_gaussians"], "no such experiment: 'five_gaussians'"),
        (["four_gaussians", "tried-kept"], "no such method of four_gaussians: 'tried-kept'"),
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
def test_what_makes_no_sense_is_refused_before_anything_is_trained(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        evidence.parse(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["tried", "tried-kept"], ["tried", "tried-again"], ["--tune"], ["--publish"]])
def test_what_makes_sense_is_not(arguments):
    assert evidence.parse(arguments)


def test_nothing_is_published_of_what_has_no_run_that_ended(tmp_path):
    (tmp_path / "four_gaussians/configs").mkdir(parents=True)
    assert not write_results(tmp_path, "four_gaussians")
    assert not list(tmp_path.glob("*.csv"))


def test_runs_are_parted_by_the_code_that_they_were_begun_with():
    cfg = METHODS["gda-6"].config(EXPERIMENTS["four_gaussians"], {})
    runs = [Run(1, None, [], [], "a"), Run(2, None, [], [], "b-dirty"), Run(3, None, [], [], "a")]
    assert [[run.seed for run in part.runs] for part in Cell(cfg, {}, runs).by_commit()] == [[1, 3], [2]]


def test_settings_are_searched_on_one_of_the_experiments_that_share_them(tmp_path):
    reason = tuning.tune("eight_gaussians", "gda-1", 2, 1, tmp_path)
    assert reason == "it trains with the settings that are searched on four_gaussians"
    assert not list(tmp_path.iterdir())
    assert {EXPERIMENTS[row.networks].networks for row in EXPERIMENTS.values()} <= set(EXPERIMENTS)


def test_a_cell_whose_data_are_not_there_is_said_and_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINMAX_MNIST", raising=False)
    monkeypatch.setattr(evidence, "PLACE", tmp_path / "none yet")
    monkeypatch.setattr("sys.argv", ["evidence", "mnist01", "gda-1"])
    assert evidence.main() == 1
    assert "mnist01, gda-1: not run: MINMAX_MNIST does not name its data" in capsys.readouterr().out


def test_how_often_proposals_were_kept_is_told_over_time_too():
    cfg = METHODS["released"].config(EXPERIMENTS["four_gaussians"], {})
    kept = [[True] * 100 + [False] * 100 + [True] * 50, [True] * 100 + [True, False] * 50 + [True] * 50]
    rates = Cell(cfg, {}, [Run(seed, None, [], some) for seed, some in enumerate(kept)]).rates()
    assert rates == {"accepted": 0.7, "accepted_over_time": [1.0, 0.25, 1.0], "kept_ascent": round(6 / 0.7, 2)}


def test_a_mode_that_was_found_and_lost_is_forgotten():
    cfg = METHODS["gda-6"].config(EXPERIMENTS["four_gaussians"], {})
    lines = [
        {"iter": 600 * (i + 1), "cpu_seconds": i, "shares": shares}
        for i, shares in enumerate([[0.5, 0.019, 0, 0], [0.5, 0.5, 0, 0], [0, 0.02, 0, 0]])
    ]
    rows = Cell(cfg, {}, [Run(1, None, lines, [])]).rows()
    assert [row["forgotten"] for row in rows] == [0, 0, 1]
    assert [row["cycle"] for row in rows] == [100, 200, 300]


FRAME = pandas.DataFrame(
    [
        dict(method=m, seed=s, cycle=c, modes=modes)
        for m in ("gda-6", "gda-1")
        for s in (1, 2)
        for c, modes in ((10, 1), (20, 4 if s == 1 else 2))
    ]
)


def costs_of(ratios):
    return pandas.DataFrame({"ratio": ratios}, dtype=float).assign(ratio_low=0.9, ratio_high=1.1, more_mib=1.0)


def lasting(cycles):
    return dataclasses.replace(EXPERIMENTS["four_gaussians"], cycles=cycles)


def test_equal_cycles_and_equal_time_are_what_they_say():
    assert page.at_cycle(FRAME, 10)["modes"].tolist() == [1, 1, 1, 1]
    # ten cycles of the one, twenty of the other
    chosen = page.at_cost(FRAME, costs_of({"gda-6": 1.0, "gda-1": 0.5}), 10)
    assert chosen.set_index(["method", "seed"])["cycle"].to_dict() == {
        ("gda-6", 1): 10,
        ("gda-6", 2): 10,
        ("gda-1", 1): 20,
        ("gda-1", 2): 20,
    }
    unknown = page.at_cost(FRAME, costs_of({"gda-6": 1.0}), 10)  # what the other costs is not known
    assert unknown["method"].tolist() == ["gda-6", "gda-6"]
    tuned = FRAME.replace({"method": {"gda-1": "gda-1-tuned"}})  # its schedule goes on to its own end
    for cycles, shown in ((10, [20, 20]), (20, [10, 10])):  # the latter is no longer run than the others
        ends = page.at_end(lasting(cycles), tuned, 10).set_index(["method", "seed"])["cycle"]
        assert (ends["gda-6"].tolist(), ends["gda-1-tuned"].tolist()) == ([10, 10], shown)


def test_what_is_shown_is_measured_at_one_time():
    frame = FRAME.assign(kid=1.0)
    frame.loc[(frame["method"] == "gda-1") & (frame["cycle"] == 20), "kid"] = float("nan")  # it blew up
    chosen = page.at_cost(frame, costs_of({"gda-6": 1.0, "gda-1": 0.5}), 10).set_index("method")
    assert chosen.loc["gda-1", "kid"].isna().all()
    tuned = frame.replace({"method": {"gda-1": "gda-1-tuned"}})
    assert page.at_end(lasting(10), tuned, 10)["kid"].isna().sum() == 2


@pytest.mark.parametrize(
    ("experiment", "strict", "by_eye"),
    [("four_gaussians", 0, 4), ("eight_gaussians", 0, 8), ("gaussian_grid", 0, 25)],
)
def test_noise_has_the_modes_that_the_page_says(experiment, strict, by_eye):
    from mmgen.core.registry import build_metric

    cfg = EXPERIMENTS[experiment].plain()
    (hook,) = (hook for hook in cfg.custom_hooks if hook["type"] == "SampleMetrics")
    metric = build_metric(hook["metrics"][0])
    noise = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = metric.measure(noise * 1.2 * metric.centres.abs().max())  # on a square around all modes
    assert (found["modes"], found["modes_by_eye"]) == (strict, by_eye)


def test_a_run_that_failed_counts_as_no_success():
    about = [
        dict(method="gda-6", seeds=[1, 2], failed={}),
        dict(method="gda-6", seeds=[3], failed={"3": "diverged"}),  # before it was measured
        dict(method="gda-1", seeds=[1, 2], failed={"1": "diverged"}),  # later
        dict(method="omd", seeds=[1], failed={"1": "diverged"}),  # all before they were measured
    ]
    experiment = dataclasses.replace(EXPERIMENTS["four_gaussians"], shown=())
    table = page.table(experiment, about, page.at_cycle(FRAME, 20), costs_of({})).splitlines()
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[1] for row in table[2:]}
    assert rows == {
        "GDA, k = 1": "0/2 (0%–66%)",
        "GDA, k = 6": "1/3 (6%–79%)",
        "OMD, Wasserstein loss, weights clipped": "0/1 (0%–79%)",
    }


def test_results_of_several_days_add_up(tmp_path):
    def results(day, seeds, modes):
        place = tmp_path / day
        place.mkdir()
        rows = [dict(method="gda-6", seed=s, cycle=c, modes=modes) for s in seeds for c in (10, 20)]
        pandas.DataFrame(rows).to_csv(place / "four_gaussians.csv", index=False)
        batch = dict(method="gda-6", seeds=seeds, commit=day, failed={str(seeds[-1]): "diverged"}, command="all")
        (place / "four_gaussians.json").write_text(json.dumps([batch]))
        merge_results(place, tmp_path / "all", "four_gaussians")

    results("zeroth", [5, 6, 7], 0)
    results("first", [1, 2, 3], 1)
    results("second", [3, 4, 6], 2)
    rows, batches = read_results(tmp_path / "all", "four_gaussians")
    assert rows[rows["cycle"] == 20]["modes"].tolist() == [1, 1, 2, 2, 0, 2, 0]
    assert [(b["commit"], b["seeds"], b["failed"], b["command"]) for b in batches] == [
        ("zeroth", [5, 7], {"7": "diverged"}, "python -m benchmarks.evidence four_gaussians gda-6 --seeds 3 --first 5"),
        ("first", [1, 2], {}, "python -m benchmarks.evidence four_gaussians gda-6 --seeds 2"),
        ("second", [3, 4, 6], {"6": "diverged"}, "all"),
    ]


def test_a_mean_has_its_interval_and_a_distance_its_median():
    values = pandas.Series([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")])
    assert page.middle(values, "modes") == "3.00 ± 1.96"  # by hand: t(0.975, 4) = 2.776, standard error 0.707
    assert page.middle(values.replace(5.0, 100.0), "kid") == "3 (1 to 100)"
    assert [page.middle(values[:n], "modes") for n in (0, 1, 3)] == ["–", "1", "2 (1 to 3)"]


def test_equal_time_lets_the_clock_be_a_little_off():
    for ratio, cycles in ((1.04, [20, 20]), (1.06, [10, 10])):
        assert page.at_cost(FRAME, costs_of({"gda-1": ratio}), 20)["cycle"].tolist() == cycles


def test_a_cell_of_the_readme_is_of_three_runs_and_says_its_cycle():
    runs = FRAME[(FRAME["method"] == "gda-1") & (FRAME["cycle"] == 20)]
    batch = dict(method="gda-1", seeds=[1, 2], failed={})
    row = EXPERIMENTS["four_gaussians"]
    assert page.cell(row, "gda-1", runs, [batch], 20, None) == "–"
    batch["seeds"] = [1, 2, 3]
    assert page.cell(row, "gda-1", runs, [batch], 20, None) == "1/3 (6%–79%)"
    assert page.cell(row, "gda-1", runs, [batch], 10, None) == "1/3 (6%–79%) at 20"


CYCLES = {"gda-6": 6, "gda-1": 1, "extragradient": 2, "omd": 1, "lookahead": 6, "unrolled": 1, "best-unrolled": 1}


@pytest.mark.parametrize(("method", "iterations"), CYCLES.items())
def test_a_cycle_is_one_proposal_or_step(method, iterations):
    assert METHODS[method].config(EXPERIMENTS["four_gaussians"], RATES).iterations_per_cycle == iterations


RULES = [
    ("four_gaussians", "practical", dict(type="constant", rate=0.25)),
    ("mnist01", "practical", dict(type="constant", rate=0.2)),
    ("four_gaussians", "released", dict(type="periodic", every=4, reverse=True)),
    ("mnist01", "released", dict(type="periodic", every=5)),
]


@pytest.mark.parametrize(("experiment", "method", "rule"), RULES)
def test_the_rules_are_the_published_ones(experiment, method, rule, monkeypatch):
    monkeypatch.setenv("MINMAX_MNIST", "somewhere")
    assert minmax_settings(METHODS[method].config(EXPERIMENTS[experiment], {}))["acceptance"] == rule


def test_where_the_discriminator_goes_back_too_its_ascent_is_lost():
    cfg = METHODS["practical"].config(EXPERIMENTS["four_gaussians"], {})
    assert Cell(cfg, {}, [Run(1, None, [], [True, False])]).rates()["kept_ascent"] == 6
