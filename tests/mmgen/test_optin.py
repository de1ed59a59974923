"""Opting in and out, for configs of one's own and the toolkit's."""

import pytest
from families import FAMILIES, load, write_images
from mmcv import Config
from mmgen_runs import CONFIGS, DCGAN, SHORT, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import load_config, opt_in, opt_out


def test_a_stock_config_passes_the_check():
    cfg = load_config(DCGAN)
    cfg.data.train.pop("imgs_root")
    check_config(cfg)


def test_a_stock_config_is_opted_in_and_printed(capsys):
    assert main([DCGAN, "--minmax", "paper", "--print-config"]) == 0
    printed = Config.fromstring(capsys.readouterr().out, ".py")
    assert printed.optimizer.generator == dict(type="MinMaxAdam", lr=0.0004, betas=(0.5, 0.999))
    assert printed.custom_hooks[-1] == dict(type="MinMaxHook", preset="paper")
    assert printed.custom_imports.imports == ["minmax_plugin.mmgen"]
    assert main([DCGAN, "--minmax", "--print-config"]) == 0
    assert "preset='outlier'" in capsys.readouterr().out
    assert main([str(CONFIGS / "mnist01_minmax.py"), "--minmax", "--print-config"]) == 2
    assert "the config has a MinMaxHook already" in capsys.readouterr().err


def test_an_apostrophe_in_a_path_is_no_end_of_a_string(tmp_path):
    data = tmp_path / "Bob's pics"
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), write_images(data), tmp_path / "work", total_iters=1)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py")]) == 0
    copy = load_config(tmp_path / "work" / "config.py")
    assert copy.data.train.imgs_root == f"{data}/images/64"


@pytest.mark.parametrize("optimizer", ["AdamOfMyOwn", "AlternatingExtraAdam"])
def test_an_optimizer_that_the_config_imports_opts_in_too(tmp_path, monkeypatch, optimizer):
    (tmp_path / "my_optimizers.py").write_text(
        "from mmcv.runner import OPTIMIZERS\nfrom torch.optim import Adam\n\n\n"
        "@OPTIMIZERS.register_module(force=True)\nclass AdamOfMyOwn(Adam):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(CONFIGS / 'four_gaussians_gda.py')!r}\n"
        "custom_imports = dict(imports=['minmax_plugin.mmgen', 'my_optimizers'], allow_failed_imports=False)\n"
        f"optimizer = dict(generator=dict(type={optimizer!r}), discriminator=dict(type={optimizer!r}))\n"
    )
    assert main([str(config), "--minmax", "--work-dir", str(tmp_path / "run"), "--cfg-options", *SHORT]) == 0
    (log,) = (tmp_path / "run").glob("*.log")
    assert "MinMax: 4 cycles (k = 6)" in log.read_text()


def test_opting_in_keeps_what_the_config_imports():
    for imports in ("json", ["json"]):
        cfg = load_config(DCGAN)
        cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)
        opt_in(cfg)
        assert cfg.custom_imports.imports == ["json", "minmax_plugin.mmgen"]
        assert cfg.custom_hooks[-1] == dict(type="MinMaxHook", preset="outlier")


def test_opting_out_leaves_the_other_hooks_and_opting_in_again_prefixes_once():
    cfg = small_config(1, dict(), optimizer=dict(generator=dict(type="MinMaxAdam")))
    others = cfg.custom_hooks[:1]
    cfg.custom_hooks = others
    opt_in(cfg)  # its optimizers are MinMax's already
    assert cfg.optimizer.generator.type == "MinMaxAdam"
    assert [hook["type"] for hook in cfg.custom_hooks] == [others[0].type, "MinMaxHook"]
    opt_out(cfg)
    assert cfg.optimizer.generator.type == "Adam"
    assert cfg.custom_hooks == others
