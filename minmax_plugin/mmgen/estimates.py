"""What f is read from: the hook's setting ``value``, and the estimator that it makes for a toolkit model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from minmax_plugin.mmgen.gans import GAN
from minmax_plugin.value import Estimator, FreshBatch, LastAscent

OPTIONS = {"last": [], "fresh": ["batches", "fraction", "reread"], "paired": ["batches", "fraction"]}
OWN_TERMS = (
    "MinMaxHook(value='last') cannot see the generator's own losses (pixel, cycle, reconstruction), which are part "
    "of f for this model; use value='fresh' or 'paired'."
)

OWN_LOSS = (
    "MinMaxHook(value='last') reads the model's gan_loss, but this model computes the discriminator's loss by a "
    "_get_disc_loss of its own; use value='fresh' or 'paired'."
)


@dataclasses.dataclass(frozen=True)
class ValueSetting:
    """The setting ``value`` of :class:`MinMaxHook`, which says what each of them does.

    Args:
        kind: ``last``, ``fresh`` or ``paired``.
        batches: evaluations that are averaged.
        fraction: share of the batch that an evaluation uses, above 0 and at most 1; 8 samples at least.
        reread: whether ``fresh`` reads f_old again too.

    Raises:
        ValueError: for an unknown kind or an option out of range.

    Examples:
        >>> ValueSetting.parse(dict(type="paired", batches=2))
        ValueSetting(kind='paired', batches=2, fraction=1.0, reread=False)
    """

    kind: str = "paired"
    batches: int = 1
    fraction: float = 1.0
    reread: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, but got {self.fraction!r}.")
        FreshBatch(lambda: 0.0, [], batches=self.batches)  # it checks its own arguments

    @classmethod
    def parse(cls, spec: str | Mapping[str, Any]) -> ValueSetting:
        """The setting as a config has it: a name, or a dict with ``type`` and options."""
        options: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
        kind = options.pop("type", "paired")
        if kind not in OPTIONS:
            raise ValueError(f"value must be one of {list(OPTIONS)}, but got {kind!r}.")
        unknown = sorted(set(options) - set(OPTIONS[kind]))
        if unknown:
            raise ValueError(f"value {kind!r} takes {OPTIONS[kind]}, but got {unknown}.")
        return cls(kind, **options)

    def estimator(self, gan: GAN, batch: Callable[[], Mapping[str, Any]], seed: int) -> Estimator:
        """The estimator of f for a model.

        Args:
            gan: the model.
            batch: draws a batch of real images.
            seed: of the random numbers of fresh evaluations.
        """
        if self.kind == "last":
            if gan.own_terms:
                raise ValueError(OWN_TERMS)
            if gan.own_loss:
                raise ValueError(OWN_LOSS)
            if gan.ascent_steps == 1:
                warnings.warn(
                    "MinMaxHook(value='last') with k = 1 reads f before the discriminator has answered the proposal, "
                    "which is not the algorithm; use value='fresh', or disc_steps of 2 or more.",
                    stacklevel=2,
                )
            gan.watch_loss()
            return LastAscent(gan.last_value)

        def fresh() -> torch.Tensor:
            return gan.fresh_value(batch(), self.fraction)

        reread = "paired" if self.kind == "paired" else "fresh" if self.reread else None
        return FreshBatch(fresh, [gan.generator, gan.discriminator], seed, self.batches, reread)
