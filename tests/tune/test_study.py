"""The folder and the studies of a search: their names, what a kill leaves of them, and the code's commit."""

import os
import shutil
import subprocess

import pytest
from mmcv import Config
from studies import CONFIG, CONTENT

from minmax_plugin.errors import ConfigError
from minmax_tune.commit import code_commit
from minmax_tune.options import Options
from minmax_tune.space.space import Space
from minmax_tune.study import Search


@pytest.mark.parametrize("name", ["s?3", "a$HOME b", "50%41"])
def test_a_folder_may_have_any_name(tmp_path, name):
    record = Search.create(tmp_path / name, Options(), Space.load(CONTENT), {"a": Config(dict(lr=0.1))})
    record.studies["a"].ask()
    assert (tmp_path / name / "optuna.db").exists()
    assert len(Search.open(tmp_path / name).studies["a"].trials) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_search_that_was_killed_before_it_was_written_down_leaves_its_name_free(make):
    record = make()
    (record.folder / "search.json").unlink()
    (record.folder / "search.log").unlink()
    left = [record.folder / "optuna.db-journal", record.folder / ".search.123.json"]
    for path in left:
        path.write_text("half of it")
    make()
    assert not any(path.exists() for path in left)
    with pytest.raises(ConfigError, match="exists already; give another name"):
        make()


def test_a_search_that_was_killed_before_it_was_written_down_has_its_studies(make, tmp_path):
    """They may be in a storage that others use too; of those, nobody takes another's."""
    storage = f"sqlite:///{tmp_path}/shared.db"
    options = Options(objectives=("score:max",), storage=storage)
    for number in range(2):
        record = Search.create(tmp_path / "s", options, Space.load(CONTENT), dict.fromkeys("ab", CONFIG))
        assert [study.study_name for study in record.studies.values()] == ["s-a", "s-b"]
        if number == 0:
            (record.folder / "search.json").unlink()
            (record.folder / "search.log").unlink()
    elsewhere, minimized = tmp_path / "other/s", Options(objectives=("score:min",), storage=storage)
    with pytest.raises(ConfigError, match="has a study 's-a' already, of another search: give --name"):
        Search.create(elsewhere, options, Space.load(CONTENT), {"a": CONFIG})
    shutil.rmtree(record.folder)
    with pytest.raises(ConfigError, match="of another search"):
        Search.create(record.folder, minimized, Space.load(CONTENT), {"a": CONFIG})
    shutil.rmtree(record.folder)
    record = Search.create(record.folder, options, Space.load(CONTENT), {"a": CONFIG})
    record.studies["a"].ask()
    shutil.rmtree(record.folder)
    with pytest.raises(ConfigError, match="of another search"):
        Search.create(record.folder, options, Space.load(CONTENT), {"a": CONFIG})


def test_the_commit_is_marked_where_files_differ_from_it(tmp_path, monkeypatch):
    def git(*command):
        person = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *person, *command], check=True, capture_output=True)

    for name in [name for name in os.environ if name.startswith("GIT_")]:  # of a hook of git's that runs the tests
        monkeypatch.delenv(name)
    monkeypatch.setattr("minmax_tune.commit.CODE", tmp_path)
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    clean = code_commit.__wrapped__()
    (tmp_path / "file").write_text("2")
    assert len(clean) == 40
    assert code_commit.__wrapped__() == f"{clean}-dirty"
