"""Empty pickles of what Ray writes to the folder of a search, so that no password lands there."""

from __future__ import annotations

from typing import Any


class EmptyPickle:
    """Pickles to an empty object of its class.

    Ray writes the searcher and the callbacks to the search's folder. They would include the storage, and the password
    in its URL. Nobody reads those files, because the studies are the memory of a search.

    Examples:
        >>> import pickle
        >>> class Connected(EmptyPickle):
        ...     def __init__(self, url):
        ...         self.url = url
        >>> EmptyPickle.__reduce__(Connected("postgresql://me:abc@host/db"))[1]
        (<class 'minmax_tune.pickling.Connected'>,)
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return object.__new__, (type(self),)
