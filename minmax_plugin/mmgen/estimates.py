"""The estimator of f that the settings ask for, for a toolkit model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from minmax_plugin.estimators import Estimator, LastBatch, batch_estimator
from minmax_plugin.hosted import LAST_WITH_ONE_STEP
from minmax_plugin.mmgen.adapters import GameAdapter
from minmax_plugin.settings import EstimatorSettings

AUXILIARY_LOSSES = (
    "MinMaxHook(estimator='last') cannot see the generator's own losses (pixel, cycle, reconstruction), which are part "
    "of f for this model; use estimator='fresh' or 'paired'."
)

OWN_LOSS = (
    "MinMaxHook(estimator='last') reads the model's gan_loss, but this model computes the discriminator's loss by a "
    "_get_disc_loss of its own; use estimator='fresh' or 'paired'."
)


def check_readable(settings: EstimatorSettings, has_auxiliary_losses: bool, has_own_loss: bool) -> None:
    """Refuse an estimator that cannot see all of a model's f.

    Raises:
        ValueError: If it cannot. The message names the setting and the mend.
    """
    if settings.type == "last" and has_auxiliary_losses:
        raise ValueError(AUXILIARY_LOSSES)
    if settings.type == "last" and has_own_loss:
        raise ValueError(OWN_LOSS)


def make_estimator(
    settings: EstimatorSettings,
    adapter: GameAdapter,
    batch: Callable[[], Mapping[str, Any]],
    seed: int,
    needs_error: bool = False,
) -> Estimator:
    """Make the estimator of f for a model.

    Args:
        settings: The settings of the estimator.
        adapter: The model.
        batch: A function that draws a batch of real images.
        seed: The seed of the random numbers of fresh evaluations.
        needs_error: Whether the standard error is needed too.

    Raises:
        ValueError: If it cannot see all of the model's f.
    """
    check_readable(settings, adapter.has_auxiliary_losses, adapter.own_loss)
    if settings.type == "last":
        if adapter.ascent_steps == 1:
            warnings.warn(LAST_WITH_ONE_STEP.format("MinMaxHook", "disc_steps"), stacklevel=2)
        adapter.watch_loss()
        return LastBatch(adapter.last_value)

    def fresh() -> torch.Tensor:
        return adapter.fresh_value(batch(), settings.fraction, needs_error)

    modules = [adapter.generator, adapter.discriminator]
    return batch_estimator(settings, fresh, modules, seed, adapter.f_drifts)
