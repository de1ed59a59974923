"""Measures of what generated samples cover: modes of a mixture, digits, stacked digits. A hook takes them."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmcv.parallel import is_module_wrapper
from mmcv.runner import HOOKS, Hook
from mmcv.runner.dist_utils import master_only
from mmgen.core.evaluation.metrics import Metric
from mmgen.core.registry import METRICS, build_metric
from mmgen.models.gans import ProgressiveGrowingGAN, SinGAN
from torch import Tensor

from minmax_plugin.checks import check_count
from minmax_plugin.errors import ConfigError, one_line
from minmax_plugin.mmgen.classifier import digit_classifier
from minmax_plugin.mmgen.data import centres, check_weights
from minmax_plugin.randomness import inference
from minmax_plugin.recorder import truncate_lines

FEW = 8  # samples of a first try
GROWING = (ProgressiveGrowingGAN, SinGAN)
CLOCKS = {"seconds": time.monotonic, "cpu_seconds": time.process_time}


class SampleMetric(Metric):
    """A toolkit metric of generated samples, which can draw them.

    Subclasses implement :meth:`names` and :meth:`measure`. One that compares with real data overrides
    :meth:`prepare` and :meth:`feed_op`.

    Args:
        num_images: The number of samples.
    """

    def __init__(self, num_images: int) -> None:
        super().__init__(num_images)
        self.prepare()

    def prepare(self) -> None:
        self.num_real_feeded = self.num_real_need  # it needs none
        self.clear()

    def clear(self, clear_reals: bool = False) -> None:
        self.details: dict[str, list[float]] = {}  # what is no single number, for the file of measurements alone
        self._fakes: list[Tensor] = []
        self.num_fake_feeded = 0

    def feed_op(self, batch: Tensor, mode: str) -> None:
        self._fakes.append(batch.detach().float().cpu())

    @property
    def samples(self) -> Tensor:
        return torch.cat(self._fakes)

    @property
    def names(self) -> list[str]:
        """The names that :meth:`measure` gives, known before there are samples."""
        raise NotImplementedError

    def summary(self) -> dict[str, float]:
        self._result_dict = self.measure(self.samples)
        self._result_str = ", ".join(f"{name}: {value:.4g}" for name, value in self._result_dict.items())
        return self._result_dict

    def measure(self, samples: Tensor) -> dict[str, float]:
        raise NotImplementedError

    def draw(self, samples: Tensor, path: Path) -> None:
        """Draw the first samples, if they are images, as a grid."""
        from torchvision.utils import save_image

        if samples.dim() == 4:
            save_image(samples[:64], path, nrow=8, normalize=True, value_range=(-1, 1))


def balance(shares: Tensor, wanted: Tensor) -> float:
    """Compute 1 − the total variation between observed and wanted shares.

    A share that neither names counts as lost. 1 is the wanted mixture, 0 has nothing in common with it.

    Examples:
        >>> balance(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.5]))
        0.75
    """
    return float(torch.minimum(shares, wanted).sum())


@METRICS.register_module()
class ModeCoverage(SampleMetric):
    """Modes of a Gaussian mixture that the samples cover, counted strictly.

    A mode is found when at least ``min_share`` of all samples lies near it. "Near" has two meanings:

    - within ``near`` of the centre, for ``modes`` and ``hq``;
    - within 3σ of it, the usual rule, for ``modes_3sigma`` and ``hq_3sigma``.

    ``hq`` is the share of samples near any mode. ``balance`` compares the shares within ``near`` with the mixture's
    weights, see :func:`balance`. ``modes_by_eye`` counts like a person who looks at a plot: half as many samples are
    enough, within 2.5 times ``near``. The share of each mode goes to ``metrics.jsonl`` as ``shares``.

    Args:
        num_images: The number of samples.
        modes: The number of modes of the mixture. Give it, ``radius``, ``sigma`` and ``weights`` as for the data set.
        radius: The radius of the circle that they lie on, or half the side of their grid.
        sigma: The standard deviation of each mode.
        weights: The share of each mode; equal if not given.
        layout: The layout of the modes, ``circle`` or ``grid``.
        near: The radius around a centre, in the units of the data.
        min_share: The share of all samples that makes a mode found.

    Examples:
        >>> ModeCoverage(modes=4).measure(centres(4, radius=1.0)[:3])["modes"]
        3.0
    """

    name = "ModeCoverage"

    def __init__(
        self,
        num_images: int = 2000,
        modes: int = 4,
        radius: float = 1.0,
        sigma: float = 0.01,
        weights: Sequence[float] | None = None,
        layout: str = "circle",
        near: float = 0.1,
        min_share: float = 0.02,
    ) -> None:
        super().__init__(num_images)
        self.centres = centres(modes, radius, layout)
        self.weights = check_weights(weights, modes)
        self.sigma, self.near, self.min_share = sigma, near, min_share

    @property
    def names(self) -> list[str]:
        return ["modes", "hq", "balance", "modes_3sigma", "hq_3sigma", "modes_by_eye"]

    def measure(self, samples: Tensor) -> dict[str, float]:
        distance, mode = torch.cdist(samples, self.centres).min(dim=1)

        def shares(limit: float) -> Tensor:
            return torch.bincount(mode[distance <= limit], minlength=len(self.centres)) / len(samples)

        near, strict, by_eye = shares(self.near), shares(3 * self.sigma), shares(2.5 * self.near)
        self.details["shares"] = [round(share, 4) for share in near.tolist()]
        return {
            "modes": float((near >= self.min_share).sum()),
            "hq": float(near.sum()),
            "balance": balance(near, self.weights),
            "modes_3sigma": float((strict >= self.min_share).sum()),
            "hq_3sigma": float(strict.sum()),
            "modes_by_eye": float((by_eye >= self.min_share / 2).sum()),
        }

    def draw(self, samples: Tensor, path: Path) -> None:
        from matplotlib.figure import Figure

        reach = 1.6 * float(self.centres.abs().max())
        figure = Figure(figsize=(3, 3), dpi=100, layout="tight")
        axes = figure.add_subplot(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        axes.scatter(samples[:, 0], samples[:, 1], s=2, alpha=0.3, color="tab:blue")
        axes.scatter(self.centres[:, 0], self.centres[:, 1], s=30, marker="+", color="tab:red")
        figure.savefig(path)


@METRICS.register_module()
class DigitShares(SampleMetric):
    """Share of each digit among the samples, by a small classifier.

    A sample counts for a digit when the classifier of all ten digits gives it at least ``confidence``. The rest is
    ``share_other``, with the digits that are not wanted. A digit is present when it has at least ``min_share`` of
    all samples.

    Args:
        num_images: The number of samples.
        digits: The digits that the data hold.
        confidence: The least probability.
        min_share: The share of all samples that makes a digit present.

    Examples:
        >>> DigitShares(digits=(0, 1)).measure(-torch.ones(10, 1, 28, 28))["digits"]
        0.0
    """

    name = "DigitShares"

    def __init__(
        self,
        num_images: int = 1000,
        digits: Sequence[int] = tuple(range(10)),
        confidence: float = 0.8,
        min_share: float = 0.05,
    ) -> None:
        super().__init__(num_images)
        self.digits, self.confidence, self.min_share = list(digits), confidence, min_share

    @property
    def names(self) -> list[str]:
        return [*(f"share_{digit}" for digit in self.digits), "share_other", "digits", "balance"]

    def measure(self, samples: Tensor) -> dict[str, float]:
        probability, digit = digit_classifier()(samples).softmax(dim=1).max(dim=1)
        counts = torch.bincount(digit[probability >= self.confidence], minlength=10)
        shares = counts[self.digits] / len(samples)
        result = {f"share_{d}": float(s) for d, s in zip(self.digits, shares, strict=True)}
        result["share_other"] = 1.0 - float(shares.sum())
        result["digits"] = float((shares >= self.min_share).sum())
        result["balance"] = balance(shares, torch.full_like(shares, 1 / len(shares)))
        return result


@METRICS.register_module()
class StackedModes(SampleMetric):
    """Modes of stacked MNIST among 3×32×32 samples: each channel is read by the classifier of digits.

    ``modes`` counts the triples of digits with at least one sample, of 1,000. ``kl`` is KL(samples ‖ uniform) over
    the triples, in nats. Papers give both for 26,000 samples, by classifiers of their own.

    Args:
        num_images: The number of samples.

    Examples:
        >>> StackedModes().measure(-torch.ones(10, 3, 32, 32))["modes"]
        1.0
    """

    name = "StackedModes"

    def __init__(self, num_images: int = 26_000) -> None:
        super().__init__(num_images)

    @property
    def names(self) -> list[str]:
        return ["modes", "kl"]

    def measure(self, samples: Tensor) -> dict[str, float]:
        channels = samples[:, :, 2:-2, 2:-2].reshape(-1, 1, 28, 28)
        digits = torch.cat([digit_classifier()(part).argmax(dim=1) for part in channels.split(1000)])
        counts = torch.bincount(digits.view(-1, 3) @ torch.tensor([100, 10, 1]), minlength=1000)
        shares = counts[counts > 0] / len(samples)
        return {"modes": float(len(shares)), "kl": float((shares * (1000 * shares).log()).sum())}


@HOOKS.register_module()
class SampleMetrics(Hook):
    """Measure generated samples as the training goes, without the training noticing.

    It differs from the toolkit's own evaluation hook in three ways. It needs no validation data. It leaves the
    training's random numbers alone: each measurement uses the same noise. It always measures after the last iteration.

    Results go to the log, to ``metrics.jsonl`` and ``samples/iter_N.png`` in the work dir, and to :attr:`results`.
    Each line of the file also has the ``seconds`` of training so far, without those of measuring. It has
    ``cpu_seconds`` too, the time of the processor. Other work of the machine affects them less, but not nothing.

    Args:
        metrics: The config of a metric, or a list of them.
        interval: The iterations of the runner between measurements.
        batch_size: The number of samples generated at once.
        seed: The seed of the noise.
        sample_model: The weights to sample, ``orig`` or ``ema``. If it is not given, the averaged weights are taken
            where the model has them.

    Examples:
        >>> SampleMetrics(metrics=dict(type="ModeCoverage", num_images=500), interval=100).metrics[0].num_images
        500
    """

    def __init__(
        self,
        metrics: dict[str, Any] | list[dict[str, Any]],
        interval: int,
        batch_size: int = 500,
        seed: int = 0,
        sample_model: str | None = None,
    ) -> None:
        check_count("interval", interval)
        if sample_model not in (None, "orig", "ema"):  # the toolkit takes any other for orig
            raise ConfigError(f"SampleMetrics: sample_model must be 'orig' or 'ema', but got {sample_model!r}.")
        self.metrics: list[SampleMetric] = [
            build_metric(m) for m in (metrics if isinstance(metrics, list) else [metrics])
        ]
        for metric in self.metrics:
            if not isinstance(metric, SampleMetric):
                raise ConfigError(
                    f"SampleMetrics: {type(metric).__name__} is no SampleMetric of this package; name it in evaluation."
                )
        self.interval, self.batch_size, self.seed, self.sample_model = interval, batch_size, seed, sample_model
        self.results: dict[str, float] = {}
        self._tried = False

    @master_only
    def before_run(self, runner: Any) -> None:
        file = Path(runner.work_dir) / "metrics.jsonl"
        truncate_lines(file, lambda line: line["iter"] <= runner.iter)
        earlier = file.read_text().splitlines() if file.exists() else []
        last = json.loads(earlier[-1]) if earlier else {}
        self._spent = {name: last.get(name, 0.0) for name in CLOCKS}
        self._since = {name: clock() for name, clock in CLOCKS.items()}

    @master_only
    def after_train_iter(self, runner: Any) -> None:
        if not self._tried:
            self._try(runner)
        if not (self.every_n_iters(runner, self.interval) or self.is_last_iter(runner)):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # so that the time is that of the training so far
        for name, clock in CLOCKS.items():
            self._spent[name] += clock() - self._since[name]
        self.results, details = {}, {}
        for metric in self.metrics:
            if metric.num_real_feeded < metric.num_real_need:
                with inference([], self.seed):
                    metric.feed(_real_samples(runner.data_loader._dataloader.dataset, metric.num_real_need), "reals")
                metric.num_real_feeded = metric.num_real_need  # all there are, if the data set has fewer
            with inference([runner.model], self.seed):
                while metric.num_fake_feeded < metric.num_images:
                    metric.feed(self._samples(runner, self.batch_size), "fakes")
                self.results.update(metric.summary())
                details.update(metric.details)
            folder = Path(runner.work_dir) / "samples"
            folder.mkdir(exist_ok=True)
            metric.draw(metric.samples, folder / f"iter_{runner.iter + 1}.png")
            runner.logger.info(f"{metric.name} at iteration {runner.iter + 1}: {metric.result_str}")
            metric.clear()
        runner.log_buffer.output.update(self.results)
        runner.log_buffer.ready = True  # as the toolkit's evaluation hook does: the loggers write it out
        with open(Path(runner.work_dir) / "metrics.jsonl", "a") as file:
            spent = {name: round(seconds, 3) for name, seconds in self._spent.items()}
            file.write(json.dumps({"iter": runner.iter + 1, **spent, **self.results, **details}) + "\n")
        self._since = {name: clock() for name, clock in CLOCKS.items()}

    def _samples(self, runner: Any, count: int) -> Tensor:
        model = runner.model.module if is_module_wrapper(runner.model) else runner.model
        source = self.sample_model or ("ema" if getattr(model, "use_ema", False) else "orig")
        return model(None, num_batches=count, sample_model=source)

    def _try(self, runner: Any) -> None:
        """Measure a few samples after the first iteration, so that what cannot be measured fails there.

        Networks that grow have other samples later, so nothing is tried there.

        Raises:
            ConfigError: If it fails. The message names the metric.
        """
        self._tried = True
        if isinstance(runner.model, GROWING) or isinstance(getattr(runner.model, "module", None), GROWING):
            return
        since = {name: clock() for name, clock in CLOCKS.items()}
        for metric in map(copy.copy, self.metrics):
            metric.prepare()
            try:
                with inference([runner.model], self.seed):
                    if metric.num_real_feeded < metric.num_real_need:
                        metric.feed_op(_real_samples(runner.data_loader._dataloader.dataset, FEW), "reals")
                    metric.feed_op(self._samples(runner, FEW), "fakes")
                    if type(metric).__module__.startswith("minmax_plugin."):  # one of the user's may need more samples
                        metric.summary()
            except Exception as error:
                raise ConfigError(
                    f"SampleMetrics: {metric.name} cannot measure the samples of this config: {one_line(error)}."
                ) from error
        for name, clock in CLOCKS.items():
            self._since[name] += clock() - since[name]


def _real_samples(dataset: Any, count: int) -> Tensor:
    """Take a fixed random choice of ``count`` real images of a toolkit data set, or all if there are fewer."""
    picks = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:count].tolist()
    images = [item["real_img" if "real_img" in item else "img"] for item in map(dataset.__getitem__, picks)]
    return torch.stack([image if isinstance(image, Tensor) else image.data for image in images])
