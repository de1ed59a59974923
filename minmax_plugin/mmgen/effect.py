"""Settings without effect: those that nothing reads are refused, and slips of a name get a warning."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping

from mmcv import Config
from mmgen.models.builder import MODELS

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.adapters import base, progressive

READ = (
    "model", "train_cfg", "test_cfg", "optimizer", "data", "lr_config", "momentum_config", "runner", "custom_hooks",
    "custom_imports", "evaluation", "checkpoint_config", "log_config", "log_level", "workflow", "total_iters",
    "work_dir", "load_from", "resume_from", "seed", "gpu_ids", "dist_params", "find_unused_parameters",
    "use_ddp_wrapper", "apex_amp", "cudnn_benchmark", "opencv_num_threads", "mp_start_method",
)  # fmt: skip
"""The top-level settings that a training reads. All others are a config's own variables."""

UNREAD = {
    "optimizer_config": "the toolkit's GANs step their optimizers themselves, and clip no gradient; remove it",
    "optimizer_cfg": "the toolkit's GANs step their optimizers themselves; remove it",
    "fp16": "half precision is a setting of the networks and of runner.fp16_loss_scaler; remove it",
    "data.val_dataloader": "an evaluation takes its batches as the training does; remove it",
}
"""Settings that other toolkits read, or that this one documents, and that change no training."""

STOCK_SLIPS = {"disc_step": 1}  # of a stock config; disc_steps, which it means, is 1 by default


def check_effect(cfg: Config) -> None:
    """Refuse settings that would have no effect.

    Raises:
        ConfigError: If there is one. The message says what to do instead.

    Examples:
        >>> check_effect(Config(dict(fp16=dict(loss_scale=512.0))))
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: fp16={'loss_scale': 512.0} has no effect: ...
    """
    for path, why in UNREAD.items():
        head, _, rest = path.partition(".")
        value = (cfg.get(head) or {}).get(rest) if rest else cfg.get(head)
        if any(part not in (None, {}) for part in value.values()) if isinstance(value, Mapping) else value:
            raise ConfigError(f"{path}={value!r} has no effect: {why}.")
    for name in ("train_cfg", "test_cfg"):
        own = (cfg.get("model") or {}).get(name)
        if own and cfg.get(name) not in (None, own):
            raise ConfigError(f"{name}={cfg[name]!r} has no effect: model.{name} takes its place; keep one.")
    limit = (cfg.get("runner") or {}).get("max_iters")
    if limit is not None and limit != cfg.get("total_iters"):
        raise ConfigError(f"runner.max_iters={limit!r} has no effect: total_iters={cfg.get('total_iters')!r} counts.")


def warn_of_slips(cfg: Config) -> None:
    """Warn of names, at the top and in ``train_cfg``, that nothing reads and that nearly match one that is read.

    Examples:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_slips(Config(dict(totl_iters=5)))
        >>> str(caught[0].message)
        'totl_iters=5 has no effect: nothing reads it; the nearest setting is total_iters.'
    """
    for prefix, part, known in (("", cfg, READ), ("train_cfg.", cfg.get("train_cfg"), _train_keys(cfg))):
        for name in part if isinstance(part, Mapping) or part is cfg else ():
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if not near or name in {*known, *UNREAD} or (STOCK_SLIPS.get(name), prefix) == (part[name], "train_cfg."):
                continue
            warnings.warn(
                f"{prefix}{name}={part[name]!r} has no effect: nothing reads it; the nearest setting is "
                f"{prefix}{near[0]}.",
                stacklevel=3,
            )


def unread(cfg: Config, path: str) -> str | None:
    """Say why a setting of a config has no effect on its training, or return ``None`` where it may have one.

    Examples:
        >>> cfg = Config(dict(data=dict(samples_per_gpu=8, train_dataloader=dict(samples_per_gpu=4))))
        >>> unread(cfg, "data.samples_per_gpu")
        'data.train_dataloader.samples_per_gpu takes its place'
    """
    head, *rest = path.split(".")
    if head not in READ:
        return UNREAD.get(head, "nothing reads it in a training")
    if head == "train_cfg" and rest and (known := _train_keys(cfg)) and rest[0] not in known:
        return f"{cfg.model.type} reads {sorted(known)}"
    if head != "data" or not rest:
        return None
    if rest[0] in (cfg.data.get("train_dataloader") or {}):
        return f"data.train_dataloader.{rest[0]} takes its place"
    if rest[0] in ("test", "test_dataloader") or (rest[0] == "val" and not cfg.get("evaluation")):
        return "no training reads it" if rest[0] != "val" else "there is no evaluation"
    return UNREAD.get(f"data.{rest[0]}")


def _train_keys(cfg: Config) -> set[str]:
    """Find the keys of ``train_cfg`` that the code of the config's model reads. None are known of an unknown model."""
    kind = MODELS.get(str((cfg.get("model") or {}).get("type")))
    return set(_keys_in(kind)) if kind else set()


def _keys_in(kind: type) -> Iterator[str]:
    for module in {sys.modules[c.__module__] for c in kind.__mro__ if c.__module__ != "builtins"} | {base, progressive}:
        if not module.__name__.startswith("torch"):
            for found in re.finditer(r"train_cfg\b[^\n]*?(?:\.get\(|\[)\s*[\"'](\w+)[\"']", inspect.getsource(module)):
                yield found[1]
