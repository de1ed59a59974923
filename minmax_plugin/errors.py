"""The errors of bad input. One line names the setting, its value and the mend, before anything is trained."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)  # a quota is a disk to its user


class ConfigError(ValueError):
    """A config or an option that cannot be used as it stands."""


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line. Of an error in a process that loads data, it is the last line there.

    Examples:
        >>> one_line(ValueError("Caught ValueError in worker 0.\\nOriginal Traceback ...:\\nValueError: no picture"))
        'no picture'
        >>> one_line(AssertionError())
        'AssertionError'
    """
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()  # else it is quoted
    if "Original Traceback" in said:
        said = said.splitlines()[-1].partition(": ")[2]
    return " ".join(said.split()).rstrip(".:! ") or type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Whether an error comes of a full disk. A database and PyTorch have errors of their own for it.

    Examples:
        >>> is_full_disk(OSError(errno.ENOSPC, "No space left on device")), is_full_disk(ValueError("full"))
        (True, False)
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if "disk is full" in str(error) or "No space left on device" in str(error):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_full_disk(cause)


class SpaceError(ValueError):
    """A search space that cannot be used. The message names the entry."""


class ClusterError(ValueError):
    """Nodes on which a search would fail or give other results. The message names the node."""
