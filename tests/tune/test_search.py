"""The search command: its options, its errors, and whole searches with real Ray, real Optuna and real trainings."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml
from search_runs import GAUSSIANS, ROOT, search, short_config, space_file, trials

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.config import load_config
from minmax_tune.cli import main, parse
from minmax_tune.options import Options
from minmax_tune.space.space import Space
from minmax_tune.study import Search
from minmax_tune.tuner import only_one
from minmax_tune.validation import check_resources

MINMAX_YAML = str(ROOT / "tune/minmax_tune/space/shipped/minmax.yaml")
BROKEN = str(Path(__file__).parent / "broken.py")
UNFIT_NAMES = ("../x", "/x", "a/b", ".", "..", "a\tb")

BAD = [
    (["nowhere.py"], "config 'nowhere.py' does not exist"),
    ([GAUSSIANS, GAUSSIANS], "two studies would be named 'four_gaussians_minmax': rename one of the files"),
    ([GAUSSIANS, "--datasets", "nowhere.py"], "config 'nowhere.py' does not exist"),
    (
        [GAUSSIANS, "--datasets", BROKEN],
        "config four_gaussians_minmax-broken: data.train: GaussianMixture: modes must",
    ),
    ([GAUSSIANS, "--layout", "shared"], "--layout shared needs two data sets or more"),
    # numbers
    ([GAUSSIANS, "--num-samples", "0"], "--num-samples must be 1 or more, but got 0"),
    ([GAUSSIANS, "--seeds", "0"], "--seeds must be 1 or more, but got 0"),
    ([GAUSSIANS, "--confirm", "1"], "--confirm must be 2 or more, but got 1"),
    ([GAUSSIANS, "--seed", "-1"], "--seed must be 0 or more, but got -1"),
    ([GAUSSIANS, "--seed", "5000000000"], "--seed must be 4294967295 or less, so that --seeds=1 from there on are"),
    (
        [GAUSSIANS, "--seed", str(2**32 - 2), "--seeds", "3"],
        "--seed must be 4294967293 or less, so that --seeds=3 from there on are below 2**32, but got 4294967294",
    ),
    ([GAUSSIANS, "--max-failures", "-1"], "--max-failures must be 0 or more, but got -1"),
    ([GAUSSIANS, "--max-concurrent", "0"], "--max-concurrent must be above 0 and finite, but got 0"),
    ([GAUSSIANS, "--export-best", "0"], "--export-best must be 1 or more, but got 0"),
    ([GAUSSIANS, "--time-budget", "0s"], "--time-budget must be above 0 and finite, but got 0"),
    ([GAUSSIANS, "--cpus-per-trial", "0"], "--cpus-per-trial must be 0.01 or more and finite, but got 0"),
    ([GAUSSIANS, "--cpus-per-trial", "999"], "--cpus-per-trial=999.0 does not fit this machine"),
    (
        [GAUSSIANS, "--gpus-per-trial", "1.5"],
        "--gpus-per-trial must be a share of one GPU, 0.01 or more, or a whole number of them, but",
    ),
    # objectives
    ([GAUSSIANS, "--metric", "balanec"], "--metric='balanec' is not measured; did you mean 'balance'?"),
    ([GAUSSIANS, "--objective", "balance"], "--objective='balance' must be METRIC:max or METRIC:min"),
    ([GAUSSIANS, "--objective", "hq:max", "--objective", "hq:min"], "--objective names a metric twice: ['hq', 'hq']"),
    ([GAUSSIANS, "--objective", "seconds:min"], "--objective='seconds:min' cannot be the first"),
    ([GAUSSIANS, "--objective", "hq:max", "--metric", "hq"], "--objective METRIC:MODE takes the place of --metric"),
    (
        [GAUSSIANS, "--objective", "hq:max", "--objective", "seconds:min", "--sampler", "gp"],
        "--sampler=gp knows one objective only, but 2 were given",
    ),
    # early stopping
    ([GAUSSIANS, "--grace", "0.5"], "--grace and --resource belong to a scheduler"),
    ([GAUSSIANS, "--scheduler", "asha", "--grace", "60"], "--grace=60.0 is the share of a full training"),
    ([GAUSSIANS, "--scheduler", "asha", "--grace", "0"], "--grace must be above 0 and finite, but got 0.0"),
    ([GAUSSIANS, "--scheduler", "asha", "--resource", "seconds"], "--resource seconds needs --grace SECONDS"),
    # files and places
    ([GAUSSIANS, "--space", "nowhere.yaml"], "space file 'nowhere.yaml' does not exist"),
    ([GAUSSIANS, "--points", "nowhere.yaml"], "--points='nowhere.yaml' does not exist"),
    ([GAUSSIANS, "--points", BROKEN], "is no valid YAML"),
    ([GAUSSIANS, "--points", MINMAX_YAML], "must hold a list of points"),
    ([GAUSSIANS, "--warm-start", "nowhere"], "/nowhere' holds no search: it has no search.json"),
    ([GAUSSIANS, "--storage", "nosql://x"], "--storage='nosql://x' cannot be opened"),
    ([GAUSSIANS, "--sampler", "grid"], "--sampler grid needs a step for each float of the space"),
    *(([GAUSSIANS, "--name", name], f"--name={name!r} must be the name of a folder") for name in UNFIT_NAMES),
    *(
        ([GAUSSIANS, option, ""], f"{option} is empty: give it a value")
        for option in ("--storage", "--name", "--mlflow")
    ),
    ([GAUSSIANS, "--datasets", ""], "--datasets is empty: give it a value"),
    (
        [GAUSSIANS, "--scheduler", "asha", "--resource", "seconds", "--grace", "inf"],
        "--grace must be above 0 and finite",
    ),
    ([GAUSSIANS, "--collapse-below", "nan"], "--collapse-below must be finite, but got nan"),
    ([GAUSSIANS, "--cpus-per-trial", "1e-9"], "--cpus-per-trial must be 0.01 or more and finite, but got 1e-09"),
    ([GAUSSIANS, "--gpus-per-trial", "1e-9"], "--gpus-per-trial must be a share of one GPU, 0.01 or more"),
    (
        [GAUSSIANS.replace("minmax", "gda")],
        "space.method does not fit config four_gaussians_gda: 'minmax' needs a MinMaxHook",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_clear_error_before_anything_starts(tmp_path, capsys, arguments, message):
    assert main([*arguments, "--storage-path", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


BAD_FILES = [
    (["--points"], b"\xff\xfe", "--points='{}' is no text file in UTF-8: invalid start byte"),
    (["--points"], b"- {a: 1, a: 2}", "--points='{}', line 1: 'a' is there twice; give it once"),
    (
        ["--sampler", "grid", "--space"],
        b"space: {total_iters: {type: int, low: 1, high: 99999}}",
        "--sampler grid: total_iters has over 10000 values; give it a larger step",
    ),
]


@pytest.mark.parametrize(("arguments", "content", "message"), BAD_FILES, ids=[m for _, _, m in BAD_FILES])
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, capfd, arguments, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    assert main([GAUSSIANS, *arguments, str(tmp_path / "a.yaml"), "--dry-run"]) == 2
    error = capfd.readouterr().err
    assert message.format(tmp_path / "a.yaml") in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("storage", [[], ["--storage"]])
def test_an_address_without_a_cluster_leaves_nothing_behind(tmp_path, capsys, storage):
    storage = [*storage, f"sqlite:///{tmp_path}/shared.db"] if storage else []
    place = ["--storage-path", str(tmp_path / "results"), "--name", "s", *storage]
    for _ in range(2):  # the corrected line may have the same name
        assert main([GAUSSIANS, *place, "--address", "127.0.0.1:1"]) == 2
        assert "--address='127.0.0.1:1': no Ray cluster can be reached there" in capsys.readouterr().err
        assert list((tmp_path / "results").iterdir()) == []
    if storage:
        assert optuna.get_all_study_names(storage[1]) == []


BAD_LATER = [
    (["--resume", ""], "--resume is empty: give it a value"),
    (["--report", ""], "--report is empty: give it a value"),
    (["--resume", "nowhere"], "holds no search: it has no search.json"),
    (["--report", "nowhere"], "holds no search: it has no search.json"),
    (["--extend", "3"], "--extend needs --resume DIR"),
    (["--retry-errored"], "--retry-errored needs --resume DIR"),
    (["--resume", "a", "--extend", "-1"], "--extend must be 1 or more, but got -1"),
    (["--resume", "a", "--seeds", "2"], "--seeds cannot be given with --resume: it was settled when"),
    (["--resume", "a", "--confirm", "3"], "--confirm cannot be given with --resume: it was settled when"),
    (["--resume", "a", "config.py"], "CONFIG cannot be given with --resume"),
    (["--report", "a", "--max-concurrent", "2"], "--max-concurrent cannot be given with --report"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_LATER, ids=[m for _, m in BAD_LATER])
def test_bad_options_for_an_earlier_search_are_one_clear_error(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


UNREADABLE = [
    (["--scheduler", "ashaa"], "argument --scheduler: invalid choice: 'ashaa'"),
    (["--num-samples", "x"], "argument --num-samples: invalid int value: 'x'"),
    (["--time-budget", "x"], "argument --time-budget: 'x' is no time: write 8h, 30m, 90s or 1h30m"),
    (["--nothing"], "unrecognized arguments: --nothing"),
    (["--resume", "a", "--report", "b"], "argument --report: not allowed with argument --resume"),
    (["--dry-run", "--resume", "a"], "argument --resume: not allowed with argument --dry-run"),
]


@pytest.mark.parametrize(("arguments", "message"), UNREADABLE)
def test_what_the_command_line_does_not_know_is_named(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_given_goes_over_what_was_stored():
    stored = Options(num_samples=7, max_concurrent=2)
    request = parse(["--resume", "a", "--max-concurrent", "1", "--time-budget", "1h30m", "--extend", "3"])
    options = request.options(stored)
    assert (options.num_samples, options.max_concurrent, options.time_budget) == (7, 1, 5400)
    assert request.extend == 3
    assert Options.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    metric = parse(["a.py", "--metric", "hq", "--mode", "min"]).options()
    assert metric.directions == [("hq", "min")]
    assert parse(["a.py", "--metric", "hq"]).options().directions == [("hq", "max")]
    assert parse(["--objective", "hq:max", "a.py"]).options().configs == ("a.py",)


def test_a_dry_run_shows_what_would_change_and_leaves_nothing(tmp_path, capsys):
    arguments = [GAUSSIANS, "--storage-path", str(tmp_path / "out"), "--dry-run", "--num-samples", "3"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert [line.split(":")[0] for line in output.splitlines() if "trial" in line.split(":")[0]] == [
        f"four_gaussians_minmax trial {number}" for number in range(3)
    ]
    assert "-    generator=dict(type='MinMaxAdam', lr=0.001" in output
    assert "+    generator=dict(type='Adam'" in output  # the second trial is GDA
    assert not (tmp_path / "out").exists()


def test_the_demo_begins_with_a_config_that_has_no_penalty_and_then_tries_one(tmp_path, capsys):
    assert main(["--dry-run", "--storage-path", str(tmp_path / "out")]) == 0
    first, second = capsys.readouterr().out.split("four_gaussians_demo trial ")[1:3]
    assert "'regularisation': 'own'" in first
    assert "R1GradientPenalty" in second


def test_a_folder_that_exists_is_not_written_over(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("mine")
    assert main([GAUSSIANS, "--storage-path", str(tmp_path), "--name", "s"]) == 2
    assert "--name='s'" in capsys.readouterr().err


UNWRITABLE = [
    # --storage-path, --name, what the system says
    ("{tmp_path}/notes.txt", "s", "Not a directory"),
    ("{tmp_path}", "notes.txt", "Not a directory"),
    ("{tmp_path}", "n" * 300, "File name too long"),
    ("/proc/searches", "s", "No such file or directory"),  # where nobody may write, root included
]


@pytest.mark.parametrize("storage", [[], ["--storage", "sqlite:///:memory:"]], ids=["in it", "elsewhere"])
@pytest.mark.parametrize(("place", "name", "reason"), UNWRITABLE, ids=[r for _, _, r in UNWRITABLE])
def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path, capsys, place, name, reason, storage):
    (tmp_path / "notes.txt").write_text("mine")
    place = place.format(tmp_path=tmp_path)
    assert main([GAUSSIANS, "--storage-path", place, "--name", name, *storage]) == 2
    error = capsys.readouterr().err
    assert f"error: --storage-path={place!r}: {place}/{name} cannot be written ({reason}): make it writable" in error
    assert error.count("\n") == 1


def test_an_earlier_search_that_cannot_be_written_is_one_clear_error(tmp_path, capsys):
    options = Options(configs=(GAUSSIANS,), num_samples=1)
    record = Search.create(tmp_path / "s", options, Space.read(MINMAX_YAML), {"a": load_config(GAUSSIANS)})
    (record.folder / "lock").mkdir()  # as root may write a folder whatever its mode
    assert main(["--resume", str(record.folder)]) == 2
    error = capsys.readouterr().err
    assert f"error: {record.folder} cannot be written (Is a directory): make it writable" in error
    assert error.count("\n") == 1


def test_a_search_that_runs_is_not_run_twice(tmp_path, capsys):
    options = Options(configs=(GAUSSIANS,), num_samples=1)
    cfg = load_config(GAUSSIANS)
    record = Search.create(tmp_path / "s", options, Space.read(MINMAX_YAML), {"four_gaussians_minmax": cfg})
    with only_one(record.folder):
        assert main(["--resume", str(record.folder)]) == 2
    assert "this search is running already" in capsys.readouterr().err


def test_a_search_that_is_beginning_is_left_alone(tmp_path, capsys):
    """Of two that begin under one name, one has it; what it has written so far is not taken for a killed one's."""
    (tmp_path / "s").mkdir()
    with only_one(tmp_path / "s"):
        (tmp_path / "s/optuna.db").write_text("the other's")
        assert main([GAUSSIANS, "--storage-path", str(tmp_path), "--name", "s"]) == 2
    assert "this search is running already" in capsys.readouterr().err
    assert (tmp_path / "s/optuna.db").read_text() == "the other's"


