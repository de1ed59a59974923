"""The storage of a search's Optuna studies: SQLite in its folder, a journal file, or a shared database."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from minmax_plugin.errors import ConfigError
from minmax_plugin.secrets import hide
from minmax_tune.addresses import fill_in, shown
from minmax_tune.outages import Unreachable

DATABASE = "optuna.db"
DRIVERS = {  # what to install for one, where the driver itself is not what pip calls it
    "psycopg": '"psycopg[binary]"',
    "psycopg2": "psycopg2-binary",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
}
# A server that vanishes is noticed after a minute. Without these a connection waits for hours.
LIBPQ = dict(connect_timeout=10, keepalives_idle=30, keepalives_interval=10, keepalives_count=3, tcp_user_timeout=60000)
ATTEMPTS, PAUSE = 50, 0.2  # at a database whose tables another process is making; seconds between them


def open_storage(spec: str | None, folder: Path) -> BaseStorage:
    """Open Optuna's storage: SQLite in ``folder``, ``journal:FILE``, or a database's URL.

    Several processes may open a new database at the same moment.

    Args:
        spec: The value of ``--storage``. Environment variables in it are filled in.
        folder: The search's folder.

    Raises:
        ConfigError: If it cannot be opened.

    Examples:
        >>> import tempfile
        >>> type(open_storage(None, Path(tempfile.mkdtemp()))).__name__
        'RDBStorage'
    """
    place = fill_in("--storage", spec) if spec else database_url(folder)
    given = f"--storage={shown(spec or place)!r}"
    url = None if place.startswith("journal:") else read_url(place, given)
    try:
        if url is None:
            return JournalStorage(Journal(str(Path(place.removeprefix("journal:")).absolute())))
        return open_database(place)
    except ImportError as error:
        driver = url.get_driver_name() if url else ""
        raise ConfigError(f"{given} needs the driver {driver}: pip install {DRIVERS.get(driver, driver)}") from error
    except Exception as error:  # of the database's own driver
        last = str(error).strip().splitlines() or [""]
        raise ConfigError(f"{given} cannot be opened: {hide(last[0])}") from error


def read_url(text: str, given: str) -> sqlalchemy.URL:
    """Parse a database's URL. An error never quotes the URL, because it holds the password.

    Args:
        text: The URL, with its variables filled in.
        given: The option, for the error.

    Raises:
        ConfigError: If it cannot be read, or not in one way alone.

    Examples:
        >>> read_url("postgresql://me:p@ss:w@host/db", "--storage='postgresql://me:$PASSWORD@host/db'")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: --storage='postgresql://me:$PASSWORD@host/db' is no URL of a database...
    """
    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise ConfigError(
            f"{given} is no URL of a database, such as postgresql+psycopg://me:$PASSWORD@host/db: in a password @, :, "
            "/ and % must be percent-encoded (python -c 'import getpass, urllib.parse as u; "
            'print(u.quote(getpass.getpass(), safe=""))\').'
        ) from None
    return url


class Journal(JournalFileBackend):
    """Optuna's journal file, which continues after half a line.

    A full disk or a killed process leaves half a line. Optuna would write its next line behind it, and nobody could
    read that.

    Args:
        path: The path of the file.
    """

    def __init__(self, path: str) -> None:
        self._path, self._held = path, JournalFileSymlinkLock(path)
        super().__init__(path, self._held)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if not self._is_whole():
            self._held.acquire()  # another process may be writing just now
            try:
                if not self._is_whole():
                    content = Path(self._path).read_bytes()
                    os.truncate(self._path, content.rfind(b"\n") + 1)
            finally:
                self._held.release()
        super().append_logs(logs)

    def _is_whole(self) -> bool:
        with open(self._path, "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


def open_database(url: str) -> RDBStorage:
    """Open a database that other processes may open too. Optuna makes the missing tables, and so may another process.

    Args:
        url: The URL, as SQLAlchemy has it.

    Raises:
        Exception: If the database's own driver fails.
    """
    attempt = 1
    while True:
        try:
            storage = RDBStorage(url, engine_kwargs=engine_options(sqlalchemy.make_url(url)))
            if storage.engine.name != "sqlite":  # a file
                sqlalchemy.event.listen(storage.engine, "handle_error", tell_outages)
            return storage
        except sqlalchemy.exc.DatabaseError as error:
            # Another process made a table, or its one row, after Optuna had looked.
            meanwhile = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            if not meanwhile or attempt == ATTEMPTS:
                raise
            attempt += 1
            time.sleep(PAUSE)


def engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine for a database.

    Examples:
        >>> engine_options(sqlalchemy.make_url("postgresql+psycopg://me@host/db?connect_timeout=3"))["pool_pre_ping"]
        True
    """
    if url.get_backend_name() == "sqlite":  # another program, such as the dashboard, may hold its lock for a while
        return {"connect_args": {"timeout": 60}}
    of_libpq = url.get_driver_name() in ("psycopg", "psycopg2")
    given = {name: value for name, value in LIBPQ.items() if of_libpq and name not in url.query}
    return {"pool_pre_ping": True, "connect_args": given}  # a connection that dropped while it was idle is replaced


def tell_outages(context: sqlalchemy.engine.ExceptionContext) -> None:
    """Raise :class:`Unreachable` for the error of a lost server, which Optuna would take for invalid data.

    Optuna also repeats some operations by itself, without a look at what the server has done already.

    Args:
        context: The error, as SQLAlchemy's event ``handle_error`` has it.

    Raises:
        Unreachable: If the connection dropped, or none can be made.
    """
    if not context.is_pre_ping and (context.is_disconnect or context.connection is None):
        raise Unreachable(hide(str(context.original_exception).partition("\n")[0]))


def database_url(folder: Path) -> str:
    """Return the place of a search's studies unless ``--storage`` names another. A folder may have any name."""
    return str(sqlalchemy.URL.create("sqlite", database=str(folder / DATABASE)))
