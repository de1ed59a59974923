"""Files and addresses that a search is given: ``~`` is the home folder, and no password is taken, kept or told."""

import json
import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial
from ray import cloudpickle
from search_runs import GAUSSIANS

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.config import load_config
from minmax_tune.cli import main, parse
from minmax_tune.options import Options
from minmax_tune.report.mlflow import connect
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.storage import open_storage
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """As a process that has not heard of any password."""
    monkeypatch.setattr("minmax_plugin.secrets._remembered", set())
    monkeypatch.setattr("minmax_tune.addresses._taken_out", {})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another one to work in."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


IN_HOME = [
    ("configs", ["~/a.py", "~/b.py"], ("{}/a.py", "{}/b.py")),
    ("datasets", ["--datasets", "~/a.py"], ("{}/a.py",)),
    ("space", ["--space", "~/s.yaml"], "{}/s.yaml"),
    ("points", ["--points", "~/p.yaml"], "{}/p.yaml"),
    ("warm_start", ["--warm-start", "~/results/a"], "{}/results/a"),
    ("storage_path", ["--storage-path", "~"], "{}"),
    ("storage", ["--storage", "sqlite:///~/x.db"], "sqlite:///{}/x.db"),
    ("storage", ["--storage", "sqlite+pysqlite:///~/x.db"], "sqlite+pysqlite:///{}/x.db"),
    ("storage", ["--storage", "journal:~/x"], "journal:{}/x"),
    ("mlflow", ["--mlflow", "sqlite:///~/m.db"], "sqlite:///{}/m.db"),
    ("mlflow", ["--mlflow", "~/mlruns"], "{}/mlruns"),
]


@pytest.mark.parametrize(("name", "line", "expected"), IN_HOME, ids=[" ".join(line) for _, line, _ in IN_HOME])
def test_a_tilde_is_the_home_folder(home, name, line, expected):
    given = [word for word in line if not word.startswith("--")]
    expected = tuple(e.format(home) for e in expected) if isinstance(expected, tuple) else expected.format(home)
    assert getattr(parse(line).options(), name) == expected
    in_python = Options(**{name: tuple(given) if isinstance(expected, tuple) else given[0]})
    assert getattr(in_python, name) == expected


@pytest.mark.parametrize("action", ["--resume", "--report"])
def test_a_tilde_is_the_home_folder_of_an_earlier_search_too(home, action):
    assert parse([action, "~/results/a"]).folder == home / "results/a"


@pytest.mark.parametrize("address", ["sqlite:///~/x.db", "journal:~/x", "sqlite:///$HERE/x.db", "journal:$HERE/x"])
def test_a_storage_in_the_home_folder_is_there(home, monkeypatch, address):
    monkeypatch.setenv("HERE", "~")
    optuna.create_study(storage=open_storage(address, home), study_name="s")
    assert any(home.iterdir())
    assert not any(Path.cwd().iterdir())


def test_no_search_is_named_as_a_home_folder(home, capsys):
    assert main([GAUSSIANS, "--name", "~me"]) == 2
    assert "--name='~me': a shell takes such a folder for a home; give another name" in capsys.readouterr().err


LITERAL = [
    ("--storage", "postgresql://me:S3cr3t@host/db", "postgresql://me:***@host/db"),
    ("--storage", "postgresql://me:S3cr3t/or$NAME@host/db", "postgresql://me:***@host/db"),
    ("--storage", "mysql://host/db?password=S3cr3t", "mysql://host/db?password=***"),
    ("--mlflow", "https://me:S3cr3t@host", "https://me:***@host"),
]


@pytest.mark.parametrize(("option", "address", "shown"), LITERAL)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path, capsys, option, address, shown):
    make_search(tmp_path / "s")
    for line in [[GAUSSIANS], *([["--resume", str(tmp_path / "s")]] if option == "--mlflow" else [])]:
        assert main([*line, option, address]) == 2
        error = capsys.readouterr().err
        assert f"{option}={shown!r} holds a password, which would be stored and stand in the process list" in error
        assert "S3cr3t" not in error
        assert error.count("\n") == 1


WRONG = [
    (
        "postgresql://me:$UNSET@host/db",
        None,
        "='postgresql://me:$UNSET@host/db': the variable UNSET is not set: export it",
    ),
    ("postgresql://me:${UNSET}@host/db", None, "the variable UNSET is not set"),
    ("$UNSET", None, "='$UNSET': the variable UNSET is not set"),
    ("postgresql://me:$PG@host/db", "p@S3cr:t", "='postgresql://me:$PG@host/db' is no URL of a database"),
    ("postgresql://me:$PG@host/db", "p@S3cr3t", "in a password @, :, / and % must be percent-encoded"),
    ("$PG", "postgresql://me:p@S3cr:t@host/db", "='$PG' is no URL of a database"),
    ("$PG", "S3cr3t", "='$PG' is no URL of a database"),
    ("nosql://me:$PG@host", "S3cr3t", "='nosql://me:$PG@host' cannot be opened"),
    ("oracle://me:$PG@host/db", "S3cr3t", "needs the driver oracledb: pip install oracledb"),
    ("mysql://me:$PG@host/db", "S3cr3t", "needs the driver mysqldb: pip install mysqlclient"),
    ("postgresql+psycopg2://me:$PG@host/db", "S3cr3t", "needs the driver psycopg2: pip install psycopg2-binary"),
]


