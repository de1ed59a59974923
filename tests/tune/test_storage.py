"""Where a search keeps its studies, by :func:`tune.storage.open_storage`."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tune.storage import open_storage

AT_ONCE, DATABASES = 4, 5


def test_several_may_open_a_new_database_at_the_same_moment(tmp_path):
    together = threading.Barrier(AT_ONCE)

    def open_new(url):
        together.wait(timeout=60)
        open_storage(url, tmp_path)

    urls = [f"sqlite:///{tmp_path}/{i}.db" for i in range(DATABASES) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert len(list(pool.map(open_new, urls))) == len(urls)  # list() raises what one of them did
