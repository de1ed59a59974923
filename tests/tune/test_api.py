"""A search from Python."""

from pathlib import Path

import pytest
from mmcv import Config

from minmax_plugin.errors import ConfigError
from minmax_tune import api
from minmax_tune.space.space import Space
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


@pytest.fixture
def asked(monkeypatch):
    """The options of the searches that begin. Nothing is trained."""
    found = []

    def search(command):
        options = command.options()
        found.append(options)
        folder, rate = Path(options.storage_path) / options.name, {"type": "float", "low": 0.1, "high": 1.0}
        Search.create(folder, options, Space.load({"space": {"lr": rate}}), {"a": Config(dict(lr=0.3))})
        return options.seed  # as the exit code

    monkeypatch.setattr(api, "search", search)
    return found


def test_a_search_from_python_has_the_options_of_the_command(asked, tmp_path):
    record = api.run_search("a.py", num_samples=7, storage_path=str(tmp_path), seed=0)
    (options,) = asked
    assert (options.configs, options.num_samples) == (("a.py",), 7)
    assert record.folder == tmp_path / options.name
    assert list(record.studies) == ["a"]


def test_a_search_that_had_to_end_is_an_error(asked, tmp_path):
    with pytest.raises(api.SearchEnded, match=r"exit code 1; .*search\.log"):
        api.run_search(storage_path=str(tmp_path), seed=1)


@pytest.mark.parametrize("wrong", [{"samples": 3}, {"num_samples": 0}, {"configs": ("a.py",)}])
def test_wrong_options_are_one_clear_error(wrong):
    with pytest.raises(ConfigError):
        api.run_search("a.py", **wrong)
