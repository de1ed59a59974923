"""A PostgreSQL server of a test's own: ``with server() as postgresql: ...``."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest
from search_runs import free_port

REQUIRED = "MINMAX_POSTGRESQL"  # in the environment: "required" makes a failure of a server that is not there
USER = "me"
NOBODY = "postgres"  # the user that runs it for root, whom it refuses


@dataclasses.dataclass
class Postgresql:
    """A server that asks for a password.

    Args:
        port: where it listens, on this machine alone.
        password: of :data:`USER`; it has characters that a URL does not.
    """

    port: int
    password: str = 'a long /secret:of "mine"@home%'

    @property
    def quoted(self):
        """The password, as it stands in a URL."""
        return urllib.parse.quote(self.password, safe="")

    def url(self, password="$PASSWORD", database="searches"):
        """An address for ``--storage``."""
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="searches"):
        import psycopg

        place = dict(host="127.0.0.1", port=self.port, user=USER, password=self.password, dbname=database)
        return psycopg.connect(**place, autocommit=True)

    def create(self, database):
        """Make a database, for a test's own use."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def text(self, database="searches"):
        """All that a database holds, as text."""
        with self.connect(database) as connection:
            tables = [
                name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
            ]
            return "\n".join(str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in tables)


@contextlib.contextmanager
def server():
    """Start a server with an empty database, ``searches``; a test is skipped where PostgreSQL is not installed."""
    programs = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next((Path(path) for path in reversed(programs) if path), None)
    if initdb is None:
        missing = "PostgreSQL is not installed (apt-get install postgresql)"
        (pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip)(missing)
    postgresql = Postgresql(free_port())
    folder = Path(tempfile.mkdtemp())  # not pytest's own, which is closed to other users
    as_whom = {}
    if os.geteuid() == 0:
        as_whom = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        shutil.chown(folder, NOBODY, NOBODY)
    (folder / "password").write_text(postgresql.password)
    (folder / "password").chmod(0o644)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={folder / 'password'}", "--no-sync"]
    run = None
    try:
        subprocess.run(
            [initdb, "--pgdata", folder / "data", *options], cwd=folder, check=True, capture_output=True, **as_whom
        )
        command = [initdb.with_name("postgres"), "-D", folder / "data", "-p", str(postgresql.port), "-k", folder]
        with open(folder / "log", "w") as log:
            command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
            run = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=log, stderr=log, **as_whom)
        deadline = time.monotonic() + 60
        while True:
            try:
                postgresql.create("searches")
                break
            except Exception:
                assert run.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        yield postgresql
    finally:
        if run is not None:
            run.send_signal(signal.SIGINT)  # its fast way to end
            run.wait(60)
        shutil.rmtree(folder)
