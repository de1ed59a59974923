import json

import pytest
import torch
from mmgen_runs import losses, run, small_config

from minmax_plugin.mmgen.classifier import train_classifier
from minmax_plugin.mmgen.data import MNIST, GaussianMixture, centres, embedded_digits
from minmax_plugin.mmgen.metrics import DigitShares, ModeCoverage


def test_the_classifier_tells_unseen_digits_apart():
    images, labels = embedded_digits()
    held_out = torch.arange(5000) % 10 == 0
    net = train_classifier(images[~held_out], labels[~held_out])
    right = net(images[held_out].float().div(127.5).sub(1).unsqueeze(1)).argmax(dim=1) == labels[held_out]
    assert right.float().mean() >= 0.96


C = centres(4, 1.0)
MODES = [
    # what is sampled, modes, hq, modes_3sigma, hq_3sigma, balance
    ("the data", GaussianMixture(size=2000, weights=(0.4, 0.2, 0.2, 0.2)).samples, 4, 1.0, 4, 0.989, 0.97),
    ("one mode", C[:1].repeat(2000, 1), 1, 1.0, 1, 1.0, 0.4),
    ("two modes", C[:2].repeat(1000, 1), 2, 1.0, 2, 1.0, 0.6),
    ("the middle", torch.zeros(2000, 2), 0, 0.0, 0, 0.0, 0.0),
    ("near but not within 3σ", C.repeat(500, 1) + 0.05, 4, 1.0, 0, 0.0, 0.85),
    ("a trace of the last mode", torch.cat([C[:3].repeat(653, 1), C[3:].repeat(39, 1)]), 3, 1.0, 3, 1.0, 0.75),
]


@pytest.mark.parametrize(
    ("samples", "modes", "hq", "modes_3sigma", "hq_3sigma", "balance"),
    [c[1:] for c in MODES],
    ids=[c[0] for c in MODES],
)
def test_modes_are_counted_strictly(samples, modes, hq, modes_3sigma, hq_3sigma, balance):
    result = ModeCoverage(weights=(0.4, 0.2, 0.2, 0.2)).measure(samples)
    assert (result["modes"], result["modes_3sigma"]) == (modes, modes_3sigma)
    assert result["hq"] == pytest.approx(hq, abs=0.01)
    assert result["hq_3sigma"] == pytest.approx(hq_3sigma, abs=0.01)
    assert result["balance"] == pytest.approx(balance, abs=0.025)


def test_digits_are_told_apart_from_noise_and_each_other():
    zeros, ones, noise = MNIST(digits=[0]).samples, MNIST(digits=[1]).samples, torch.rand(500, 1, 28, 28) * 2 - 1
    metric = DigitShares(digits=(0, 1))
    both = metric.measure(torch.cat([zeros, ones]))
    assert both["digits"] == 2
    assert both["balance"] > 0.97
    alone = metric.measure(ones)
    assert (alone["digits"], alone["share_0"]) == (1, 0)
    assert alone["balance"] == pytest.approx(0.5, abs=0.01)
    assert metric.measure(noise)["share_other"] > 0.95
    assert metric.measure(MNIST(digits=[7]).samples)["digits"] == 0


def test_the_toolkit_feeds_a_metric_as_its_own():
    metric = ModeCoverage(num_images=100)
    assert metric.feed(C.repeat(20, 1), "reals") == 0
    metric.feed(C.repeat(20, 1), "fakes")
    metric.feed(C.repeat(20, 1), "fakes")
    metric.check()
    assert "modes: 4" in metric.result_str


def test_measuring_does_not_disturb_the_training(tmp_path, recorded):
    hook = dict(type="SampleMetrics", interval=5, metrics=dict(type="ModeCoverage", num_images=100), batch_size=30)
    plain = small_config(3, dict())
    measured = small_config(3, dict())
    measured.custom_hooks = [*measured.custom_hooks, hook]
    lines = run(measured, tmp_path / "measured")
    assert losses(lines) == losses(run(plain, tmp_path / "plain"))
    written = [json.loads(line) for line in (tmp_path / "measured" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iter"] for line in written] == [5, 10, 15, 18]
    assert {"modes", "hq", "balance"} <= set(lines[-1])
    assert {"f_old", "f_new", "reason", "acceptance"} <= set(lines[-1])
    assert sorted(p.name for p in (tmp_path / "measured" / "samples").iterdir()) == [
        f"iter_{i}.png" for i in (10, 15, 18, 5)
    ]
