"""What several tests of searches share."""

import postgresql
import pytest


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, see :mod:`postgresql`; each test makes a database of its own."""
    with postgresql.server() as server:
        yield server