def test_a_signal_that_ray_answers_ends_a_search_in_order(tmp_path, capsys, monkeypatch):
    """While it starts and while it ends Ray has a handler of its own for SIGTERM, which exits."""
    monkeypatch.setattr("minmax_tune.search.run", lambda *_: sys.exit(15))
    assert main([GAUSSIANS, "--storage-path", str(tmp_path), "--name", "s"]) == 143
    assert f"go on with --resume {tmp_path}/s" in capsys.readouterr().err
    assert "ended: SIGTERM" in (tmp_path / "s/search.log").read_text()


def test_searches_without_a_name_may_begin_in_the_same_second(tmp_path, monkeypatch):
    monkeypatch.setattr("minmax_tune.search.run", lambda *_: None)
    assert main([GAUSSIANS, "--storage-path", str(tmp_path)]) == 1  # no trial was finished
    (folder,) = tmp_path.iterdir()
    assert re.fullmatch(r"search_\d{8}_\d{6}_\d{6}", folder.name), "to the microsecond"


def test_a_search_can_be_gone_on_with_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", "/shared")
    options = parse([GAUSSIANS, "--warm-start", "old", "--storage", "journal:studies.log"]).options()
    assert options.warm_start == f"{tmp_path}/old"
    assert options.storage == f"journal:{tmp_path}/studies.log"
    kept = ["sqlite:///$PLACE/studies.db", "postgresql://user@host/studies", "journal:/shared/studies.log"]
    assert [parse(["--storage", place]).options().storage for place in kept] == kept
    assert parse(["--storage", "sqlite:///s.db"]).options().storage == f"sqlite:///{tmp_path}/s.db"


