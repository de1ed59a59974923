"""Hosts that cannot share an environment: what an environment lacks is not collected in it."""

import importlib.util


def lacks(toolkit):
    spec = importlib.util.find_spec(toolkit)
    return spec is None or spec.origin is None  # tests/mmengine is found too, as a namespace


collect_ignore = ["minmax_plugin/mmengine", "tests/mmengine"] if lacks("mmengine") else []
