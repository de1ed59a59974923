"""The training command: what it trains, resumes and leaves, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from families import FAMILIES, load, write_images
from mmcv import Config
from mmcv.runner import HOOKS, Hook, IterBasedRunner
from mmgen.core.runners import DynamicIterBasedRunner
from mmgen_runs import CONFIGS, DCGAN, SHORT, checkpoint, losses, run, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.mmgen.checkpoints import last_intact
from minmax_plugin.mmgen.config import SHIPPED, load_config, opt_in
from minmax_plugin.mmgen.doctor import examine
from minmax_plugin.mmgen.train import train


@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01"])
def test_the_command_trains_a_minmax_config_and_logs_its_decisions(tmp_path, capsys, experiment):
    config = CONFIGS / f"{experiment}_minmax.py"
    assert main([str(config), "--work-dir", str(tmp_path), "--seed", "5", "--cfg-options", *SHORT]) == 0
    (log,) = tmp_path.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if "mode" in line]
    assert [line["iter"] for line in lines] == [6, 12, 18, 24]
    for line in lines[1:]:
        assert {"acceptance", "f_old", "f_new", "reason", "cycle"} <= set(line)
    assert "balance" in lines[-1]
    assert f"MinMax: {24 if experiment == 'mnist01' else 4} cycles" in (log.with_suffix("").read_text())
    copy = Config.fromfile(str(tmp_path / config.name))
    assert copy.optimizer.generator.type == "MinMaxAdam"
    assert copy.optimizer.generator.lr == load_config(config).optimizer.generator.lr


def test_tensorboard_shows_decisions_and_samples_and_the_end_says_where_all_is(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = str(CONFIGS / "four_gaussians_minmax.py")
    options = [*SHORT, "custom_hooks.1.record=True"]
    assert main([config, "--work-dir", str(tmp_path), "--tensorboard", "--cfg-options", *options]) == 0
    events = EventAccumulator(str(tmp_path / "tf_logs"))
    events.Reload()
    decided = {"f_old", "f_new", "f_change", "acceptance", "rejections", "loss_disc_fake"}
    assert decided | {"modes", "balance"} <= {tag.split("/")[-1] for tag in events.Tags()["scalars"]}
    (change,) = [s for s in events.Scalars("train/f_change") if s.step == 24]
    old, new = (next(s for s in events.Scalars(f"train/{n}") if s.step == 24).value for n in ("f_old", "f_new"))
    assert change.value == pytest.approx(new - old, abs=1e-5)
    assert [image.step for image in events.Images("samples")] == [24]
    (log,) = tmp_path.glob("*.log")
    end = log.read_text().split("Everything of this run is in ")[1]
    assert end.splitlines()[0] == str(tmp_path)
    left = {line.split(":")[0].strip() for line in end.splitlines()[1:]}
    assert left == {
        next(tmp_path.rglob("iter_24.pth")).relative_to(tmp_path).as_posix(),
        "metrics.jsonl",
        "decisions.jsonl",
        "samples/iter_24.png",
        "tf_logs",
    }


@pytest.mark.parametrize("experiment", ["four_gaussians", "mnist01"])
def test_the_gda_configs_are_the_same_without_the_algorithm(tmp_path, experiment):
    gda, minmax = (load_config(CONFIGS / f"{experiment}_{m}.py") for m in ("gda", "minmax"))
    assert not any(h["type"] == "MinMaxHook" for h in gda.custom_hooks)
    assert gda.optimizer.generator.type == "Adam"
    minmax.custom_hooks = [h for h in minmax.custom_hooks if h["type"] != "MinMaxHook"]
    for player in ("generator", "discriminator"):
        minmax.optimizer[player]["type"] = "Adam"
    assert gda._cfg_dict == minmax._cfg_dict
    assert main([str(CONFIGS / f"{experiment}_gda.py"), "--work-dir", str(tmp_path), "--cfg-options", *SHORT]) == 0
    (log,) = tmp_path.glob("*.log.json")
    assert "acceptance" not in log.read_text()


def test_auto_resumes_from_this_runs_own_checkpoints_in_a_shared_folder(tmp_path):
    for run_, iteration in (("run_a", 3), ("run_b", 5)):
        (tmp_path / run_).mkdir()
        torch.save({}, tmp_path / run_ / f"iter_{iteration}.pth")
    assert last_intact("work_dirs/run_a", str(tmp_path)) == str(tmp_path / "run_a" / "iter_3.pth")
    assert last_intact("work_dirs/run_c", str(tmp_path)) is None


def test_a_work_dir_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(CONFIGS / "four_gaussians_minmax.py"), "--work-dir", str(tmp_path / "file/run")]) == 2
    assert f"work_dir='{tmp_path}/file/run' cannot be written (Not a directory)" in capsys.readouterr().err


def test_the_hook_itself_refuses_what_a_script_of_the_toolkit_would_pass(tmp_path, recorded):
    from mmgen.models import build_model

    from minmax_plugin.mmgen.adapters import adapter_of

    cfg = small_config(1)
    model = build_model(cfg.model, train_cfg=cfg.train_cfg, test_cfg=None)
    adam = torch.optim.Adam(model.generator.parameters())
    with pytest.raises(
        ValueError, match="optimizer.generator.type is 'Adam'; under MinMaxHook it must be 'MinMaxAdam'"
    ):
        adapter_of(model).bind(dict(generator=adam, discriminator=adam))
    with pytest.raises(ValueError, match="cannot drive model type 'Linear'"):
        adapter_of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(("first", "then"), [("minmax", "minmax"), ("gda", "minmax"), ("minmax", "gda")])
def test_training_resumes_on_the_cpu_with_and_without_the_plugin(tmp_path, recorded, first, then):
    hooks = {"gda": None, "minmax": dict(acceptance=dict(type="random", rate=0.5))}
    cfg = small_config(3, hooks[first], checkpoint_config=dict(interval=9), total_iters=9)
    cfg.log_config.interval = 1
    run(cfg, tmp_path / "first")
    saved = checkpoint(tmp_path / "first", 9)
    assert ("minmax" in saved["optimizer"]["generator"]) == (first == "minmax")
    (path,) = (tmp_path / "first").glob("**/iter_9.pth")
    cfg = small_config(3, hooks[then], resume_from=str(path))
    lines = run(cfg, tmp_path / "then")
    assert [line["iter"] for line in lines] == list(range(10, 19))
    assert all(v == v for line in losses(lines) for v in line.values())
    if then == "minmax":
        assert lines[-1]["cycle"] == (6 if first == "minmax" else 3)


def test_a_process_trains_several_configs_each_with_its_own_log(tmp_path, recorded):
    for name in ("one", "two"):
        cfg = small_config(1, dict(), total_iters=2, log_level="INFO")
        cfg.work_dir = str(tmp_path / name)
        train(cfg)
        (log,) = (tmp_path / name).glob("*.log")
        assert "MinMax: 2 cycles" in log.read_text()


def test_dynamic_ddp_is_switched_off_without_a_launcher(tmp_path, recorded):
    cfg = small_config(1, None, total_iters=1)
    cfg.runner.is_dynamic_ddp = True
    assert len(run(cfg, tmp_path)) == 1


def test_a_pix2pix_without_a_pixel_loss_trains_too(tmp_path):
    data = write_images(tmp_path / "data")
    cfg = load(next(f for f in FAMILIES if f.name == "pix2pix"), data, tmp_path / "work", total_iters=3)
    cfg.model.gen_auxiliary_loss = None
    opt_in(cfg, acceptance="never")
    assert [line["reason"] for line in run(cfg, tmp_path / "work")] == ["initial", "never", "never"]


@pytest.mark.parametrize("hook", [dict(), dict(preset="practical")])
def test_a_checkpoint_of_the_time_of_another_default_says_so(tmp_path, recorded, recwarn, hook):
    run(small_config(3, hook, total_iters=4), tmp_path / "old")
    (path,) = (tmp_path / "old").glob("**/iter_4.pth")
    saved = torch.load(path, weights_only=True)
    del saved["optimizer"]["generator"]["minmax"]["game"]["changes"]
    torch.save(saved, path)
    lines = run(small_config(3, hook, total_iters=6, resume_from=str(path)), tmp_path / "new")
    assert lines[-1]["iter"] == 6
    assert any("whose default preset was 'practical'" in str(w.message) for w in recwarn) == (not hook)


def test_a_stock_config_is_trained_without_editing_it(tmp_path):
    data = write_images(tmp_path / "data")
    options = [f"data.train.imgs_root={data}/images/64", "data.workers_per_gpu=0", "data.samples_per_gpu=4"]
    options += ["model.generator.base_channels=64", "model.discriminator.base_channels=8", "total_iters=3"]
    work_dir = str(tmp_path / "work")
    assert main([DCGAN, "--minmax", "--work-dir", work_dir, "--cfg-options", *options]) == 0
    (log,) = Path(work_dir).glob("*.log")
    assert "MinMax: 3 cycles (k = 1)" in log.read_text()
    # the copy of the config in the work dir is the merged one: it trains alike, with no flag
    assert main([str(Path(work_dir) / Path(DCGAN).name), "--work-dir", str(tmp_path / "again")]) == 0


def test_the_toolkits_own_script_trains_an_opted_in_config(tmp_path):
    data = write_images(tmp_path / "data")
    cfg = load(next(f for f in FAMILIES if f.name == "DCGAN"), data, tmp_path / "work", log_level="INFO")
    opt_in(cfg)
    cfg.runner.is_dynamic_ddp = False  # as the toolkit wants it without a launcher
    cfg.dump(str(tmp_path / "config.py"))
    script = SHIPPED[0].parent / "tools" / "train.py"
    # Imported first, for what a PyPI install of the toolkit lacks; an install from source does without.
    code = f"import minmax_plugin.mmgen, runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "config.py"), "--seed", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "MinMax: 20 cycles (k = 1)" in done.stderr + done.stdout
    assert list((tmp_path / "work").glob("ckpt/**/iter_20.pth"))


def test_the_seed_is_that_of_model_and_data(tmp_path, recorded):
    first, again, other = (
        losses(run(small_config(total_iters=2), tmp_path / str(i), seed=seed)) for i, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_a_checkpoint_says_what_it_is_of(tmp_path, recorded):
    cfg = small_config(1, total_iters=1, checkpoint_config=dict(interval=1))
    run(cfg, tmp_path, seed=7)
    meta = checkpoint(tmp_path, 1)["meta"]
    assert (meta["seed"], meta["exp_name"]) == (7, "config.py")
    assert meta["mmgen_version"].startswith("0.7")
    assert Config.fromstring(meta["config"], ".py").data.train.type == "GaussianMixture"


def test_the_end_names_the_last_of_each_kind_by_its_number(tmp_path, recorded):
    (tmp_path / "training_samples").mkdir()
    for number in (9, 10):
        (tmp_path / "training_samples" / f"iter_{number}.png").touch()
    run(small_config(1, total_iters=10, log_level="INFO", checkpoint_config=dict(interval=9)), tmp_path)
    (log,) = tmp_path.glob("*.log")
    end = log.read_text().split("Everything of this run is in ")[1]
    assert "iter_10.pth: checkpoint" in end
    assert "training_samples/iter_10.png: samples" in end


def test_the_toolkit_is_as_before_once_a_training_is_over(tmp_path, recorded):
    stock = IterBasedRunner.resume, DynamicIterBasedRunner.resume
    run(small_config(1, total_iters=1), tmp_path)
    assert stock == (IterBasedRunner.resume, DynamicIterBasedRunner.resume)
    growing = load(
        next(f for f in FAMILIES if f.name == "PGGAN"), write_images(tmp_path / "data"), tmp_path / "growing"
    )
    growing.total_iters = 1
    run(growing, tmp_path / "growing")  # in a process group of one
    assert not torch.distributed.is_initialized()


WORK_DIRS = [  # the config's, the command's, where it goes
    (None, None, "work_dirs/config"),
    ("theirs", None, "theirs"),
    ("theirs", "ours", "ours"),
]


@pytest.mark.parametrize(("configured", "asked", "expected"), WORK_DIRS)
def test_the_work_dir_is_the_command_s_or_the_config_s_or_named_after_it(
    tmp_path, monkeypatch, recorded, configured, asked, expected
):
    monkeypatch.chdir(tmp_path)
    cfg = small_config(1, total_iters=1)
    cfg.work_dir = configured
    cfg.dump("config.py")
    assert main(["config.py", *(["--work-dir", asked] if asked else [])]) == 0
    assert [path.parent for path in tmp_path.rglob("*.log")] == [tmp_path / expected]


def test_flags_reach_the_run(tmp_path, monkeypatch, recorded):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", False)
    small_config(1, total_iters=1).dump(str(tmp_path / "config.py"))
    command = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]
    assert main(command) == 0
    assert (cudnn.deterministic, cudnn.benchmark) == (False, False)
    assert load_config(tmp_path / "run" / "config.py").seed == 2021
    assert main([*command, "--deterministic", "--cfg-options", "cudnn_benchmark=True"]) == 0
    assert (cudnn.deterministic, cudnn.benchmark) == (True, True)
    if not torch.cuda.is_available():
        assert main([*command, "--gpu-id", "3"]) == 0
        assert load_config(tmp_path / "run" / "config.py").gpu_ids == [3]


def test_a_checkpoint_to_resume_from_takes_the_place_of_the_config_s(tmp_path, capsys):
    config = str(CONFIGS / "four_gaussians_minmax.py")
    options = ["--cfg-options", "resume_from=/no/theirs.pth"]
    assert main([config, "--work-dir", str(tmp_path), "--resume-from", "/no/ours.pth", *options]) == 2
    assert "resume_from='/no/ours.pth' does not exist" in capsys.readouterr().err


@HOOKS.register_module(force=True)
class Interrupts(Hook):
    def after_train_iter(self, runner):
        raise KeyboardInterrupt


ENDS = [
    (dict(type="Interrupts"), {}, 130, "minmax-train: interrupted; what was saved is in the work dir"),
    (dict(type="MinMaxHook"), {"optimizer.discriminator.lr": 1e38}, 1, "minmax-train: stopped: "),
]


@pytest.mark.parametrize(("hook", "overlay", "code", "message"), ENDS, ids=[hook["type"] for hook, *_ in ENDS])
def test_a_training_that_ends_early_says_so_by_its_exit_code(tmp_path, capsys, recorded, hook, overlay, code, message):
    cfg = small_config(1, dict(), **overlay)
    cfg.custom_hooks[-1] = dict(type="MinMaxHook")
    if hook["type"] != "MinMaxHook":
        cfg.custom_hooks.append(hook)
    cfg.dump(str(tmp_path / "config.py"))
    assert main([str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run")]) == code
    assert message in capsys.readouterr().err


def test_a_tilde_means_the_home_folder_wherever_a_path_is_given(tmp_path, monkeypatch):
    home, away = tmp_path / "home", tmp_path / "away"
    for folder in (home, away):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(away)
    write_images(home / "data")
    family = next(f for f in FAMILIES if f.name == "DCGAN")
    cfg = load(family, home / "data", "~/run", total_iters=2, **{"checkpoint_config.interval": 2})
    cfg.checkpoint_config.out_dir = "~/kept"
    cfg.data.train.imgs_root = "~/data/images/64"
    cfg.dump(str(home / "config.py"))
    assert main(["~/config.py"]) == 0
    (path,) = (home / "kept").glob("**/iter_2.pth")
    assert (home / "run/config.py").is_file()
    resume = f"~/{path.relative_to(home)}"
    options = ["total_iters=3", "data.train.imgs_root=~/data/images/64", "checkpoint_config.interval=3"]
    assert main(["~/config.py", "--work-dir", "~/more", "--resume-from", resume, "--cfg-options", *options]) == 0
    assert list((home / "kept").glob("**/iter_3.pth"))
    assert examine(load_config("~/config.py")).drives
    assert not list(away.iterdir())
    assert not list(home.glob("~*"))
