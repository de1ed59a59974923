"""The tables of the page of results."""

import dataclasses

import pandas

from experiments import page
from experiments.experiment import EXPERIMENTS

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


def test_runs_are_compared_at_equal_cycles_and_at_equal_time():
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
    tuned = FRAME.replace({"method": {"gda-1": "gda-1-tuned"}})  # its schedule has its own end
    for cycles, shown in ((10, [20, 20]), (20, [10, 10])):  # the latter has as many cycles as the others
        ends = page.at_end(lasting(cycles), tuned, 10).set_index(["method", "seed"])["cycle"]
        assert (ends["gda-6"].tolist(), ends["gda-1-tuned"].tolist()) == ([10, 10], shown)


def test_all_measurements_shown_are_of_one_time():
    frame = FRAME.assign(kid=1.0)
    frame.loc[(frame["method"] == "gda-1") & (frame["cycle"] == 20), "kid"] = float("nan")  # it blew up
    chosen = page.at_cost(frame, costs_of({"gda-6": 1.0, "gda-1": 0.5}), 10).set_index("method")
    assert chosen.loc["gda-1", "kid"].isna().all()
    tuned = frame.replace({"method": {"gda-1": "gda-1-tuned"}})
    assert page.at_end(lasting(10), tuned, 10)["kid"].isna().sum() == 2


def test_equal_time_has_a_tolerance():
    for ratio, cycles in ((1.04, [20, 20]), (1.06, [10, 10])):
        assert page.at_cost(FRAME, costs_of({"gda-1": ratio}), 20)["cycle"].tolist() == cycles


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


def test_a_mean_has_its_interval_and_a_distance_its_median():
    values = pandas.Series([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")])
    assert page.middle(values, "modes") == "3.00 ± 1.96"  # by hand: t(0.975, 4) = 2.776, standard error 0.707
    assert page.middle(values.replace(5.0, 100.0), "kid") == "3 (1 to 100)"
    assert [page.middle(values[:n], "modes") for n in (0, 1, 3)] == ["–", "1", "2 (1 to 3)"]


def test_an_entry_of_the_readme_has_three_runs_and_its_cycle():
    runs = FRAME[(FRAME["method"] == "gda-1") & (FRAME["cycle"] == 20)]
    batch = dict(method="gda-1", seeds=[1, 2], failed={})
    task = EXPERIMENTS["four_gaussians"]
    assert page.summary_entry(task, "gda-1", runs, [batch], 20, None) == "–"
    batch["seeds"] = [1, 2, 3]
    assert page.summary_entry(task, "gda-1", runs, [batch], 20, None) == "1/3 (6%–79%)"
    assert page.summary_entry(task, "gda-1", runs, [batch], 10, None) == "1/3 (6%–79%) at 20"
