"""The tables of a report: its trials, its summary and its leaderboard."""

import json

import pandas
import pytest
from optuna.trial import TrialState
from studies import add, new_record

from minmax_tune.report.results import Report
from minmax_tune.report.tables import compared, leaderboard, read_rows, summary, table

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


def test_the_tables_have_numbers_as_they_are(tmp_path):
    """Small ones too; JSON has null for what is no number."""
    record = new_record(tmp_path / "s")
    add(record, values=[1e-12], rate=8.334e-4 + 1e-16, metrics={"kid": float("nan"), "fd": float("inf"), "modes": 4})
    add(record, TrialState.PRUNED, values=[1 / 3], steps={10: 1 / 3}, metrics={"kid": 2e-17}, retry_of=0)
    Report(record).write()
    for rows in (
        json.loads((tmp_path / "s" / "trials.json").read_text(), parse_constant=pytest.fail),
        pandas.read_csv(tmp_path / "s" / "trials.csv").to_dict("records"),
    ):
        assert [row["balance"] for row in rows] == [1e-12, 1 / 3]
        assert rows[0]["optimizer.generator.lr"] == 8.334e-4 + 1e-16
        assert rows[1]["metrics/kid"] == 2e-17
    first, second = json.loads((tmp_path / "s" / "trials.json").read_text())
    nothing = ("metrics/kid", "metrics/fd", "low", "retry_of", "reason")
    assert [first[name] for name in nothing] == [None] * len(nothing)
    assert (first["metrics/modes"], first["baseline"], second["retry_of"]) == (4, False, 0)
    assert isinstance(second["retry_of"], int)


ORDERS = [("balance:max", [3, 2, 1, 0, 5, 6, 4]), ("balance:min", [0, 1, 2, 3, 5, 6, 4])]


@pytest.mark.parametrize(("objective", "order"), ORDERS)
def test_finished_trials_come_first_then_stopped_running_and_failed_ones(tmp_path, objective, order):
    record = new_record(tmp_path / "s", objectives=(objective,))
    for value in (0.1, 0.2, 0.3, 0.4):
        add(record, values=[value])
    add(record, TrialState.FAIL)
    add(record, TrialState.PRUNED, steps={10: 0.9})
    add(record, TrialState.RUNNING)
    assert [row.number for row in read_rows(record)["points"]] == order


COMPARED = [
    ("minmax", ["best (min-max) 1", "unmodified config 0", "best plain GDA 2"]),
    ("gda", ["best (plain GDA) 1", "unmodified config 0", "best min-max 2"]),
]


@pytest.mark.parametrize(("method", "said"), COMPARED)
def test_the_best_stands_beside_the_unmodified_config_and_the_other_method(tmp_path, method, said):
    record = new_record(tmp_path / "s")
    add(record, values=[0.1], baseline=True)
    add(record, values=[0.9], method=method, rate=1e-3)
    add(record, values=[0.5], method="gda" if method == "minmax" else "minmax", rate=1e-3)
    assert [f"{label} {row.number}" for label, row in compared(read_rows(record)["points"])] == said


def test_of_several_objectives_the_other_method_is_compared_by_the_first(tmp_path):
    record = new_record(tmp_path / "s", objectives=("balance:max", "seconds:min"))
    add(record, values=[0.9, 50.0], method="minmax", rate=1e-3)
    add(record, values=[0.3, 10.0], method="gda", rate=1e-3)  # on the front
    add(record, values=[0.8, 60.0], method="gda", rate=1e-3)  # not, but the best that GDA does
    labels = [f"{label} {row.number}" for label, row in compared(read_rows(record)["points"])]
    assert labels == ["best (min-max) 0", "best plain GDA 2"]


def test_the_tables_tell_intervals_last_values_times_and_seeds(tmp_path):
    record = new_record(tmp_path / "s", seeds=2, seed=5)
    add(record, values=[0.5], scores=[0.4, 0.6], interval=[0.3, 0.7])
    add(record, TrialState.PRUNED, steps={100: 0.9, 200: 0.1}, scores=[0.0, 0.2], interval=[-1.0, 1.2])
    first, second = table(record, read_rows(record)).to_dict("records")
    assert [first[name] for name in ("balance", "low", "high", "scores", "duration")] == [0.5, 0.3, 0.7, "0.4 0.6", 90]
    assert second["balance"] == 0.1
    assert pandas.isna(second["low"]), "of seeds that were not all trained to their end"
    assert summary(record, read_rows(record))["seeds"] == [5, 6]


def test_the_leaderboard_is_one_table(tmp_path):
    record = new_record(tmp_path / "s", seeds=2, objectives=("balance:max", "seconds:min"))
    add(record, values=[0.5, 30.0], interval=[0.3, 0.7])
    add(record, TrialState.FAIL, reason="no | data\nsecond line")
    assert leaderboard(record, read_rows(record)).splitlines()[2:] == [
        "| points | 0 | 0.5000 (0.3000 to 0.7000) | 30 | complete | as in the config |",
        "| points | 1 | – | – | fail: no \\| data second line | as in the config |",
    ]
