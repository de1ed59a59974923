"""What was measured: the commit, and whether files differ from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The commit that is measured, marked where files other than results differ from it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    paths = (".", ":!benchmarks/results", ":!experiments/results", ":!docs")
    differ = git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", *paths)
    return git("rev-parse", "--short", "HEAD") + "-dirty" * bool(differ)