@pytest.mark.parametrize(("address", "value", "message"), WRONG)
def test_an_address_that_cannot_be_used_is_one_clear_error_without_the_password(
    tmp_path, monkeypatch, address, value, message
):
    if value:
        monkeypatch.setenv("PG", value)
    with pytest.raises(ConfigError) as told:
        open_storage(address, tmp_path)
    assert f"--storage={address!r}" in str(told.value)
    assert message in str(told.value)
    assert "S3cr" not in str(told.value)


def test_mlflow_s_address_has_its_variables_filled_in_too():
    with pytest.raises(ConfigError, match=r"--mlflow='https://me:\$UNSET@host': the variable UNSET is not set"):
        connect("https://me:$UNSET@host")


CONFIGS = [
    (
        "log_config = dict(hooks=[dict(type='NeptuneLoggerHook', init_kwargs=dict(api_token='eyJhcGlfYWRkcmVz'))])",
        "log_config.hooks.0.init_kwargs.api_token",
    ),
    ("import os\nnote = os.environ['MY_TOKEN']", "note"),
    ("tracking = 'https://me:S3cr3t@host'", "tracking"),
]


@pytest.mark.parametrize(("line", "path"), CONFIGS)
def test_a_config_with_a_token_is_refused(tmp_path, monkeypatch, capsys, line, path):
    monkeypatch.setenv("MY_TOKEN", "the value of a variable")
    (tmp_path / "a.py").write_text(f"_base_ = {GAUSSIANS!r}\n{line}\n")
    assert main([str(tmp_path / "a.py"), "--storage-path", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert (
        f"error: config a: {path} holds a password or token, of which the search would keep copies: leave it" in error
    )
    assert not (tmp_path / "results").exists()


def make_search(folder, **options):
    options = Options(configs=(GAUSSIANS,), num_samples=1, **options)
    return Search.create(folder, options, Space.read(options.space), {"a": load_config(GAUSSIANS)})


def test_what_ray_pickles_of_a_search_holds_nothing_of_it(tmp_path):
    record, ending = make_search(tmp_path / "s"), SearchStopper(None)
    searcher = StudySearcher(record, ending)
    searcher.suggest("1")  # a trial knows its storage
    for part in (record, searcher, Progress(record, Report(record)), list(searcher._running.values())):
        assert b"sqlite" in cloudpickle.dumps({"storage": record.storage})
        assert b"sqlite" not in cloudpickle.dumps({"search_alg": part})


def test_an_earlier_version_s_folder_is_cleaned(tmp_path, postgres, monkeypatch, capsys):
    """Made as those did: with the password in Ray's files, and here in the address itself."""
    postgres.create("earlier")
    monkeypatch.setenv("PASSWORD", postgres.quoted)
    record = make_search(tmp_path / "s", storage=postgres.url(database="earlier"))
    record.studies["a"].add_trial(create_trial(value=0.5, user_attrs={"reason": postgres.url(postgres.quoted)}))
    folder, literal = record.folder, postgres.url(postgres.quoted, "earlier")
    stored = json.loads((folder / "search.json").read_text())
    del stored["holds_no_password"]
    stored["options"]["storage"] = literal
    (folder / "search.json").write_text(json.dumps(stored))
    (folder / "trials/a_0").mkdir(parents=True)
    rays = ["tuner.pkl", "experiment_state-2026.json", "searcher-state-2026.pkl", "search_gen_state-2026.json"]
    for name in [*rays, "callback-states-2026.pkl", "a_0/error.pkl"]:
        (folder / "trials" / name).write_bytes(b"\x80" + literal.encode())
    told = dict.fromkeys(("search.log", "trials/a_0/error.txt"), f"it failed: {postgres.password!r} of {literal}\n")
    for name, text in told.items():
        (folder / name).write_text(text)
    monkeypatch.delenv("PASSWORD")

    assert main(["--resume", str(folder)]) == 0, "with the password that it had"
    said = capsys.readouterr()
    files = [path for path in folder.rglob("*") if path.is_file()]
    for secret in (postgres.password, postgres.quoted):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
        assert secret not in said.out + said.err
    assert [path for path in files if path.suffix == ".pkl" or "state-" in path.name] == []
    assert "it failed: '***' of postgresql+psycopg://me:***@127.0.0.1" in (folder / "trials/a_0/error.txt").read_text()
    log = (folder / "search.log").read_text()
    assert (
        "the password of --storage was in search.json: it is 'postgresql+psycopg://me:$SEARCH_STORAGE_PASSWORD@" in log
    )

    monkeypatch.setattr("minmax_tune.addresses._taken_out", {})  # as in another process
    assert main(["--resume", str(folder)]) == 2
    assert "the variable SEARCH_STORAGE_PASSWORD is not set" in capsys.readouterr().err
    monkeypatch.setenv("SEARCH_STORAGE_PASSWORD", postgres.quoted)
    assert main(["--resume", str(folder)]) == 0


def test_a_database_s_own_file_of_passwords_serves(home, postgres):
    postgres.create("own")
    escaped = postgres.password.replace("\\", "\\\\").replace(":", "\\:")
    (home / ".pgpass").write_text(f"127.0.0.1:{postgres.port}:*:me:{escaped}\n")
    os.chmod(home / ".pgpass", 0o600)
    open_storage(postgres.url(database="own").replace(":$PASSWORD", ""), home)
