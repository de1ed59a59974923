"""TensorBoard: what is added to a config, and which pictures are shown, when, and in which colours."""

import cv2
import numpy as np
import pytest
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from mmgen_runs import run, small_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.tensorboard import TensorboardSamples, log_to_tensorboard


def test_a_config_keeps_what_it_logs_and_where():
    text, board = dict(type="TextLoggerHook"), dict(type="TensorboardLoggerHook", log_dir="mine")
    cfg = Config(dict(log_config=dict(interval=7, by_epoch=False, hooks=[text, board]), custom_hooks=[dict(type="X")]))
    for _ in range(2):  # as with --tensorboard and the config that such a run has left
        log_to_tensorboard(cfg)
    assert cfg.log_config == dict(interval=7, by_epoch=False, hooks=[text, board])
    assert [hook["type"] for hook in cfg.custom_hooks] == ["X", "TensorboardSamples"]
    cfg = Config(dict())
    log_to_tensorboard(cfg)
    assert (cfg.log_config.interval, cfg.log_config.hooks[0]["type"]) == (100, "TensorboardLoggerHook")


def test_new_pictures_are_shown_once_in_their_colours(tmp_path, recorded):
    @HOOKS.register_module(force=True)
    class Draws(Hook):
        reads_weights = False

        def after_train_iter(self, runner):
            if runner.iter in (2, 4, 8):
                picture(tmp_path / f"red/iter_{runner.iter + 1}.png")

    def picture(path):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), np.uint8))  # cv2 has blue first

    picture(tmp_path / "red" / "iter_1.png")  # of an earlier part of the run
    cfg = small_config(1, total_iters=9)
    log_to_tensorboard(cfg)
    cfg.custom_hooks[-1]["interval"] = 5
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="Draws")]
    run(cfg, tmp_path)
    events = EventAccumulator(str(tmp_path / "tf_logs"))
    events.Reload()
    assert [image.step for image in events.Images("red")] == [5, 5, 9]
    shown = cv2.imdecode(np.frombuffer(events.Images("red")[0].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert shown[0, 0].tolist() == [0, 0, 255]


def test_a_resumed_run_logs_each_step_once(tmp_path, recorded):
    def train(iterations, **overlay):
        cfg = small_config(1, total_iters=iterations, **overlay)
        log_to_tensorboard(cfg)
        run(cfg, tmp_path)

    train(9, **{"checkpoint_config.interval": 6})
    (path,) = tmp_path.glob("**/iter_6.pth")
    train(12, resume_from=str(path))  # as if it had been killed after iteration 9
    events = EventAccumulator(str(tmp_path / "tf_logs"))
    events.Reload()
    assert [point.step for point in events.Scalars("train/loss")] == list(range(1, 13))


def test_a_bad_setting_is_named(monkeypatch):
    with pytest.raises(ValueError, match="interval must be a whole number of 1 or more, but got 0"):
        TensorboardSamples(interval=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--tensorboard needs TensorBoard, which is not installed: pip install"):
        log_to_tensorboard(Config(dict()))
