"""What of this machine a search may use: its cores, and a folder for the sockets of Ray."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SOCKET = "ray/session_2026-01-31_00-00-00_000000_0000000/sockets/plasma_store"  # Ray's longest, below its folder
LONGEST = 107  # bytes in a socket's path


def count_cores() -> int:
    """Count the cores that this process may use.

    ``taskset`` and Slurm may leave it fewer than the machine has, and a container gives it a share of their time.

    Examples:
        >>> 1 <= count_cores() <= os.cpu_count()
        True
    """
    masked = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allocated = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return max(1, min(masked, int(allocated) if allocated.isdigit() else masked, int(_quota())))


def _quota() -> float:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such limit
        return os.cpu_count() or 1


def socket_folder() -> str | None:
    """Return a folder for Ray's sockets where the temporary one is too long for them, or ``None``."""
    given = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return "/tmp/ray" if len(os.fsencode(os.path.join(given, SOCKET))) > LONGEST else None
