"""What each host must have, checked against the interface."""

import inspect

from minmax_plugin.hosts import Host


def check_takes_what_the_search_gives(host):
    asked = {name: method for name, method in inspect.getmembers(Host, inspect.isfunction) if name[0] != "_"}
    assert len(asked) > 10
    for name, method in asked.items():
        _, *wanted = inspect.signature(method).parameters
        assert list(inspect.signature(getattr(host, name)).parameters)[: len(wanted)] == wanted, name
