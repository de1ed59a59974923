"""How f is read from a Lightning module: its own ``training_step`` runs, up to the discriminator's step."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor
from torch.optim import Optimizer

from minmax_plugin.errors import ConfigError
from minmax_plugin.replaced import replaced
from minmax_plugin.train_step import Read, TrainStepReader

NO_LOSS = (
    "MinMax cannot read f: training_step gave no loss of the discriminator to self.manual_backward(). Call it in place "
    "of loss.backward()."
)
INDICES = 64  # values of batch_idx that are tried: a discriminator may not be trained at each


def unwrapped(optimizer: Any) -> Optimizer:
    """Return the torch optimizer in Lightning's wrapper of one."""
    return getattr(optimizer, "optimizer", optimizer)


class TrainingStepReader(TrainStepReader):
    """Reads f from a module with manual optimization.

    f is minus the sum of the losses that ``training_step`` gives to ``manual_backward`` for the discriminator, up to
    its step. Nothing is stepped or logged meanwhile, and the module's attributes are restored.

    Args:
        trainer: The trainer.
        module: The module.
        generator: The generator's optimizers.
        discriminator: The discriminator's optimizers.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        generator: Sequence[Optimizer],
        discriminator: Sequence[Optimizer],
    ) -> None:
        super().__init__()
        self._trainer, self._module = trainer, module
        self._generator, self._discriminator = generator, discriminator
        self._batch_idx: int | None = None  # at which the discriminator is trained
        self._watched = False
        self._losses: list[Tensor] = []
        self._last: Tensor | None = None

    def read(self, batch: Any) -> Tensor:
        for batch_idx in range(INDICES) if self._batch_idx is None else [self._batch_idx]:
            loss = self._loss(batch, batch_idx)
            if loss is not None:
                self._batch_idx = batch_idx
                return -loss
        raise ConfigError(NO_LOSS)

    def watch(self) -> None:
        self._watched = True

    def note(self, loss: Tensor) -> None:
        """Take note of a loss of the discriminator in the training."""
        if self._watched:
            self._losses.append(loss.detach())

    def settle(self) -> None:
        """The discriminator takes its step: the losses since the last one are f."""
        if self._losses:
            self._last, self._losses = sum(self._losses[1:], self._losses[0]), []

    def last_value(self) -> Tensor:
        assert self._last is not None  # read() has found losses before the training
        return -self._last

    def _loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        losses: list[Tensor] = []
        descends = False  # whether it is the generator's turn

        def toggle(optimizer: Any) -> None:
            nonlocal descends
            descends = self._is_generator(optimizer)

        def backward(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            if not descends:
                losses.append(loss.detach())

        def ascend(closure: Callable[[], Any] | None = None, **kwargs: Any) -> NoReturn:
            nonlocal descends
            descends = False
            if closure is not None:
                closure()
            if not losses:
                raise ConfigError(NO_LOSS)
            raise Read(sum(losses[1:], losses[0]))

        def descend(closure: Callable[[], Any] | None = None, **kwargs: Any) -> None:
            nonlocal descends
            descends = True
            if closure is not None:
                closure()
            descends = False
            losses.clear()  # those that came before, without a toggle, were its own

        def idle(*args: Any, **kwargs: Any) -> None:
            pass

        trainer, module = self._trainer, self._module
        calls: dict[str, Any] = dict(toggle_optimizer=toggle, manual_backward=backward)
        calls |= dict.fromkeys(("untoggle_optimizer", "clip_gradients", "log", "log_dict"), idle)
        more = [batch_idx] if "batch_idx" in inspect.signature(module.training_step).parameters else []
        with contextlib.ExitStack() as stack:
            stack.enter_context(_as_it_was(module))
            stack.enter_context(replaced(module, calls))
            for optimizer in _with_wrappers(trainer, module):
                step = descend if self._is_generator(optimizer) else ascend
                stack.enter_context(replaced(optimizer, dict(step=step, zero_grad=idle)))
            for schedule in trainer.lr_scheduler_configs:
                stack.enter_context(replaced(schedule.scheduler, dict(step=idle)))
            stack.enter_context(_silent(trainer))
            stack.enter_context(trainer.precision_plugin.train_step_context())
            try:
                module.training_step(copy.deepcopy(batch), *more)
            except Read as read:
                return read.value
        return sum(losses[1:], losses[0]) if losses else None

    def _is_generator(self, optimizer: Any) -> bool:
        return any(unwrapped(optimizer) is one for one in self._generator)


def _with_wrappers(trainer: Trainer, module: LightningModule) -> list[Any]:
    wrappers: Any = module.optimizers()
    return [*trainer.optimizers, *(wrappers if isinstance(wrappers, list) else [wrappers])]


@contextlib.contextmanager
def _as_it_was(module: LightningModule) -> Any:
    """Restore the attributes that a training step sets, and the lists and dicts that it adds to."""
    own = vars(module)
    before = dict(own)
    own.update({n: copy.copy(v) for n, v in before.items() if type(v) in (list, dict) and not n.startswith("_")})
    try:
        yield
    finally:
        own.clear()
        own.update(before)


@contextlib.contextmanager
def _silent(trainer: Trainer) -> Any:
    """Give a training step loggers that take anything and log nothing."""
    loggers = trainer.loggers
    trainer.loggers = [DummyLogger() for _ in loggers]
    try:
        yield
    finally:
        trainer.loggers = loggers
