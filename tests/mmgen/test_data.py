import gzip
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from mmcv.parallel import collate
from PIL import Image

from minmax_plugin.mmgen.data import CIFAR10, MNIST, GaussianMixture, StackedMNIST, embedded_digits, scaled


def test_a_mixture_has_its_modes_weights_and_width():
    data = GaussianMixture(modes=4, radius=2.0, sigma=0.05, weights=(0.4, 0.2, 0.2, 0.2), size=20000)
    centres = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    distance, mode = torch.cdist(data.samples, centres).min(dim=1)
    assert distance.max() < 0.3
    np.testing.assert_allclose(torch.bincount(mode) / 20000, [0.4, 0.2, 0.2, 0.2], atol=0.01)
    np.testing.assert_allclose((distance**2).mean(), 2 * 0.05**2, rtol=0.05)


def test_a_batch_is_the_samples_it_asks_for():
    data = GaussianMixture(size=50)
    assert len(data) == 50
    batch = collate(data.__getitems__([3, 1, 4]), samples_per_gpu=3)
    assert torch.equal(batch["real_img"], torch.stack([data[i]["real_img"] for i in (3, 1, 4)]))


def test_a_mixture_is_the_same_for_the_same_seed():
    assert torch.equal(GaussianMixture(seed=1).samples, GaussianMixture(seed=1).samples)
    assert not torch.equal(GaussianMixture(seed=1).samples, GaussianMixture(seed=2).samples)


def test_the_embedded_digits_are_real_and_filtered():
    data = MNIST(digits=[0, 1])
    assert len(data) == 1000
    assert sorted(set(data.labels.tolist())) == [0, 1]
    assert (data.samples.min(), data.samples.max()) == (-1, 1)
    assert len(MNIST()) == 5000


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("layout", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("dash", ["-", "."])
def test_idx_files_are_read(tmp_path, layout, zipped, dash):
    images, labels = embedded_digits()
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        f"train-images{dash}idx3-ubyte": np.array([2051, 5000, 28, 28], ">i4").tobytes() + images.numpy().tobytes(),
        f"train-labels{dash}idx1-ubyte": np.array([2049, 5000], ">i4").tobytes()
        + labels.numpy().astype(np.uint8).tobytes(),
    }
    for name, content in contents.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)
    data = MNIST(root=str(tmp_path), digits=[7])
    assert torch.equal(data.samples, MNIST(digits=[7]).samples)
    with pytest.raises(FileNotFoundError, match="holds no t10k-images-idx3-ubyte"):
        MNIST(root=str(tmp_path), train=False)


def test_full_mnist():
    root = os.environ.get("MINMAX_MNIST")
    if not root:
        pytest.skip("MINMAX_MNIST does not name a folder with MNIST's IDX files")
    assert len(MNIST(root=root)) == 60000
    assert len(MNIST(root=root, train=False)) == 10000


def cifar_images(folder):
    """Twelve images of one colour each as PNG, in the layout of folders, in an archive, and as torchvision has them."""
    colours = np.arange(36, dtype=np.uint8).reshape(12, 3)
    images = np.broadcast_to(colours[:, None, None, :], (12, 32, 32, 3))
    for part, picks in (("train", range(10)), ("test", (10, 11))):
        for i in picks:
            place = folder / "images" / part / f"class{i % 2}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[i]).save(place / f"{i}.png")
    with tarfile.open(folder / "images.tar.xz", "w:xz") as archive:
        archive.add(folder / "images", arcname="cifar")
    batches = folder / "torchvision/cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name, picks in [(f"data_batch_{n + 1}", [2 * n, 2 * n + 1]) for n in range(5)] + [("test_batch", [10, 11])]:
        rows = images[list(picks)].transpose(0, 3, 1, 2).reshape(2, -1)
        (batches / name).write_bytes(pickle.dumps({"data": rows, "labels": [0, 0]}))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a"]}))


