"""The report, written from real Optuna studies: every state of trials, seeds, objectives and layouts."""

import dataclasses
import json
import re
import resource
import shlex
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import matplotlib.image
import optuna
import pandas
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from minmax_plugin.mmgen.config import load_config
from minmax_tune.cli import parse
from minmax_tune.options import Options
from minmax_tune.report.best_configs import write_best
from minmax_tune.report.html import command
from minmax_tune.report.plots import courses, history, parallel_coordinates
from minmax_tune.report.results import Report
from minmax_tune.report.tables import compared, leaderboard, read_rows, summary, table
from minmax_tune.space.space import Space
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives

ROOT = Path(__file__).parents[2]
GAUSSIANS = str(ROOT / "configs/four_gaussians_minmax.py")
DIGITS = str(ROOT / "configs/mnist01_minmax_short.py")
METHOD = CategoricalDistribution(["minmax", "gda"])
RATE = FloatDistribution(1e-4, 1e-2, log=True)
START = datetime(2026, 1, 2, 3, 4)


def new_record(folder, study="points", **options):
    options = Options(configs=(GAUSSIANS,), num_samples=8, **options)
    configs = {study: load_config(GAUSSIANS)}
    if options.layout == "shared":
        configs["digits"] = load_config(DIGITS)
    return Search.create(folder, options, Space.read(options.space), configs)


def add(record, state=TrialState.COMPLETE, values=None, study=None, method=None, rate=None, steps=(), **attrs):
    """Add a trial to a study's storage, as a search would leave it."""
    settings = {"minmax": False} if method == "gda" else {}
    if rate is not None:
        settings["optimizer.generator.lr"] = rate
    trial = create_trial(
        state=state,
        values=values,
        params={k: v for k, v in {"method": method, "optimizer.generator.lr": rate}.items() if v is not None},
        distributions={
            k: d for k, v, d in [("method", method, METHOD), ("optimizer.generator.lr", rate, RATE)] if v is not None
        },
        intermediate_values=dict(steps),
        user_attrs={"settings": settings, "source": "sampler", **attrs},
    )
    trial.datetime_start = START
    if state.is_finished():
        trial.datetime_complete = START + timedelta(seconds=90)
    record.studies[study or next(iter(record.studies))].add_trial(trial)


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
        expected = {"history.png", "courses.png", "importances.png", "slices.png", "parallel_coordinates.png"}
        if len(record.objectives) > 1:
            expected = (expected | {"pareto_front.png"}) - {"courses.png"}
        assert drawn == expected
        assert all(f"retry of {t.user_attrs['retry_of']}" in text for t in trials if "retry_of" in t.user_attrs)
    assert not list(folder.rglob(".*")), "nothing half-written stays behind"


def test_the_best_is_the_mean_not_the_luckiest_seed(tmp_path):
    record = new_record(tmp_path / "s", seeds=2)
    add(record, values=[0.5], scores=[0.1, 0.9], interval=[-4.5, 5.5], rate=1e-3)
    add(record, values=[0.6], scores=[0.6, 0.6], interval=[0.6, 0.6], rate=2e-3)
    Report(record).write()
    best = json.loads((tmp_path / "s" / "best" / "points" / "params.json").read_text())
    assert (best["trial"], best["seeds"], best["interval"]) == (1, [1, 2], [0.6, 0.6])
    commands = (tmp_path / "s" / "best" / "points" / "command.txt").read_text().splitlines()
    assert [shlex.split(line)[3:5] for line in commands] == [["--seed", "1"], ["--seed", "2"]]


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


