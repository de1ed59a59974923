"""The report, written from real Optuna studies: every state of trials, seeds, objectives and layouts."""

import json
import re
import resource
import shlex
from html.parser import HTMLParser
from urllib.parse import unquote

import optuna
import pandas
import pytest
from optuna.trial import TrialState
from studies import add, new_record

from minmax_tune.cli import parse
from minmax_tune.report.html import command
from minmax_tune.report.results import Report
from minmax_tune.report.tables import read_rows
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


def everything(record):
    """One trial of each kind, and some more to draw."""
    spread = {"scores": [0.4, 0.6], "interval": [0.3, 0.7]} if record.seeds > 1 else {}
    more = [30.0] * (len(record.objectives) - 1)
    add(record, values=[0.5, *more], baseline=True, source="baseline", **spread)
    for i in range(6):
        add(
            record,
            values=[0.1 * i, *(m - i for m in more)],
            method="gda" if i % 2 else "minmax",
            rate=1e-3 * (i + 1),
            steps=() if more else {100: 0.05 * i, 200: 0.1 * i},
            metrics={"modes": i, "images": 200, "seconds": 9.0},
            **spread,
        )
    if more:
        add(record, TrialState.PRUNED, method="gda", rate=5e-3, history=[[100, 0.01]], reason="collapsed")
    else:
        add(record, TrialState.PRUNED, values=[0.01], method="gda", rate=5e-3, steps={100: 0.01}, reason="collapsed")
    add(record, TrialState.FAIL, method="minmax", rate=2e-3, reason="ValueError: <b>no | data</b>\nsecond line")
    add(record, TrialState.COMPLETE, values=[0.2, *more], method="minmax", rate=2e-3, retry_of=8, source="retry")
    add(record, TrialState.RUNNING, method="minmax", rate=3e-3)
    for row in (r for ranked in read_rows(record).values() for r in ranked):
        for run in record.runs(row.study, row.number):
            run.folder.mkdir(parents=True, exist_ok=True)
            (run.folder / "20260102_030405.log").write_text("log\n")
    (record.folder / "trials" / f"{next(iter(record.studies))}_8" / "error.txt").write_text("Traceback\n")


CASES = {
    "no trial at all": ({}, lambda record: None),
    "only failures": ({}, lambda record: add(record, TrialState.FAIL, reason="out of memory")),
    "one trial": ({}, lambda record: add(record, values=[0.5], baseline=True)),
    "one seed": ({}, everything),
    "two seeds": ({"seeds": 2}, everything),
    "two objectives": ({"objectives": ("balance:max", "seconds:min")}, everything),
    "three objectives": ({"objectives": ("balance:max", "seconds:min", "modes:max")}, everything),
    "to be minimised": ({"objectives": ("distance:min",)}, everything),
    "shared": ({"layout": "shared", "seeds": 2}, everything),
    "a name to be quoted": ({"name": "a b#c?"}, everything),
}


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.hrefs, self.sources, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.hrefs += [attrs["href"]] if "href" in attrs else []
        self.sources += [attrs["src"]] if "src" in attrs else []
        self.ids += [attrs["id"]] if "id" in attrs else []


@pytest.mark.parametrize(("options", "fill"), CASES.values(), ids=CASES.keys())
def test_everything_is_written_from_storage_alone(tmp_path, options, fill):
    folder = tmp_path / options.get("name", "search")
    fill(new_record(folder, **options))
    record = Search.open(folder)
    Report(record).finish()
    trials = [t for study in record.studies.values() for t in study.trials]

    stored = json.loads((folder / "trials.json").read_text())
    assert [row["trial"] for row in stored] == [t.number for t in trials]
    assert [row["state"] for row in stored] == [t.state.name for t in trials]
    assert len((folder / "leaderboard.md").read_text().splitlines()) == 2 + len(trials)
    if trials:
        assert list(pandas.read_csv(folder / "trials.csv")["trial"]) == [t.number for t in trials]
    summary = json.loads((folder / "summary.json").read_text())["studies"]
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    assert all(bool(study["best"]) == bool(done) for study in summary.values())

    text = (folder / "report.html").read_text()
    page = Links(text)
    for href in page.hrefs:
        if href.startswith("#"):
            assert href[1:] in page.ids
        else:
            assert (folder / unquote(href)).exists(), href
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r'src="[^"]*"', "", text))
    assert "<b>no" not in text  # what a trial says is text
    drawn = {p.name.split("_", 1)[1] for p in (folder / "plots").glob("*.png")}
    assert len(page.sources) == len(list((folder / "plots").glob("*.svg")))
    if fill is everything:
        expected = {"history.png", "learning_curves.png", "importances.png", "slices.png", "parallel_coordinates.png"}
        if len(record.objectives) > 1:
            expected = (expected | {"pareto_front.png"}) - {"learning_curves.png"}
        assert drawn == expected
        assert all(f"retry of {t.user_attrs['retry_of']}" in text for t in trials if "retry_of" in t.user_attrs)
    assert not list(folder.rglob(".*")), "nothing half-written stays behind"


def test_a_full_disk_is_said_once_and_leaves_the_old_results(tmp_path):
    record = new_record(tmp_path / "s")
    add(record, values=[0.5], baseline=True)
    report = Report(record)
    report.write()
    before = {p: p.read_bytes() for p in (tmp_path / "s").glob("*.*") if p.suffix != ".db"}
    add(record, values=[0.9], rate=1e-3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # no file may grow beyond 10 bytes
    try:
        with pytest.warns(UserWarning, match=r"results could not be written .*; the search goes on"):
            report.write()
        report.finish()  # another warning would be an error here
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p: p.read_bytes() for p in before} == before
    report.write()
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["studies"]["points"]["best"]["trial"] == 1


def test_no_error_in_a_report_ends_a_search_but_asked_for_it_is_raised(tmp_path):
    record = new_record(tmp_path / "s")
    (tmp_path / "s" / "search.json").write_text("{")
    with pytest.warns(UserWarning, match=r"could not be written \(JSONDecodeError: .*; the search goes on"):
        Report(record).write()
    with pytest.raises(json.JSONDecodeError):
        Report(record).finish()


LINES = [
    "a.py b.py --space s.yaml --num-samples 9 --no-baseline --time-budget 60",
    "a.py --objective balance:max --objective seconds:min --sampler nsga2 --datasets 'x y.py' z.py",
    "a.py --seeds 3 --address auto --fresh-workers --storage journal:/x/y.log",
]


@pytest.mark.parametrize("line", LINES)
def test_the_command_shown_is_the_command_given(line):
    options = parse(shlex.split(line)).options()
    assert parse(shlex.split(command(options))[1:]).options() == options


def test_the_study_opens_in_optuna(tmp_path):
    record = new_record(tmp_path / "s")
    everything(record)
    study = optuna.load_study(study_name="points", storage=f"sqlite:///{tmp_path / 's' / 'optuna.db'}")
    assert study.best_value == 0.5
    assert study.metric_names == ["balance"]
