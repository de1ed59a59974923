"""MMGeneration as a :class:`~minmax_plugin.hosts.Host`: what the search asks of the toolkit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcv import Config
from mmcv.runner import HOOKS, OPTIMIZER_BUILDERS, OPTIMIZERS, RUNNERS
from mmgen.core.registry import METRICS
from mmgen.datasets.builder import DATASETS, PIPELINES
from mmgen.models.builder import MODELS, MODULES

from minmax_plugin.errors import ConfigError
from minmax_plugin.hosts import Reporter
from minmax_plugin.mmgen import train as training
from minmax_plugin.mmgen.check import check_config, read_data  # noqa: F401  of a Host
from minmax_plugin.mmgen.check_loop import loader_settings
from minmax_plugin.mmgen.config import load_config, opt_out  # noqa: F401
from minmax_plugin.mmgen.effect import unread  # noqa: F401
from minmax_plugin.mmgen.metrics import SampleMetrics
from minmax_plugin.openmmlab import give_settings, is_intact, minmax_settings, scale_counts  # noqa: F401

REGISTRIES = (MODELS, MODULES, DATASETS, PIPELINES, METRICS, HOOKS, OPTIMIZERS, OPTIMIZER_BUILDERS, RUNNERS)


def owns(config: Any) -> bool:
    """Whether a config is of the toolkit's class. It reads any file."""
    return isinstance(config, (str, Path, Config))


def classes() -> dict[tuple[str, str], Any]:
    """Return the classes that configs name, by registry and name, as this process has them now."""
    return {(registry.name, name): found for registry in REGISTRIES for name, found in registry.module_dict.items()}


def set_minmax(cfg: Config, settings: Mapping[str, Any]) -> None:
    """Give the config's :class:`MinMaxHook` other settings, in place.

    Examples:
        >>> cfg = Config(dict(custom_hooks=[dict(type="MinMaxHook", preset="paper", priority="LOW")]))
        >>> set_minmax(cfg, {"restore": "both"})
        >>> cfg.custom_hooks
        [{'type': 'MinMaxHook', 'priority': 'LOW', 'restore': 'both'}]
    """
    give_settings(minmax_settings(cfg), settings, kept=("type", "priority"))


def own_path(cfg: Config, path: str) -> str:
    """Return the path of a setting, which is as the spaces have it."""
    return path


def defaults(cfg: Config) -> dict[str, Any]:
    """Return what many of the toolkit's configs leave out, such as k, unless it is given within the model."""
    found: dict[str, Any] = {"lr_config": None, "custom_hooks": []}
    model = cfg.get("model") or {}
    if not model.get("train_cfg"):
        found |= {"train_cfg.disc_steps": 1, "train_cfg.use_ema": False}
    kind = MODELS.get(model.get("type") or "")
    if kind is not None and "disc_auxiliary_loss" in inspect.signature(kind).parameters:
        found["model.disc_auxiliary_loss"] = None
    return found


def make_comparable(cfg: Config, base: Config) -> None:
    """Give a config with another batch size as many images as its base has, in place.

    It is measured and saved at the same numbers of images, too. Settings that differ from the base stay as they are.
    So do learning-rate schedules that count iterations. Its checkpoints are in its work dir.

    The number k of ascent steps in a cycle needs no such care. An iteration of the toolkit is one ascent step, and
    sees one batch for any k.

    Examples:
        >>> base = Config(dict(total_iters=100, data=dict(samples_per_gpu=32), checkpoint_config=dict(interval=50)))
        >>> import copy
        >>> cfg = copy.deepcopy(base)
        >>> cfg.data.samples_per_gpu = 64
        >>> make_comparable(cfg, base)
        >>> cfg.total_iters, cfg.checkpoint_config.interval
        (50, 25)
    """
    # Trials would share that folder, and none would find its own checkpoints again.
    (cfg.get("checkpoint_config") or {}).pop("out_dir", None)
    ratio = batch_size(base) / batch_size(cfg)
    if ratio == 1:
        return
    measuring = zip(_measuring(cfg), _measuring(base), strict=False)  # a setting may add to the hooks
    scale_counts([("total_iters", cfg, base), *(("interval", *pair) for pair in measuring)], ratio)


