"""A game within a loop that calls a model's own training step: that step plays, and f is read by it too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minmax_plugin.estimators import Estimator, LastBatch, batch_estimator, lacks_gradient
from minmax_plugin.hosted import LAST_WITH_ONE_STEP, HostedGame
from minmax_plugin.randomness import inference, random_state, set_random_state
from minmax_plugin.settings import MinMaxSettings


class Read(Exception):
    """Ends a model's training step at the discriminator's loss.

    Args:
        value: The loss, a scalar.
    """

    def __init__(self, value: Tensor) -> None:
        super().__init__("f was read")
        self.value = value


class TrainStepReader:
    """Base of the readers of f that run a model's own training step up to the discriminator's loss."""

    def __init__(self) -> None:
        self._with_gradients = False

    def read(self, batch: Any) -> Tensor:
        """Compute f on a batch by the training step, whose other effects are undone."""
        raise NotImplementedError

    def watch(self) -> None:
        """Take note of the model's losses while it trains, for :meth:`last_value`."""

    def last_value(self) -> Tensor:
        """Return f from the last ascent step's own pass, so before that step."""
        raise NotImplementedError

    def value(self, batch: Any) -> Tensor:
        """Compute f on a batch of real data. Run it in inference mode.

        Raises:
            ValueError: If the model's training step cannot be read.
        """
        state = random_state()
        try:
            with torch.set_grad_enabled(self._with_gradients):
                return self.read(batch)
        except RuntimeError as error:
            if self._with_gradients or not lacks_gradient(error):
                raise
        self._with_gradients = True  # for a penalty on gradients
        set_random_state(state)
        return self.value(batch)


class ForwardWatch:
    """Sees whether a module, or a part of it, runs.

    Args:
        modules: The modules.

    Examples:
        >>> net = nn.Sequential(nn.Linear(1, 1))
        >>> watch = ForwardWatch([net])
        >>> _ = net[0](torch.ones(1))
        >>> watch.idle
        False
        >>> watch.restart(); watch.idle
        True
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._ran = False
        parts = dict.fromkeys(part for module in modules for part in module.modules())
        self._handles = [part.register_forward_pre_hook(self._note) for part in parts]

    @property
    def watching(self) -> bool:
        """Whether it has not been closed."""
        return bool(self._handles)

    @property
    def idle(self) -> bool:
        """Whether it is watching, and nothing has run since the last :meth:`restart`."""
        return self.watching and not self._ran

    def restart(self) -> None:
        """Forget what has run."""
        self._ran = False

    def close(self) -> None:
        """Stop watching."""
        while self._handles:
            self._handles.pop().remove()

    def _note(self, *args: Any) -> None:
        self._ran = True


class TrainStepGame(HostedGame):
    """Base of the hooks of such loops.

    A host gives ``_reader`` and ``_modules`` before :meth:`start`.

    Args:
        settings: The settings.
        steps_name: The place where the model has k, for messages.
    """

    _reader: Any  # a TrainStepReader
    _modules: list[nn.Module]

    def __init__(self, settings: MinMaxSettings, steps_name: str) -> None:
        super().__init__(settings)
        self._steps_name = steps_name
        self.ascent_steps: int | None = None  # k, as soon as a cycle is over
        self._ascents = 0  # steps of the discriminator in this cycle

    def make_estimator(self, batch: Callable[[], Any], seed: int) -> Estimator:
        settings = self.settings.estimated
        if settings.type == "last":
            self._reader.watch()
            return LastBatch(self._reader.last_value)
        return batch_estimator(settings, lambda: self._value(batch()), self._modules, seed)

    def try_reading(self) -> None:
        """Read f once, so that a model that cannot be read is refused before the training."""
        pool: Any = self._pool
        with inference(self._modules, seed=0):
            self._value(pool.draw())
        if self.settings.estimated.type == "last":
            pool.clear()

    def _value(self, parts: Sequence[Any]) -> Tensor:
        return torch.stack([self._reader.value(part) for part in parts])

    def _decide(self) -> None:
        host = type(self).__name__
        if self.ascent_steps is None and self._ascents == 1 and self.settings.estimated.type == "last":
            warnings.warn(LAST_WITH_ONE_STEP.format(host, self._steps_name), stacklevel=2)
        self.ascent_steps, self._ascents = self._ascents, 0
        if self.settings.ascent_steps not in (None, self.ascent_steps):
            raise ValueError(
                f"{host} has ascent_steps={self.settings.ascent_steps}, but the model takes k={self.ascent_steps} "
                f"discriminator steps in a cycle; remove ascent_steps, or change {self._steps_name}."
            )
        super()._decide()
