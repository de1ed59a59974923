import json
import math

import pytest
import torch
from families import FAMILIES, load
from mmgen_runs import RecordingAdam, losses, run, small_config

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.classifier import train_classifier
from minmax_plugin.mmgen.data import MNIST, GaussianMixture, StackedMNIST, centres, embedded_digits
from minmax_plugin.mmgen.metrics import DigitShares, ModeCoverage, StackedModes


def test_the_classifier_tells_unseen_digits_apart():
    images, labels = embedded_digits()
    held_out = torch.arange(5000) % 10 == 0
    net = train_classifier(images[~held_out], labels[~held_out])
    right = net(images[held_out].float().div(127.5).sub(1).unsqueeze(1)).argmax(dim=1) == labels[held_out]
    assert right.float().mean() >= 0.96


def test_training_the_classifier_leaves_no_trace_and_it_answers_alike_each_time():
    images, labels = (part[::50] for part in embedded_digits())
    state = torch.get_rng_state()
    first, second = (train_classifier(images, labels, epochs=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    batch = images.float().div(127.5).sub(1).unsqueeze(1)
    assert torch.equal(first(batch), first(batch))
    assert torch.equal(first(batch), second(batch))
    assert not first(batch).requires_grad


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
    metric = ModeCoverage(weights=(0.4, 0.2, 0.2, 0.2))
    result = metric.measure(samples)
    assert (result["modes"], result["modes_3sigma"]) == (modes, modes_3sigma)
    assert result["hq"] == pytest.approx(hq, abs=0.01)
    assert result["hq_3sigma"] == pytest.approx(hq_3sigma, abs=0.01)
    assert result["balance"] == pytest.approx(balance, abs=0.025)
    assert sum(metric.details["shares"]) == pytest.approx(result["hq"], abs=1e-3)


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


def test_stacked_digits_are_read_channel_by_channel():
    data = StackedMNIST(size=3000, seed=1)
    real = torch.stack([item["real_img"] for item in data.__getitems__(list(range(3000)))])
    counts = torch.bincount(data.labels, minlength=1000).double() / 3000
    wanted = float((counts[counts > 0] * (1000 * counts[counts > 0]).log()).sum())
    result = StackedModes().measure(real)
    assert result["modes"] == pytest.approx(int((counts > 0).sum()), abs=15)
    assert result["kl"] == pytest.approx(wanted, abs=0.03)
    alone = StackedModes().measure(real[:1].repeat(50, 1, 1, 1))
    assert (alone["modes"], alone["kl"]) == (1, pytest.approx(math.log(1000)))


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


def measurements(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


DISTANCE = dict(type="FeatureDistance", num_images=50, features="raw")  # tells apart what is not the same samples


@pytest.mark.parametrize(("acceptance", "distinct"), [("never", 1), ("always", 4)])
def test_each_measurement_is_of_new_samples_of_the_same_noise(tmp_path, recorded, acceptance, distinct):
    cfg = small_config(3, dict(acceptance=acceptance))
    hook = dict(type="SampleMetrics", interval=5, metrics=DISTANCE, sample_model="orig")
    cfg.custom_hooks = [*cfg.custom_hooks, hook]
    run(cfg, tmp_path)
    assert len({line["fd"] for line in measurements(tmp_path)}) == distinct


METRICS = dict(metrics=dict(type="ModeCoverage", num_images=10))
UNMEASURABLE = [  # of points in the plane
    (dict(type="FeatureDistance", num_images=10), "FeatureDistance cannot measure the samples of this config"),
    (dict(type="StackedModes", num_images=10), "StackedModes cannot measure the samples of this config"),
]


@pytest.mark.parametrize(("metric", "message"), UNMEASURABLE)
def test_what_cannot_be_measured_fails_after_the_first_iteration(tmp_path, recorded, metric, message):
    """Not at the first measurement, which may be hours away."""
    cfg = small_config(1)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="SampleMetrics", interval=15, metrics=metric)]
    with pytest.raises(ConfigError, match=f"^SampleMetrics: {message}"):
        run(cfg, tmp_path)
    assert len(RecordingAdam.all[0].seen) == 1


def test_weights_that_no_model_has_are_refused_before_the_training():
    cfg = small_config(1)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="SampleMetrics", interval=5, sample_model="emaa", **METRICS)]
    with pytest.raises(ConfigError, match="sample_model must be 'orig' or 'ema', but got 'emaa'"):
        check_config(cfg)


def test_a_metric_of_the_toolkit_is_refused_before_the_training():
    cfg = small_config(1)
    metric = dict(type="SWD", num_images=10, image_shape=(3, 32, 32))
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="SampleMetrics", interval=15, metrics=metric)]
    with pytest.raises(ConfigError, match="SWD is no SampleMetric of this package; name it in evaluation"):
        check_config(cfg)


@pytest.mark.parametrize("hook", ["SampleMetrics", "VisualizeUnconditionalSamples"])
def test_a_model_that_translates_has_no_samples_from_noise(tmp_path, hook):
    cfg = load(next(f for f in FAMILIES if f.name == "CycleGAN"), "", tmp_path)
    entry = dict(type=hook, interval=5, **(METRICS if hook == "SampleMetrics" else dict(output_dir="a")))
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), entry]
    with pytest.raises(ConfigError, match=f"custom_hooks.*: {hook} draws samples from noise, and CycleGAN translates"):
        check_config(cfg, paths=False)


def test_averaged_weights_are_measured_where_there_are_some(tmp_path, recorded):
    cfg = small_config(1)
    for model in (None, "ema", "orig"):
        hook = dict(type="SampleMetrics", interval=18, metrics=DISTANCE, sample_model=model)
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    run(cfg, tmp_path)
    default, averaged, trained = (line["fd"] for line in measurements(tmp_path))
    assert default == averaged != trained


def test_measurements_and_their_clocks_go_on_where_a_run_is_resumed(tmp_path, recorded):
    def config(**overlay):
        cfg = small_config(1, **overlay)
        hook = dict(type="SampleMetrics", interval=5, metrics=dict(type="ModeCoverage", num_images=10))
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
        return cfg

    run(config(checkpoint_config=dict(interval=10)), tmp_path)
    lines = [line | {"seconds": 1000.0, "cpu_seconds": 1000.0} for line in measurements(tmp_path)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(config(resume_from=str(next(tmp_path.glob("**/iter_10.pth")))), tmp_path)
    lines = measurements(tmp_path)
    assert [line["iter"] for line in lines] == [5, 10, 15, 18]
    for clock in ("seconds", "cpu_seconds"):
        assert 1000 == lines[1][clock] < lines[2][clock] < lines[3][clock] < 2000
