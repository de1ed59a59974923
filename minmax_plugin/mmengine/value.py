"""How f is read from a model: its own ``train_step`` runs, up to the discriminator's loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NoReturn

from mmengine.logging import MessageHub
from torch import Tensor

from minmax_plugin.replaced import replaced
from minmax_plugin.train_step import Read, TrainStepReader

ADVERSARIAL = ("loss_disc_fake", "loss_disc_real")
"""The terms of the discriminator's loss that are f, where a model has them. MMagic's models have."""

ORDER = (
    "model.train_step must first step the discriminator, and then run and step the generator, as MMagic's BaseGAN does"
)


class LossReader(TrainStepReader):
    """Reads f from a model that trains by ``train_step(data, optim_wrapper)``.

    f is minus the discriminator's loss. Where the model gives the terms :data:`ADVERSARIAL` to ``parse_losses``, f is
    minus their sum, without penalties.

    Args:
        model: The model, without a wrapper of distributed training.
        wrappers: The optimizer wrappers that it trains with.
        generator: The name of the generator's wrapper.
        discriminator: The name of the discriminator's.
    """

    def __init__(self, model: Any, wrappers: Mapping[str, Any], generator: str, discriminator: str) -> None:
        super().__init__()
        self._model, self._wrappers = model, wrappers
        self._generator, self._discriminator = wrappers[generator], wrappers[discriminator]
        self._terms: Mapping[str, Any] = {}
        self._last: Tensor | None = None
        self._parse: Any = getattr(model, "parse_losses", None)

    # --- on a batch of its own ---------------------------------------------------------------------------

    def read(self, batch: Any) -> Tensor:
        losses: list[Tensor] = []

        def update_params(loss: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
            raise Read(self._of(loss))

        def step(**kwargs: Any) -> NoReturn:  # of a model that calls backward() and step() itself
            raise Read(self._of(sum(losses[1:], losses[0])))

        def refuse(*args: Any, **kwargs: Any) -> NoReturn:
            raise ValueError(f"MinMax cannot read f: the generator comes first. {ORDER}.")

        reading: dict[str, Any] = dict(
            update_params=update_params,
            step=step,
            backward=lambda loss, **kwargs: losses.append(loss),
            scale_loss=lambda loss: loss,
            should_update=lambda: True,
            zero_grad=lambda **kwargs: None,
        )
        idle: dict[str, Any] = dict(
            update_params=refuse, backward=refuse, optim_context=refuse, initialize_count_status=refuse
        )
        idle["zero_grad"] = reading["zero_grad"]
        hub = MessageHub.get_current_instance()
        said = dict(hub.runtime_info)
        self._terms = {}
        try:
            with (
                replaced(self._discriminator, reading),
                replaced(self._generator, idle),
                replaced(self._model, {"parse_losses": self._noted}),
            ):
                self._model.train_step(copy.deepcopy(batch), optim_wrapper=self._wrappers)
        except Read as read:
            return -read.value
        finally:
            hub.runtime_info.clear()
            hub.runtime_info.update(said)
        raise ValueError(f"MinMax cannot read f: no optimizer of the discriminator was used. {ORDER}.")

    # --- from the training's own pass --------------------------------------------------------------------

    def watch(self) -> None:
        """Take note of the model's losses while it trains, for :meth:`last_value`."""
        self._model.parse_losses = self._noted

    def note(self, loss: Tensor) -> None:
        """Take note of the loss of an ascent step."""
        self._last = self._of(loss)

    def last_value(self) -> Tensor:
        """Return f from the last ascent step's own pass, so before that step.

        Raises:
            ValueError: If no loss came by ``update_params``.
        """
        if self._last is None:
            raise ValueError(
                "MinMaxHook(estimator='last') reads the loss that the discriminator's wrapper gets by update_params(), "
                "but it got none: use estimator='fresh' or 'paired'."
            )
        return -self._last

    def _noted(self, losses: Mapping[str, Any]) -> Any:
        self._terms = dict(losses)
        return self._parse(losses)

    def _of(self, loss: Tensor) -> Tensor:
        terms = [self._terms[name].mean() for name in ADVERSARIAL if name in self._terms]
        return (sum(terms[1:], terms[0]) if len(terms) == len(ADVERSARIAL) else loss).detach()
