"""Hosts that cannot share an environment: the folders of one that is not installed are not collected."""

import importlib.util


def is_installed(toolkit):
    spec = importlib.util.find_spec(toolkit)
    return spec is not None and spec.origin is not None  # tests/mmengine is found too, as a namespace


INSTALLED = is_installed("mmengine")


def pytest_ignore_collect(collection_path):
    return True if collection_path.name == "mmengine" and not INSTALLED else None
