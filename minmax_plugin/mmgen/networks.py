"""The paper's networks, fully connected and convolutional, in the toolkit's registry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmgen.models.builder import MODULES
from torch import Tensor, nn


class _NoiseGenerator(nn.Module):
    """Base with all that the toolkit needs of an unconditional generator. Subclasses set ``layers``."""

    layers: nn.Module

    def __init__(self, noise_size: int, out_shape: Sequence[int]) -> None:
        super().__init__()
        self.noise_size = noise_size
        self.out_shape = tuple(out_shape)

    def forward(
        self, noise: Tensor | None, num_batches: int = 0, return_noise: bool = False
    ) -> Tensor | dict[str, Any]:
        """Generate samples from ``noise``, or from ``num_batches`` fresh draws if it is ``None``."""
        if noise is None:
            noise = torch.randn(num_batches, self.noise_size)
        noise = noise.to(next(self.parameters()).device)
        samples = self.layers(noise).view(-1, *self.out_shape)
        return dict(fake_img=samples, noise_batch=noise) if return_noise else samples


@MODULES.register_module()
class MLPGenerator(_NoiseGenerator):
    """A fully connected generator.

    Args:
        out_shape: Shape of one sample, such as ``(2,)`` or ``(1, 28, 28)``.
        noise_size: Length of the noise vector z ~ N(0, I).
        hidden: Widths of the hidden layers.
        negative_slope: Of the LeakyReLU; 0 is ReLU.
        tanh: Whether the output passes a tanh.
        orthogonal_gain: Gain of an orthogonal initialisation with zero biases; ``None`` keeps torch's.

    Examples:
        >>> MLPGenerator(out_shape=(2,), noise_size=256)(None, num_batches=5).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        out_shape: Sequence[int],
        noise_size: int = 100,
        hidden: Sequence[int] = (128, 128),
        negative_slope: float = 0.0,
        tanh: bool = False,
        orthogonal_gain: float | None = None,
    ) -> None:
        super().__init__(noise_size, out_shape)
        layers = _layers([noise_size, *hidden, math.prod(out_shape)], negative_slope)
        self.layers = nn.Sequential(*layers, *([nn.Tanh()] if tanh else []))
        _init_orthogonal(self, orthogonal_gain)


@MODULES.register_module()
class MLPDiscriminator(nn.Module):
    """A fully connected discriminator, whose output is a logit.

    Args:
        in_shape: Shape of one sample.
        hidden: Widths of the hidden layers.
        negative_slope: Of the LeakyReLU; 0 is ReLU.
        dropout: Dropout rate after each hidden layer.
        orthogonal_gain: Gain of an orthogonal initialisation with zero biases; ``None`` keeps torch's.

    Examples:
        >>> MLPDiscriminator(in_shape=(2,))(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        negative_slope: float = 0.0,
        dropout: float = 0.0,
        orthogonal_gain: float | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), *_layers([math.prod(in_shape), *hidden, 1], negative_slope, dropout))
        _init_orthogonal(self, orthogonal_gain)

    def forward(self, samples: Tensor) -> Tensor:
        return self.layers(samples)


@MODULES.register_module()
class ConvGenerator(_NoiseGenerator):
    """The paper's generator for CIFAR-10: z – 4·4·2w – three transposed convolutions – convolution, tanh.

    The transposed ones are w wide, 4×4, with stride 2. It has LeakyReLU 0.2 throughout, and no batch norm.

    Args:
        noise_size: Length of the noise vector z ~ N(0, I).
        width: The number w of channels. The paper has 128.
        channels: The number of channels of the images.

    Examples:
        >>> ConvGenerator(width=8)(None, num_batches=5).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(self, noise_size: int = 100, width: int = 128, channels: int = 3) -> None:
        super().__init__(noise_size, (channels, 32, 32))
        layers: list[nn.Module] = [nn.Linear(noise_size, 32 * width), nn.LeakyReLU(0.2)]
        layers.append(nn.Unflatten(1, (2 * width, 4, 4)))
        for inputs in (2 * width, width, width):
            layers += [nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())


@MODULES.register_module()
class ConvDiscriminator(nn.Module):
    """The paper's discriminator for CIFAR-10: 3×3 convolutions of w, 2w, 2w and 4w channels.

    The last three convolutions have stride 2. It has LeakyReLU 0.2, and dropout before the last layer. Its output is
    a logit.

    Args:
        width: The number w of channels. The paper has 64.
        channels: The number of channels of the images.
        dropout: The dropout rate.

    Examples:
        >>> ConvDiscriminator(width=8)(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 1])
    """

    def __init__(self, width: int = 64, channels: int = 3, dropout: float = 0.4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in (
            (channels, width, 1),
            (width, 2 * width, 2),
            (2 * width, 2 * width, 2),
            (2 * width, 4 * width, 2),
        ):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width * 16, 1))

    def forward(self, samples: Tensor) -> Tensor:
        return self.layers(samples)


def _layers(widths: Sequence[int], negative_slope: float, dropout: float = 0.0) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(width_in, width_out))
        if i < len(widths) - 2:
            layers.append(nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
    return layers


def _init_orthogonal(module: nn.Module, gain: float | None) -> None:
    if gain is None:
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
