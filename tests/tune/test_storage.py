"""Where a search keeps its studies, by :func:`minmax_tune.storage.open_storage`."""

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna

from minmax_tune.storage import open_storage

AT_ONCE, DATABASES = 4, 5


def test_several_may_open_a_new_database_at_the_same_moment(tmp_path):
    together = threading.Barrier(AT_ONCE)

    def open_new(url):
        together.wait(timeout=60)
        open_storage(url, tmp_path)

    urls = [f"sqlite:///{tmp_path}/{i}.db" for i in range(DATABASES) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert len(list(pool.map(open_new, urls))) == len(urls)  # list() raises what one of them did


def test_a_journal_goes_on_after_half_a_line(tmp_path):
    """A full disk leaves one, or a killed process."""
    spec = f"journal:{tmp_path / 'j'}"
    study = optuna.create_study(storage=open_storage(spec, tmp_path), study_name="s")
    study.ask()
    for half in ('{"op_code":5,"wor', "{"):
        with open(tmp_path / "j", "a") as file:
            file.write(half)
        study.ask()
    later = optuna.load_study(storage=open_storage(spec, tmp_path), study_name="s")
    later.ask()
    assert [t.number for t in study.get_trials()] == [0, 1, 2, 3]
    assert not (tmp_path / "j.lock").is_symlink()
