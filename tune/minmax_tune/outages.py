"""Outages of a search's database: its operations are tried again until the server answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between attempts


class Unreachable(Exception):
    """The connection to a database dropped, or its server takes none."""


class Outages:
    """Repeats the operations of a storage while its server is unreachable.

    Args:
        limit: The seconds that an outage may last.
        say: Takes a line when an outage begins, and a line when it ends.

    Examples:
        >>> answers = iter([Unreachable("connection refused"), "done"])
        >>> def ask():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> Outages(60, say=lambda line: print(*line.split()[:4])).outlast(ask)
        the storage does not
        the storage answers again
        'done'
    """

    def __init__(self, limit: float, say: Callable[[str], None]) -> None:
        self._limit, self._say = limit, say
        self._given_up: Unreachable | None = None
        self.stopped: Callable[[], bool] = lambda: False  # whether the search ends, so that nobody waits

    def outlast(self, attempt: Callable[[], Result], again: Callable[[], Result] | None = None) -> Result:
        """Do an operation, as soon as the server answers.

        Args:
            attempt: The operation.
            again: The operation after a lost connection, which may have been done already. By default it is
                ``attempt``, which then makes no difference the second time.

        Raises:
            Unreachable: If the outage lasts too long, or the search ends. Each later operation raises it at once.
        """
        if self._given_up:
            raise self._given_up
        try:
            return attempt()
        except Unreachable as error:
            last = error
        began, pause = time.monotonic(), FIRST_PAUSE
        self._say(f"the storage does not answer ({last}): the search waits for it, {self._limit:g} s at most")
        while not self.stopped() and time.monotonic() - began < self._limit:
            time.sleep(pause)
            pause, answered = min(2 * pause, LONGEST_PAUSE), True
            try:
                return (again or attempt)()
            except Unreachable as error:
                last, answered = error, False
            finally:  # the answer may be another error, such as that there is no such trial
                if answered:
                    self._say(f"the storage answers again after {time.monotonic() - began:.0f} s: the search continues")
        self._given_up = Unreachable(f"no answer for {time.monotonic() - began:.0f} s: {last}")
        raise self._given_up
