"""Versions of the packages that are installed here."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Look up the version of Python and of each package, or ``not installed``.

    Args:
        packages: The names of the packages, as an installer knows them.

    Examples:
        >>> installed(["no-such-package"])["no-such-package"]
        'not installed'
    """
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
