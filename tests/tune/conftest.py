"""What several tests of searches share."""

import postgresql
import pytest
from studies import CONFIG, CONTENT

from minmax_tune.options import Options
from minmax_tune.queue import plan
from minmax_tune.space.space import Space
from minmax_tune.study import Search


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, see :mod:`postgresql`; each test makes a database of its own."""
    with postgresql.server() as server:
        yield server


@pytest.fixture
def make(tmp_path):
    """Writes down a search of the space ``CONTENT``, with its trials planned."""

    def build(content=CONTENT, names=("a", "b"), folder="s", config=CONFIG, **options):
        space, configs = Space.load(content), dict.fromkeys(names, config)
        options = Options(**{"objectives": ("score:max",), "num_samples": 3, **options})
        record = Search.create(tmp_path / folder, options, space, configs)
        plan(record, configs)
        return record

    return build
