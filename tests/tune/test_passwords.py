"""No password of a search is in a file, a message, its database or the process list, whatever ends it."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import tempfile
import threading
import urllib.parse
from pathlib import Path

import pytest
from search_runs import ROOT, search, short_config, space_file, start, stop_all, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    stop_all()


@pytest.fixture
def ray_home():
    """A folder for what Ray writes elsewhere; its sockets need a short path."""
    folder = tempfile.mkdtemp()
    yield Path(folder)
    shutil.rmtree(folder)


def forms(password):
    """The ways in which a password may be written."""
    encoded = {password, urllib.parse.quote(password, safe=""), urllib.parse.quote(password, safe=" +")}
    return {form for text in encoded for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])}


def holders(folder, password):
    """The files under a folder that have a password in them."""
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert contents
    return [str(path) for path, content in contents.items() if any(f.encode() in content for f in forms(password))]


@contextlib.contextmanager
def process_list():
    """All command lines that there are in the meantime."""
    lines, over = set(), threading.Event()

    def look():
        while not over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # it has ended
                    lines.add(path.read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


def interrupt(run, postgres, database):
    os.kill(run.pid, signal.SIGINT)


def kill(run, postgres, database):
    os.killpg(run.pid, signal.SIGKILL)


def close_storage(run, postgres, database):
    with postgres.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
    postgres.drop_connections(database)


ENDINGS = {  # kinds of trials; what is done when one trains; the exit code
    "its trials": (["tell", "none"], None, 0),
    "failures": (["tell"] * 3, None, 1),
    "a signal": (["none"], interrupt, 130),
    "a kill": (["none"], kill, -signal.SIGKILL),
    "its storage": (["none"], close_storage, 1),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_password_is_nowhere_whatever_ends_the_search(tmp_path, postgres, ray_home, ending):
    kinds, end, code = ENDINGS[ending]
    database = re.sub(r"\W", "_", ending)
    postgres.create(database)
    secrets = {"PASSWORD": postgres.quoted, "PLAIN": postgres.password}
    config, log = short_config(tmp_path, pause=0.2 if end else 0.0, iterations=200 if end else 60), tmp_path / "log"
    options = ["--storage-path", tmp_path, "--name", "s", "--num-samples", len(kinds), "--max-concurrent", 1]
    options += ["--storage", postgres.url(database=database), "--storage-timeout", "3s", "--no-baseline"]
    with process_list() as processes:
        run = start(
            config, "--space", space_file(tmp_path, kinds), *options, log=log, RAY_TMPDIR=str(ray_home), **secrets
        )
        if end:
            wait_for(lambda: any((tmp_path / "s/trials").rglob("iter_20.pth")), run)
            end(run, postgres, database)
        assert run.wait(timeout=500) == code, log.read_text()
    with postgres.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
    assert holders(tmp_path, postgres.password) == []  # with the log of what it has said
    assert holders(ray_home, postgres.password) == []
    stored = postgres.text(database)
    assert "s-short" in stored
    assert not any(form in stored for form in forms(postgres.password))
    assert not any(form.encode() in line for line in processes for form in forms(postgres.password))
    if "tell" in kinds:  # all the rest of the message is there
        for name in ("trials/short_0/error.txt", "trials.csv", "report.html"):
            assert "ConnectionError: cannot reach x://me:***@host as" in (tmp_path / "s" / name).read_text()
    if code in (130, -signal.SIGKILL):
        search("--resume", tmp_path / "s", RAY_TMPDIR=str(ray_home), **secrets)
        assert holders(tmp_path, postgres.password) == []


def test_the_documented_line_of_a_database_runs(tmp_path, postgres):
    text = (ROOT / "docs/searching.md").read_text()
    (line,) = re.findall(r"python tune/search.py CONFIG --storage ('postgresql[^']+')", text)
    (address,) = shlex.split(line)
    user, host = re.fullmatch(r"postgresql\+psycopg://(\w+):\$PASSWORD@(\w+)/searches", address).groups()
    address = address.replace(f"{user}:", "me:").replace(f"@{host}/", f"@127.0.0.1:{postgres.port}/")
    options = ["--storage-path", tmp_path, "--name", "documented", "--num-samples", 1]
    search(short_config(tmp_path), *options, "--storage", address, PASSWORD=postgres.quoted)
    assert "documented-short" in postgres.text()
