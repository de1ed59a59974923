"""The hooks of a host's runner that may look at the weights after an iteration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def weight_readers(hooks: Iterable[Any], blind: tuple[type, ...]) -> list[Any]:
    """Find the hooks that may look at the weights after an iteration.

    A hook that does not look says so by an attribute ``reads_weights = False``.

    Args:
        hooks: The hooks of a runner of MMCV or MMEngine.
        blind: The host's own classes of hooks that do not look.
    """
    may_look = [h for h in hooks if not isinstance(h, blind) and getattr(h, "reads_weights", True)]
    return [h for h in may_look if "after_train_iter" in h.get_triggered_stages()]