def test_the_best_config_is_the_base_with_the_trials_settings_and_its_checkpoint(tmp_path):
    record = new_record(tmp_path / "s", export_best=2)
    add(record, values=[0.5], baseline=True)
    add(record, values=[0.9], method="gda", rate=1e-3)
    add(record, values=[0.8], method="minmax", rate=2e-3)
    run = record.runs("points", 1)[0].folder
    for name in ("iter_900.pth", "iter_1500.pth"):
        (run / "ckpt" / "x").mkdir(parents=True, exist_ok=True)
        (run / "ckpt" / "x" / name).write_text(name)
    Report(record).write()
    folder = tmp_path / "s" / "best" / "points"
    best, second = load_config(folder / "config.py"), load_config(folder / "2" / "config.py")
    assert best.optimizer.generator.lr == 1e-3
    assert second.optimizer.generator.lr == 2e-3
    assert [h.type for h in best.custom_hooks] == ["SampleMetrics"]
    assert [h.type for h in second.custom_hooks] == ["SampleMetrics", "MinMaxHook"]
    assert (folder / "checkpoint.pth").read_text() == "iter_1500.pth"
    # what someone has trained again is not the trial's
    (run / "again" / "points_seed_1").mkdir(parents=True)
    (run / "again" / "points_seed_1" / "iter_9999.pth").write_text("another's")
    Report(record).write()
    assert (folder / "checkpoint.pth").read_text() == "iter_1500.pth"
    # each row's own command trains the same
    words = shlex.split(read_rows(record)["points"][0].commands[0])
    assert words[:2] == ["OMP_NUM_THREADS=1", "minmax-train"]
    assert load_config(words[2])._cfg_dict == best._cfg_dict
    # a moved search is written anew, with links that still hold
    (tmp_path / "s").rename(tmp_path / "moved")
    Report(Search.open(tmp_path / "moved")).write()
    assert (tmp_path / "moved" / "best" / "points" / "checkpoint.pth").read_text() == "iter_1500.pth"
    assert str(tmp_path / "moved") in (tmp_path / "moved" / "best" / "points" / "command.txt").read_text()


@pytest.mark.parametrize("name", ["points", "config", "apart"])
def test_the_config_of_a_trial_trains_from_its_beginning_whatever_its_base_is_called(tmp_path, name):
    record = new_record(tmp_path / "s", study=name)
    add(record, values=[0.5], rate=1e-3)
    folder = record.runs(name, 0)[0].folder
    folder.mkdir(parents=True)
    for left in ("config.py", "apart.py"):  # the training's own, after a restart
        (folder / left).write_text("resume_from = 'iter_40.pth'\n")
    Report(record).write()
    (command,) = read_rows(record)[name][0].commands
    again = load_config(shlex.split(command)[2])
    assert again.get("resume_from") is None
    assert again.optimizer.generator.lr == 1e-3
    written = (folder / f"{name}.py").stat().st_mtime_ns
    Report(record).write()
    assert (folder / f"{name}.py").stat().st_mtime_ns == written, "once"


def test_nothing_of_the_best_before_stays_beside_a_new_one(tmp_path):
    record = new_record(tmp_path / "s")
    add(record, values=[0.5], method="gda", rate=1e-3)
    run = record.runs("points", 0)[0].folder
    (run / "samples").mkdir(parents=True)
    (run / "iter_900.pth").write_text("weights")
    matplotlib.image.imsave(run / "samples" / "iter_900.png", [[0, 1]])
    best = tmp_path / "s" / "best" / "points"
    Report(record).write()
    assert {"checkpoint.pth", "samples.png"} < {path.name for path in best.iterdir()}
    add(record, values=[0.9], method="gda", rate=2e-3)
    Report(record).write()
    assert {path.name for path in best.iterdir()} == {"config.py", "params.json", "command.txt"}


def test_of_several_objectives_the_front_is_exported_first(tmp_path):
    record = new_record(tmp_path / "s", objectives=("balance:max", "seconds:min"), export_best=3)
    for values in ([0.9, 50.0], [0.8, 60.0], [0.5, 10.0], [0.7, 40.0]):  # the second is worse than the first in both
        add(record, values=values, method="gda", rate=1e-3)
    Report(record).write()
    best = tmp_path / "s" / "best" / "points"
    exported = [json.loads((best / place / "params.json").read_text())["trial"] for place in (".", "2", "3")]
    assert exported == [0, 3, 2]
    assert summary(record, read_rows(record))["studies"]["points"]["pareto_front"] == [0, 3, 2]


def test_of_several_objectives_the_other_method_is_compared_by_the_first(tmp_path):
    record = new_record(tmp_path / "s", objectives=("balance:max", "seconds:min"))
    add(record, values=[0.9, 50.0], method="minmax", rate=1e-3)
    add(record, values=[0.3, 10.0], method="gda", rate=1e-3)  # on the front
    add(record, values=[0.8, 60.0], method="gda", rate=1e-3)  # not, but the best that GDA does
    labels = [f"{label} {row.number}" for label, row in compared(read_rows(record)["points"])]
    assert labels == ["best (min-max) 0", "best plain GDA 2"]