@pytest.mark.parametrize("place", ["images", "images.tar.xz", "torchvision"])
def test_cifar_is_read_in_each_layout(tmp_path, monkeypatch, place):
    cifar_images(tmp_path)
    # torchvision knows the real files by their checksums
    monkeypatch.setattr("torchvision.datasets.cifar.CIFAR10._check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for train, wanted in ((True, range(10)), (False, (10, 11))):
        data = CIFAR10(root=str(tmp_path / place), train=train)
        batch = data.__getitems__(list(range(len(data))))
        assert all(torch.equal(batch[i]["real_img"], data[i]["real_img"]) for i in range(len(data)))
        pixels = sorted(tuple(((item["real_img"][:, 5, 7] + 1) * 127.5).round().tolist()) for item in batch)
        assert pixels == [(3.0 * i, 3.0 * i + 1, 3.0 * i + 2) for i in wanted]


def test_grey_images_are_read_as_the_others(tmp_path):
    for name, colour in (("a", 200), ("b", (1, 2, 3))):
        place = tmp_path / "train" / name
        place.mkdir(parents=True)
        Image.new("L" if name == "a" else "RGB", (32, 32), colour).save(place / "0.png")
    pixels = CIFAR10(root=str(tmp_path)).samples[:, :, 0, 0]
    assert pixels.tolist() == [[200, 200, 200], [1, 2, 3]]


def test_full_cifar():
    root = os.environ.get("MINMAX_CIFAR10")
    if not root:
        pytest.skip("MINMAX_CIFAR10 does not name a folder or archive with CIFAR-10")
    data = CIFAR10(root=root, train=False)
    assert (len(data), data[0]["real_img"].shape) == (10000, (3, 32, 32))
    assert -1 <= data[0]["real_img"].min() < data[0]["real_img"].max() <= 1


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: GaussianMixture(modes=0), ValueError, "modes must be a whole number of 1 or more, but got 0"),
        (
            lambda: GaussianMixture(modes=24, layout="grid"),
            ValueError,
            "modes must be 4, 9, 16, 25, … for layout='grid'",
        ),
        (lambda: GaussianMixture(layout="ring"), ValueError, "layout must be 'circle' or 'grid', but got 'ring'"),
        (lambda: GaussianMixture(weights=[1, 2]), ValueError, r"weights must be 4 shares .* but got \[1, 2\]"),
        (
            lambda: GaussianMixture(weights=[1, -1, 1, 1]),
            ValueError,
            r"weights must be 4 shares of 0 or more, .* but got \[1, -1",
        ),
        (lambda: GaussianMixture(weights=[0, 0, 0, 0]), ValueError, r"weights must be 4 shares .* but got \[0, 0"),
        (
            lambda: GaussianMixture(modes=1, layout="grid"),
            ValueError,
            "modes must be 4, 9, 16, 25, … for layout='grid'",
        ),
        (lambda: GaussianMixture(sigma=-1), ValueError, "sigma must be 0 or more and finite, but got -1"),
        (lambda: GaussianMixture(size=0), ValueError, "size must be a whole number of 1 or more, but got 0"),
        (lambda: MNIST(digits=[11]), ValueError, r"digits=\[11\] leaves no image"),
        (lambda: MNIST(root="/nowhere"), FileNotFoundError, "root='/nowhere' holds no train-images-idx3-ubyte"),
        (lambda: CIFAR10(), FileNotFoundError, "root=None holds no CIFAR-10: point it at the folder"),
        (lambda: CIFAR10(root="/nowhere", train=False), FileNotFoundError, "images in test/CLASS/"),
    ],
)
def test_a_bad_setting_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_stacked_digits_are_drawn_channel_by_channel():
    data, (images, labels) = StackedMNIST(size=200, seed=3), embedded_digits()
    assert torch.equal(data.labels, StackedMNIST(size=200, seed=3).labels)
    assert not torch.equal(data.labels, StackedMNIST(size=200, seed=4).labels)
    image = data[7]["real_img"]
    assert (image.shape, float(image.min())) == ((3, 32, 32), -1.0)
    known = {scaled(picture).numpy().tobytes(): int(label) for picture, label in zip(images, labels, strict=True)}
    digits = [known[channel[2:-2, 2:-2].contiguous().numpy().tobytes()] for channel in image]
    assert 100 * digits[0] + 10 * digits[1] + digits[2] == data.labels[7]
    with pytest.raises(ValueError, match="size must be"):
        StackedMNIST(size=0)