def _measuring(cfg: Config) -> list[Any]:
    """List the parts of a config that measure or save at intervals."""
    hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] == "SampleMetrics"]
    return [cfg.get("checkpoint_config") or {}, cfg.get("evaluation") or {}, *hooks]


MEASURE_NOTHING = (  # hooks of this project and of the toolkit
    *("MinMaxHook", "ExponentialMovingAverageHook", "VisualizeUnconditionalSamples"),
    *("MMGenVisualizationHook", "PickleDataHook", "PGGANFetchDataHook"),
)


def measured_metrics(cfg: Config) -> list[str] | None:
    """Return the names of all metrics that a config measures, or ``None`` if a hook's metrics are not known.

    Examples:
        >>> hook = dict(type="SampleMetrics", interval=10, metrics=dict(type="ModeCoverage"))
        >>> measured_metrics(Config(dict(custom_hooks=[hook])))[:2]
        ['modes', 'hq']
    """
    if cfg.get("evaluation"):
        return None
    names: list[str] = []
    for settings in cfg.get("custom_hooks") or []:
        if settings["type"] == "SampleMetrics":
            arguments = {k: v for k, v in settings.items() if k not in ("type", "priority")}
            try:
                names += [name for metric in SampleMetrics(**arguments).metrics for name in metric.names]
            except NotImplementedError:
                return None
        elif settings["type"] not in MEASURE_NOTHING:
            return None
    return names


def set_dataset(cfg: Config, dataset: Config) -> None:
    """Give a config another data set, in place.

    Each part of ``data`` that ``dataset`` has is replaced, not merged, so nothing of the old one is left. The new
    ``metrics_hook`` also replaces the hook in ``custom_hooks`` that measures the old one.

    Raises:
        ConfigError: If several hooks may be that one.
    """
    old = cfg.get("metrics_hook")
    for key, value in dataset._cfg_dict.items():
        if key == "data":
            for part, settings in value.items():  # not update(), which merges
                cfg.data[part] = settings
        else:
            cfg[key] = value
    if "metrics_hook" in dataset:
        hooks = cfg.get("custom_hooks") or []
        # By its type where it was written out, or changed after the config had taken it over.
        measuring = [h for h in hooks if h == old] or [h for h in hooks if h["type"] == dataset.metrics_hook["type"]]
        if len(measuring) > 1:
            raise ConfigError(
                f"custom_hooks has {len(measuring)} entries of type {dataset.metrics_hook['type']!r}, and none is its "
                "metrics_hook: name the one that measures the data set metrics_hook, for another one to take its place."
            )
        cfg.custom_hooks = [dataset.metrics_hook if h in measuring else h for h in hooks]


def iterations(cfg: Config) -> int:
    """Return the iterations of a whole training."""
    return cfg.total_iters


def batch_size(cfg: Config) -> int:
    """Return the real images of an iteration, in each process."""
    return loader_settings(cfg)["samples_per_gpu"]


def train(cfg: Config, folder: Path, seed: int, checkpoint: Path | None, reporter: Reporter | None) -> None:
    """Train a config in this process, with a :class:`~minmax_plugin.mmgen.reporting.ReportHook` more."""
    cfg.work_dir = str(folder)
    if checkpoint is not None:
        cfg.resume_from = str(checkpoint)
    training.train(cfg, name="config.py", seed=seed, hooks=[_report_hook(cfg, reporter)] if reporter else [])


def add_reporter(cfg: Config, kind: str, **arguments: Any) -> None:
    """Give a config a :class:`~minmax_plugin.mmgen.reporting.ReportHook` that makes its own reporter."""
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), _report_hook(cfg, kind, **arguments)]


def _report_hook(cfg: Config, reporter: Reporter | str, **arguments: Any) -> dict[str, Any]:
    return dict(type="ReportHook", reporter=reporter, batch_size=batch_size(cfg), priority="LOW", **arguments)
