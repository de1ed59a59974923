"""The families of toolkit models that MinMax drives, one class for each kind."""

from __future__ import annotations

from mmcv.parallel import is_module_wrapper
from torch import nn

from minmax_plugin.mmgen.adapters.base import GameAdapter, ascent_steps
from minmax_plugin.mmgen.adapters.progressive import ProgressiveAdapter, SingleImageAdapter
from minmax_plugin.mmgen.adapters.translation import PairedTranslationAdapter, UnpairedTranslationAdapter
from minmax_plugin.mmgen.adapters.unconditional import (
    ConditionalAdapter,
    MultiScaleAdapter,
    RoundAdapter,
    UnconditionalAdapter,
    UnrollingAdapter,
)

__all__ = ["ADAPTERS", "GameAdapter", "adapter_of", "ascent_steps", "driven_classes", "find_adapter"]

# The first that fits: derived classes before those they derive from.
ADAPTERS: tuple[type[GameAdapter], ...] = (
    MultiScaleAdapter,
    UnrollingAdapter,
    RoundAdapter,
    UnconditionalAdapter,
    ConditionalAdapter,
    ProgressiveAdapter,
    SingleImageAdapter,
    PairedTranslationAdapter,
    UnpairedTranslationAdapter,
)


def driven_classes() -> list[str]:
    """Return the names of the toolkit's model classes that can be driven, with all that derive from them."""
    return [c.__name__ for kind in ADAPTERS for c in kind.drives]


def find_adapter(model_class: type | None) -> type[GameAdapter] | None:
    """Find the kind that drives a model class, or ``None``.

    Examples:
        >>> from mmgen.models.gans import PESinGAN
        >>> find_adapter(PESinGAN).__name__
        'SingleImageAdapter'
    """
    if model_class is None:
        return None
    return next((k for k in ADAPTERS if issubclass(model_class, k.drives)), None)


def adapter_of(model: nn.Module) -> GameAdapter:
    """View a model of the toolkit, wrapped or not, as a game.

    Raises:
        ValueError: If its class cannot be driven, or it lacks a discriminator.
    """
    bare = model.module if is_module_wrapper(model) else model
    kind = find_adapter(type(bare))
    if kind is None:
        raise ValueError(
            f"MinMax cannot drive model type {type(bare).__name__!r}; it drives {driven_classes()} and classes "
            "derived from them."
        )
    return kind(model)
