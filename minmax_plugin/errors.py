"""The errors of bad input. One line names the setting, its value and the mend, before anything is trained."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config or an option that cannot be used as it stands."""


class SpaceError(ValueError):
    """A search space that cannot be used. The message names the entry."""


class ClusterError(ValueError):
    """Nodes on which a search would fail or give other results. The message names the node."""
