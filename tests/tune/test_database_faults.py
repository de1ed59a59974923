"""Searches with real Ray in a real database that fails under them."""

import json
import re
import time

import optuna
import pytest
from lossy_proxy import lossy_proxy
from search_runs import HERE, start, stop_all, wait_for

from experiments.simulated_kills import kill_and_resume
from minmax_tune.storage import open_storage

pytestmark = pytest.mark.slow

STEPS, TRIALS = 6, 6
TOY = "from minmax_plugin import hosts; hosts.HOSTS = ('toy_host', *hosts.HOSTS)"  # in each Python that starts
STOPPED_S = 10


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    stop_all()


def begin(folder, postgres, database, port, name):
    """Start a search of toy trials that take some seconds."""
    (folder / "sitecustomize.py").write_text(TOY)
    (folder / "toy.py").write_text(json.dumps({"lr": 0.5, "steps": STEPS, "pause": 0.5}))
    (folder / "space.yaml").write_text("space: {lr: {type: float, low: 0.1, high: 1.0}}")
    return start(
        *(folder / "toy.py", "--space", folder / "space.yaml", "--metric", "score", "--num-samples", TRIALS),
        *("--storage", postgres.url(database=database, port=port), "--storage-path", folder, "--name", name),
        log=folder / f"{name}.log",
        PASSWORD=postgres.quoted,
        PYTHONPATH=f"{folder}:{HERE}",
    )


def train(folder):
    """Whether a trial of a search has reported."""
    return any(path.read_text() for path in (folder / "trials").rglob("reports.jsonl"))


def check_nothing_was_lost(folder, postgres, database, name):
    """Each trial of a search was trained once, and all that it reported is in its study."""
    storage = open_storage(postgres.url(postgres.quoted, database), folder)
    trials = optuna.load_study(study_name=f"{name}-toy", storage=storage).trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * TRIALS
    for trial in trials:
        lr = trial.params["lr"]
        assert trial.intermediate_values == {step: lr * step for step in range(1, STEPS + 1)}
        assert trial.value == lr * STEPS
        assert (folder / name / f"trials/toy_{trial.number}/begun").read_text() == "once\n"


def test_searches_that_share_a_database_outlast_all_that_happens_to_it(tmp_path, postgres):
    postgres.create("shared")
    runs, dropped = {}, 0
    with lossy_proxy(postgres.port) as proxy:
        for name in ("first", "second"):
            runs[name] = begin(tmp_path, postgres, "shared", proxy.port, name)
        for name, run in runs.items():
            wait_for(lambda name=name: train(tmp_path / name), run)
        proxy.losing = True
        for _ in range(4):
            dropped += postgres.drop_connections("shared")
            time.sleep(1)
        postgres.stop()
        time.sleep(STOPPED_S)
        postgres.start()
        codes = [run.wait(timeout=250) for run in runs.values()]
    logs = {name: (tmp_path / f"{name}.log").read_text() for name in runs}
    assert codes == [0, 0], logs
    assert dropped >= 4
    assert proxy.commits > 20
    for name, log in logs.items():
        search_log = (tmp_path / name / "search.log").read_text()
        for text in (log, search_log):
            assert text.count("the storage does not answer") == text.count("the storage answers again after") > 1
        outages = [int(seconds) for seconds in re.findall(r"answers again after (\d+) s", search_log)]
        assert max(outages) >= STOPPED_S - 1
        check_nothing_was_lost(tmp_path, postgres, "shared", name)


def test_a_long_search_that_is_killed_ends_with_exactly_its_trials(tmp_path, postgres, monkeypatch):
    """In short: `python -m experiments.simulated_kills` does it with 2,000 trials and five kills."""
    postgres.create("killed")
    monkeypatch.setenv("PASSWORD", postgres.quoted)
    row = kill_and_resume(tmp_path / "s", trials=60, kills=2, storage=postgres.url(database="killed"))
    assert row[-2:] == [60, 0]  # complete, lost or changed
