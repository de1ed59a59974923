"""What is installed here."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The version of Python and of each package; ``not installed`` where it is not.

    Args:
        packages: Names, as an installer knows them.

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
