"""A search from Python, by one function with the options of the command."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

from minmax_plugin.errors import ConfigError
from minmax_tune.addresses import home
from minmax_tune.options import Command, Options
from minmax_tune.search import search
from minmax_tune.study import Search


class SearchEnded(RuntimeError):
    """A search that ended before it had a finished trial in each study, or before its last trial."""


def run_search(*configs: str, **options: Any) -> Search:
    """Search hyper-parameters of configs, as ``minmax-search CONFIG ...`` does.

    Args:
        configs: The configs, by path or by the name of a shipped one.
        options: The fields of :class:`~minmax_tune.options.Options`, such as ``num_samples=20``. Times are in seconds.

    Returns:
        The search, which :func:`minmax_tune.report.tables.read_rows` reads.

    Raises:
        ConfigError: If an option does not exist, or an input is wrong.
        SearchEnded: If the search had to end. ``--resume`` of its folder continues it.

    Examples:
        >>> run_search("four_gaussians_minmax.py", samples=3)
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: 'samples' is no option of a search.
        >>> record = run_search("four_gaussians_minmax.py", num_samples=3)  # doctest: +SKIP
        >>> record.studies["four_gaussians_minmax"].best_params  # doctest: +SKIP
    """
    known = {field.name for field in dataclasses.fields(Options)} - {"configs"}
    for name in options.keys() - known:
        raise ConfigError(f"{name!r} is no option of a search.")
    given = {"name": f"search_{datetime.now():%Y%m%d_%H%M%S_%f}", **options}
    if configs:
        given["configs"] = configs
    code = search(Command("search", given))
    folder = Path(home(Options(**given).storage_path)).absolute() / given["name"]
    if code:
        raise SearchEnded(f"the search ended with exit code {code}; {folder / 'search.log'} says why.")
    return Search.open(folder)
