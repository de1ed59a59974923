"""Reads the files of a search space. YAML is data: nothing is executed, lost or taken for another value."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from minmax_plugin.errors import SpaceError

PLAIN = ("null", "bool", "int", "float", "seq", "map", "str")


class _Loader(yaml.SafeLoader):
    # YAML's own loader drops a repeated key, and takes 1e-3 for text and 2020-01-01 for a date.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in PLAIN
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag.endswith(":merge"):
                continue
            if not key.tag.endswith(":str"):
                raise SpaceError(f"line {key.start_mark.line + 1}: a name must be text: quote it.")
            if key.value in seen:
                raise SpaceError(f"line {key.start_mark.line + 1}: {key.value!r} is there twice; give it once.")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_text(path: str | Path, what: str) -> str:
    """Read a text file.

    Args:
        path: The file.
        what: The file's name in an error.

    Raises:
        SpaceError: If it is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpaceError(f"{what} is no text file in UTF-8: {error.reason}.") from error


def read_yaml(path: str | Path, what: str) -> Any:
    """Read a YAML file whose keys are text, each of them once.

    Args:
        path: The file.
        what: The file's name in an error.

    Returns:
        Dicts, lists, numbers, text, booleans and ``None``.

    Raises:
        SpaceError: If it is no such file. The message has the line.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "space.yaml"
        >>> _ = path.write_text("low: 1e-3")
        >>> read_yaml(path, "space file")
        {'low': 0.001}
    """
    text = read_text(path, what)
    try:
        return yaml.load(text, Loader=_Loader)
    except SpaceError as error:
        raise SpaceError(f"{what}, {error}") from error
    except yaml.YAMLError as error:
        raise SpaceError(f"{what} is no valid YAML: {type(error).__name__}: {' '.join(str(error).split())}") from error
