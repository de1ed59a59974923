"""Methods of one object that are replaced for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def replaced(owner: Any, methods: Mapping[str, Any]) -> Iterator[None]:
    """Replace methods of one object for a while. Some may have been replaced before, as schedules do.

    Args:
        owner: The object.
        methods: The functions that take the methods' places, by name. They do not get the object.

    Examples:
        >>> class Dog:
        ...     def speak(self):
        ...         return "woof"
        >>> dog = Dog()
        >>> with replaced(dog, {"speak": lambda: "hush"}):
        ...     dog.speak()
        'hush'
        >>> dog.speak()
        'woof'
    """
    own = vars(owner)
    before = {name: own[name] for name in methods if name in own}
    own.update(methods)
    try:
        yield
    finally:
        for name in methods:
            own.pop(name, None)
        own.update(before)
