"""The families of toolkit models that MinMax drives, one class for each kind."""

from __future__ import annotations

from mmcv.parallel import is_module_wrapper
from torch import nn

from minmax_plugin.mmgen.gans.base import GAN, ascent_steps
from minmax_plugin.mmgen.gans.noise import ConditionalGAN, MultiScaleGAN, UnconditionalGAN, UnrollingGAN
from minmax_plugin.mmgen.gans.staged import GrowingGAN, SingleImageGAN
from minmax_plugin.mmgen.gans.translation import PairedTranslation, UnpairedTranslation

__all__ = ["GAN", "KINDS", "ascent_steps", "driven_classes", "find_kind", "gan_of"]

# The first that fits: derived classes before those they derive from.
KINDS: tuple[type[GAN], ...] = (
    MultiScaleGAN,
    UnrollingGAN,
    UnconditionalGAN,
    ConditionalGAN,
    GrowingGAN,
    SingleImageGAN,
    PairedTranslation,
    UnpairedTranslation,
)


def driven_classes() -> list[str]:
    """Return the names of the toolkit's model classes that can be driven, with all that derive from them."""
    return [c.__name__ for kind in KINDS for c in kind.drives]


def find_kind(model_class: type | None) -> type[GAN] | None:
    """Find the kind that drives a model class, or ``None``.

    Examples:
        >>> from mmgen.models.gans import PESinGAN
        >>> find_kind(PESinGAN).__name__
        'SingleImageGAN'
    """
    if model_class is None:
        return None
    return next((k for k in KINDS if issubclass(model_class, k.drives)), None)


def gan_of(model: nn.Module) -> GAN:
    """View a model of the toolkit, wrapped or not, as a game.

    Raises:
        ValueError: If its class cannot be driven, or it lacks a discriminator.
    """
    bare = model.module if is_module_wrapper(model) else model
    kind = find_kind(type(bare))
    if kind is None:
        raise ValueError(
            f"MinMax cannot drive model type {type(bare).__name__!r}; it drives {driven_classes()} and classes "
            "derived from them."
        )
    return kind(model)
