"""What a training leaves for others to see shows no password or token of its config."""

import pytest
import torch
from mmgen_runs import small_config

from minmax_plugin.mmgen.train import train

TOKEN, PASSWORD = "eyJhcGlfYWRkcmVzcyI6", "S3cr3t"


@pytest.fixture
def cfg(tmp_path):
    cfg = small_config(total_iters=2, log_level="INFO", checkpoint_config=dict(interval=2, by_epoch=False))
    cfg.work_dir = str(tmp_path / "run")
    cfg.real_img_key = "real_imgs_of_mine"
    cfg.logger_settings = dict(init_kwargs=dict(api_token=TOKEN), uri=f"https://me:{PASSWORD}@host")
    return cfg


def test_the_copy_the_log_and_the_checkpoint_of_a_training_show_no_token(cfg, tmp_path):
    train(cfg)
    folder = tmp_path / "run"
    (checkpoint,), (log,) = folder.rglob("iter_2.pth"), folder.glob("*.log")
    meta = torch.load(checkpoint, weights_only=False)["meta"]
    for text in (meta["config"], (folder / "config.py").read_text(), log.read_text()):
        assert "api_token='***'" in text
        assert "https://me:***@host" in text
        assert "real_imgs_of_mine" in text
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files for secret in (TOKEN, PASSWORD) if secret.encode() in path.read_bytes()] == []
    assert cfg.logger_settings.init_kwargs.api_token == TOKEN, "the loggers need it"
