"""The errors of bad input. One line names the setting, its value and the mend, before anything is trained."""

from __future__ import annotations


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


class SpaceError(ValueError):
    """A search space that cannot be used. The message names the entry."""


class ClusterError(ValueError):
    """Nodes on which a search would fail or give other results. The message names the node."""
