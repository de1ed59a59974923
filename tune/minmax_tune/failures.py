"""Kinds of failures of a trial. Some say something about its settings, others do not."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class FailureKind(enum.StrEnum):
    """Why a trial failed, stored as ``failure`` beside the sentence ``reason``."""

    SEARCH_KILLED = "the search was killed"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not started"
    DISK_FULL = "the disk is full"
    WORKER_DIED = "its worker died"
    OUT_OF_MEMORY = "out of memory"
    DIVERGED = "diverged"
    NOT_MEASURED = "not measured"
    ERROR = "error"

    @property
    def retryable(self) -> bool:
        """Whether it says nothing about the trial's settings. Then ``--resume`` runs the trial again."""
        return self in _RETRYABLE

    @property
    def fatal(self) -> bool:
        """Whether further trials would fail alike. Then the search ends."""
        return self in (FailureKind.DISK_FULL, FailureKind.NOT_MEASURED)


_RETRYABLE = (
    FailureKind.SEARCH_KILLED,
    FailureKind.INTERRUPTED,
    FailureKind.NOT_STARTED,
    FailureKind.DISK_FULL,
)


def is_retryable(attributes: Mapping[str, Any]) -> bool:
    """Whether a failed trial is run again on ``--resume``, by its user attributes.

    Examples:
        >>> is_retryable({"failure": "interrupted", "reason": "SIGINT"}), is_retryable({"failure": "diverged"})
        (True, False)
        >>> is_retryable({"reason": "interrupted: SIGINT"})  # of version 0.1.0, which stored a sentence alone
        True
    """
    if "failure" in attributes:
        return FailureKind(attributes["failure"]).retryable
    return str(attributes.get("reason", "")).startswith(tuple(_RETRYABLE))
