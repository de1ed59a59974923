"""The plots of a report: what is drawn, how, and when."""

import json

import pytest
from studies import add, new_record

from minmax_tune.report.plots import history, learning_curves, parallel_coordinates
from minmax_tune.report.results import Report
from minmax_tune.report.tables import read_rows

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


def test_settings_of_any_kind_are_drawn(tmp_path):
    """Labels that are no text, a range of one value, and a setting that only some trials have."""
    record = new_record(tmp_path / "s")
    study = record.studies["points"]
    for value in range(6):
        trial = study.ask()
        trial.suggest_categorical("label", [None, True, 3, "x"])
        trial.suggest_int("fixed", 2, 2)
        if value % 2:
            trial.suggest_int("sometimes", 1, 64, log=True)
        study.tell(trial, value / 10)
    Report(record).finish()
    assert len(list((tmp_path / "s" / "plots").glob("*.png"))) == 4
    assert all(word in (tmp_path / "s" / "report.html").read_text() for word in ("label", "fixed", "sometimes"))


def test_results_follow_each_trial_and_pictures_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "minmax_tune.report.results.SHARE_OF_TIME", 1e-6
    )  # so that "so soon" does not hang on the machine
    record = new_record(tmp_path / "s")
    report = Report(record)
    for i in range(5):
        add(record, values=[i / 10], method="gda", rate=1e-3 * (i + 1))
        report.write()
        assert len(json.loads((tmp_path / "s" / "trials.json").read_text())) == i + 1
        assert json.loads((tmp_path / "s" / "best" / "points" / "params.json").read_text())["trial"] == i
    # drawn once, then not again so soon
    assert not (tmp_path / "s" / "plots" / "points_importances.png").exists()
    report.finish()
    assert (tmp_path / "s" / "plots" / "points_importances.png").exists()


BETTER = [  # objective, the best so far, the strongest curves, where the strongest line ends
    ("balance:max", [0.2, 0.4, 0.4, 0.4, 0.4], [1, 3, 4], 1),
    ("balance:min", [0.2, 0.2, 0.1, 0.1, 0.1], [2, 0, 4], 0),
]


@pytest.mark.parametrize(("objective", "so_far", "strong", "end"), BETTER)
def test_what_is_better_is_drawn_as_better(tmp_path, objective, so_far, strong, end):
    record = new_record(tmp_path / "s", objectives=(objective,))
    for value in (0.2, 0.4, 0.1, 0.3, 0.25):
        add(record, values=[value], rate=1e-3 * (1 + value), steps={100: 0.2, 200: value})
    rows = read_rows(record)["points"]
    (axes,) = history(rows, record.objectives).axes
    assert list(axes.lines[0].get_ydata()) == so_far
    (axes,) = learning_curves(rows, record.objectives).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"trial {number}" for number in reversed(strong)]
    (axes,) = parallel_coordinates(rows, record.objectives).axes
    (top,) = (line for line in axes.lines if line.get_alpha() == 0.9)
    assert top.get_ydata()[-1] == end