def test_a_resumed_search_keeps_its_processes():
    stored = Options(gpus_per_trial=2)
    assert parse(["--resume", "x", "--gpus-per-trial", "2"]).options(stored).gpus_per_trial == 2
    assert parse(["--resume", "x", "--gpus-per-trial", "0.5"]).options(Options()).gpus_per_trial == 0.5
    with pytest.raises(ConfigError, match=r"--gpus-per-trial=4.0 would give the trials 4 processes.* others had 2"):
        parse(["--resume", "x", "--gpus-per-trial", "4"]).options(stored)


@pytest.mark.slow
def test_a_search_over_two_data_sets_leaves_everything(tmp_path):
    config = short_config(tmp_path, iterations=60, interval=30)
    datasets = [tmp_path / f"{n}_gaussians.py" for n in ("four", "eight")]
    for path in datasets:
        shipped = (ROOT / "configs/_base_/datasets" / path.name).read_text()
        path.write_text(shipped.replace("interval=1500", "interval=30"))
    options = ["--num-samples", 3, "--storage-path", "out", "--name", "s"]  # a relative folder
    search(config, "--datasets", *datasets, *options, cwd=tmp_path)
    folder = tmp_path / "out" / "s"
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    names = ["short-four_gaussians", "short-eight_gaussians"]
    assert [(r["study"], r["trial"]) for r in rows] == [(n, str(i)) for n in names for i in range(3)]
    assert {r["state"] for r in rows} == {"COMPLETE"}
    for name in names:
        study = trials(folder, name)
        assert [t.user_attrs["baseline"] for t in study] == [True, False, False]
        assert all(list(t.intermediate_values) == [30 * 512, 60 * 512] for t in study)
        # each trial kept its files in a folder of its own, though the workers were warm
        for trial in study:
            metrics = (folder / "trials" / f"{name}_{trial.number}" / "metrics.jsonl").read_text()
            assert metrics.count("\n") == 2

    # an extension that could not begin is none, so that giving it again does not add to it
    output = search("--resume", folder, "--extend", 2, "--address", "127.0.0.1:1", code=2)
    assert "no Ray cluster can be reached there (--address local takes this machine alone)" in output
    assert Search.open(folder).options.num_samples == 3

    # the best config runs unchanged and gives its trial's result
    best = Search.open(folder).studies[names[0]].best_trial
    words = shlex.split((folder / "best" / names[0] / "command.txt").read_text())
    arguments = words[words.index("minmax-train") :]
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "minmax_plugin.cli.train", *arguments[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    runs = list((folder / "best" / names[0]).rglob("metrics.jsonl"))
    last = json.loads(runs[0].read_text().splitlines()[-1])
    assert last["balance"] == pytest.approx(best.value, abs=1e-6)


@pytest.mark.slow
def test_a_shared_study_trains_each_trial_on_every_data_set_with_every_seed(tmp_path):
    configs = [short_config(tmp_path, name, iterations=40) for name in ("one", "two")]
    options = ["--layout", "shared", "--seeds", 2, "--num-samples", 3, "--storage-path", tmp_path, "--name", "s"]
    search(
        *configs, "--space", space_file(tmp_path), *options, "--objective", "balance:max", "--objective", "seconds:min"
    )
    record = Search.open(tmp_path / "s")
    for trial in record.studies["shared"].trials:
        attrs = trial.user_attrs
        assert [(run["base"], run["seed"]) for run in attrs["runs"]] == [
            (base, seed) for seed in (1, 2) for base in ("one", "two")
        ]
        values = [run["metrics"]["balance"] for run in attrs["runs"]]
        assert (values[0], values[2]) == (values[1], values[3]), "the same data under two names"
        assert trial.values[0] == pytest.approx(sum(values) / 4)
        assert attrs["scores"] == pytest.approx([values[0], values[2]])
        assert attrs["interval"][0] <= trial.values[0] <= attrs["interval"][1]
        assert [images for images, _ in attrs["history"]] == [20 * 512 * i for i in range(1, 9)]
        assert trial.values[1] > 0, "seconds"
        for run in record.runs("shared", trial.number):
            assert any(run.folder.rglob("iter_40.pth"))


@pytest.mark.slow
def test_early_stopping_collapse_and_configs_without_minmax(tmp_path):
    path = short_config(tmp_path, iterations=120)
    path.write_text(
        path.read_text()
        .replace("four_gaussians_minmax", "four_gaussians_gda")
        .replace("metrics_hook, dict(type='MinMaxHook')", "dict(type='Ramp', slope=1.0)")
    )
    space = {"space": {"slope": {"type": "choice", "options": [1.0, 0.5, 0.1], "keys": ["custom_hooks.0.slope"]}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    options = ["--space", tmp_path / "space.yaml", "--sampler", "grid", "--num-samples", 9, "--metric", "ramp"]
    options += ["--storage-path", tmp_path, "--max-concurrent", 1, "--name"]
    search(path, *options, "a", "--scheduler", "asha", "--grace", 0.25)
    first, *others = trials(tmp_path / "a")
    assert (first.state.name, first.value) == ("COMPLETE", 120.0)
    assert len(others) == 2, "the grid has three points, one of them the unmodified config's"
    for trial in others:  # stopped at a quarter of the images: its first measurement past it
        assert trial.state.name == "PRUNED"
        assert trial.user_attrs["reason"] == f"stopped early by asha at {40 * 512} images"
        slope = trial.params["slope"]
        assert trial.intermediate_values == pytest.approx({20 * 512: 20 * slope, 40 * 512: 40 * slope})
    search(path, *options, "b", "--collapse-below", 11)
    collapsed = {t.params["slope"]: t for t in trials(tmp_path / "b")}
    assert {slope: t.state.name for slope, t in collapsed.items()} == {1.0: "COMPLETE", 0.5: "COMPLETE", 0.1: "PRUNED"}
    assert collapsed[0.1].user_attrs["reason"] == "collapsed: ramp was below 11.0 in 3 measurements in a row"
    assert list(collapsed[0.1].intermediate_values) == [20 * 512, 40 * 512, 60 * 512]


def test_a_trial_may_use_all_cores():
    check_resources(Options(cpus_per_trial=os.cpu_count()))
