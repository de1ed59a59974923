"""TensorBoard: what a run measures as curves, and what its hooks draw as pictures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
from mmcv import Config
from mmcv.runner import HOOKS, Hook, TensorboardLoggerHook, master_only

from minmax_plugin.checks import check_count
from minmax_plugin.errors import ConfigError


def log_to_tensorboard(cfg: Config) -> None:
    """Make a config log to TensorBoard, in ``tf_logs`` of its work dir: curves and pictures.

    The curves are everything in the log: losses, f_old, f_new and their difference, the share of accepted proposals,
    rejections in a row, and all measurements.

    Args:
        cfg: The config, changed in place.

    Raises:
        ConfigError: If TensorBoard is not installed.

    Examples:
        >>> cfg = Config(dict(log_config=dict(interval=10, hooks=[])))
        >>> log_to_tensorboard(cfg)
        >>> [hook["type"] for hook in (*cfg.log_config.hooks, *cfg.custom_hooks)]
        ['TensorboardLoggerHook', 'TensorboardSamples']
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs TensorBoard, which is not installed: pip install tensorboard.")
    log = cfg.get("log_config") or {}
    hooks = list(log.get("hooks", []))
    if not any(hook["type"] == "TensorboardLoggerHook" for hook in hooks):
        hooks.append(dict(type="TensorboardLoggerHook", by_epoch=False))
    cfg.log_config = {**log, "interval": log.get("interval", 100), "hooks": hooks}
    others = cfg.get("custom_hooks") or []
    if not any(hook["type"] == "TensorboardSamples" for hook in others):  # as where a run's own config is run again
        cfg.custom_hooks = [*others, dict(type="TensorboardSamples", priority="VERY_LOW")]


@HOOKS.register_module()
class TensorboardSamples(Hook):
    """Show in TensorBoard the pictures that other hooks write into the work dir, and each step once.

    A run that was killed may have logged past the checkpoint from which it resumes. TensorBoard drops that.

    Such hooks are :class:`~minmax_plugin.mmgen.metrics.SampleMetrics` and the toolkit's
    ``VisualizeUnconditionalSamples``. Pictures of one folder are one series. It needs a ``TensorboardLoggerHook``.

    Args:
        interval: The number of iterations between looks for new pictures.

    Examples:
        >>> TensorboardSamples(interval=50).interval
        50
    """

    reads_weights = False

    def __init__(self, interval: int = 100) -> None:
        check_count("interval", interval)
        self.interval = interval

    @master_only
    def before_run(self, runner: Any) -> None:
        self._shown = self._pictures(runner)  # those of an earlier part of the run
        if runner.iter > 0:
            from torch.utils.tensorboard import SummaryWriter

            for hook in self._loggers(runner):
                hook.writer.close()
                hook.writer = SummaryWriter(hook.log_dir, purge_step=runner.iter + 1)

    @master_only
    def after_train_iter(self, runner: Any) -> None:
        if not (self.every_n_iters(runner, self.interval) or self.is_last_iter(runner)):
            return
        found = self._pictures(runner)
        for path, _ in sorted(found - self._shown):
            picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            for hook in self._loggers(runner):
                hook.writer.add_image(path.parent.name, picture, runner.iter + 1, dataformats="HWC")
        self._shown |= found

    def _loggers(self, runner: Any) -> list[Any]:
        return [hook for hook in runner.hooks if isinstance(hook, TensorboardLoggerHook)]

    def _pictures(self, runner: Any) -> set[tuple[Path, int]]:
        """The pictures and when they were written: a resumed run may draw one again."""
        return {(path, path.stat().st_mtime_ns) for path in Path(runner.work_dir).rglob("*.png")}