def test_fewer_of_the_best_leave_none_of_the_others(tmp_path):
    record = new_record(tmp_path / "s", export_best=4)
    for i in range(4):
        add(record, values=[0.1 * i], method="gda", rate=1e-3)
    Report(record).write()
    best = tmp_path / "s" / "best" / "points"
    (best / "3" / "again").mkdir()
    (best / "3" / "again" / "iter_9.pth").write_text("someone's own")
    record.update(dataclasses.replace(record.options, export_best=2))
    Report(record).write()
    assert {path.name for path in best.iterdir() if path.is_dir()} == {"2", "3"}
    assert [path.name for path in (best / "3").iterdir()] == ["again"]
    assert (best / "2" / "config.py").exists()


def test_on_several_gpus_the_command_shown_has_as_many_processes(tmp_path):
    record = new_record(tmp_path / "s", gpus_per_trial=4)
    add(record, values=[0.5], baseline=True)
    words = shlex.split(read_rows(record)["points"][0].commands[0])
    assert words[1:5] == ["python", "-m", "torch.distributed.run", "--standalone"]
    assert words[5:10] == ["--nproc-per-node=4", "-m", "minmax_plugin.cli.train", "--launcher", "pytorch"]


def test_a_config_of_another_batch_size_is_the_one_that_was_trained(tmp_path):
    record = new_record(tmp_path / "s")
    base = record.configs["points"]
    cfg = record.merged("points", {"data.samples_per_gpu": base.data.samples_per_gpu // 2})
    assert cfg.total_iters == 2 * base.total_iters


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


def test_each_command_trains_its_data_set_with_its_seed_wherever_the_search_is(tmp_path):
    record = new_record(tmp_path / "a b#c", layout="shared", seeds=2, seed=5, cpus_per_trial=2.0)
    add(record, values=[0.5])
    for run in record.runs("shared", 0):
        run.folder.mkdir(parents=True)
        (run.folder / "iter_9.pth").write_text(f"{run.base} {run.seed}")
    write_best(record, read_rows(record)["shared"])
    best = record.folder / "best" / "shared"
    words = [shlex.split(line) for line in (best / "command.txt").read_text().splitlines()]
    assert [(line[0], line[2], line[4]) for line in words] == [
        ("OMP_NUM_THREADS=2", str(best / f"config_{base}.py"), seed) for seed in "56" for base in ("points", "digits")
    ]
    assert (best / "checkpoint.pth").read_text() == "points 5", "of its first training"


BETTER = [  # objective, the best so far, the strongest courses, where the strongest line ends
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
    (axes,) = courses(rows, record.objectives).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"trial {number}" for number in reversed(strong)]
    (axes,) = parallel_coordinates(rows, record.objectives).axes
    (top,) = (line for line in axes.lines if line.get_alpha() == 0.9)
    assert top.get_ydata()[-1] == end


def test_only_the_best_keep_their_checkpoints(tmp_path):
    record = new_record(tmp_path / "s", keep_checkpoints=2)
    report = Report(record)

    def checkpoints():
        return sorted(path.parent.name for path in (tmp_path / "s" / "trials").rglob("iter_9.pth"))

    for i, (value, state) in enumerate([(0.5, "COMPLETE"), (0.9, "COMPLETE"), (0.8, "COMPLETE"), (0.1, "FAIL")]):
        add(record, TrialState[state], values=[value] if state == "COMPLETE" else None, rate=1e-3 * (i + 1))
        folder = record.trial_folder("points", i)
        (folder / "again").mkdir(parents=True)
        (folder / "iter_9.pth").write_text(str(i))
        (folder / "latest.pth").symlink_to("iter_9.pth")
        (folder / "again" / "iter_9.pth").write_text("someone's own")
        report.write()
    again = ["again"] * 4
    assert checkpoints() == [*again, "points_1", "points_2", "points_3"], "one that failed may be resumed"
    assert all(path.exists() for path in (tmp_path / "s").rglob("latest.pth"))
    assert (tmp_path / "s" / "best" / "points" / "checkpoint.pth").read_text() == "1"
