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
        folder: of its files.
        program: ``postgres``.
        user: arguments of ``subprocess`` for the user that runs it.
        password: of :data:`USER`; it has characters that a URL does not.
    """

    port: int
    folder: Path
    program: Path
    user: dict
    password: str = 'a long /secret:of "mine"@home%'

    @property
    def quoted(self):
        """The password, as it stands in a URL."""
        return urllib.parse.quote(self.password, safe="")

    def url(self, password="$PASSWORD", database="searches", port=None):
        """An address for ``--storage``."""
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database="searches"):
        import psycopg

        place = dict(host="127.0.0.1", port=self.port, user=USER, password=self.password, dbname=database)
        return psycopg.connect(**place, autocommit=True)

    def create(self, database):
        """Make a database, for a test's own use."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def drop_connections(self, database):
        """End all connections to a database, as its administrator can, and return their number."""
        with self.connect("postgres") as connection:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            return len(connection.execute(ended, [database]).fetchall())

    def text(self, database="searches"):
        """All that a database holds, as text."""
        with self.connect(database) as connection:
            tables = [
                name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
            ]
            return "\n".join(str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in tables)

    def start(self):
        """Start it, and wait until it answers."""
        command = [self.program, "-D", self.folder / "data", "-p", self.port, "-k", self.folder]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        log = self.folder / "log"
        with open(log, "a") as output:
            self._run = subprocess.Popen(
                list(map(str, command)), cwd=self.folder, stdout=output, stderr=output, **self.user
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect("postgres").close()
                return
            except Exception:
                assert self._run.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)

    def stop(self):
        """End it and all connections."""
        self._run.send_signal(signal.SIGINT)  # its fast way to end
        self._run.wait(60)


@contextlib.contextmanager
def server():
    """Start a server with an empty database, ``searches``; a test is skipped where PostgreSQL is not installed."""
    programs = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next((Path(path) for path in reversed(programs) if path), None)
    if initdb is None:
        missing = "PostgreSQL is not installed (apt-get install postgresql)"
        (pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip)(missing)
    folder = Path(tempfile.mkdtemp())  # not pytest's own, which is closed to other users
    as_whom = {}
    if os.geteuid() == 0:
        as_whom = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        shutil.chown(folder, NOBODY, NOBODY)
    postgresql = Postgresql(free_port(), folder, initdb.with_name("postgres"), as_whom)
    (folder / "password").write_text(postgresql.password)
    (folder / "password").chmod(0o644)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={folder / 'password'}", "--no-sync"]
    try:
        subprocess.run(
            [initdb, "--pgdata", folder / "data", *options], cwd=folder, check=True, capture_output=True, **as_whom
        )
        postgresql.start()
        try:
            postgresql.create("searches")
            yield postgresql
        finally:
            postgresql.stop()
    finally:
        shutil.rmtree(folder)
