"""The commit of this process's code."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

CODE = Path(__file__).parent


@functools.cache
def code_commit() -> str | None:
    """Return the commit of this process's code, if it is a clone, with a mark where files differ from it."""

    def git(*command: str) -> str:
        # Without a lock, which would block anyone who commits just then.
        command = ("git", "--no-optional-locks", "-C", str(CODE), *command)
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        head, differ = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return None
    return head + "-dirty" * bool(differ) if head else None
