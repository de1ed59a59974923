"""What a training would meet later: each wrong setting, file or start is one line, before any training."""

import errno
import os
import re
from pathlib import Path

import pytest
from mmcv import Config
from mmgen.models.architectures.pggan import MiniBatchStddevLayer
from mmgen.models.architectures.stylegan.modules.styleganv2_modules import ModMBStddevLayer
from mmgen_runs import CONFIGS, small_config
from torch import nn

from minmax_plugin.cli.train import main
from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.check_loop import check_batches
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.train import set_up_process, train

VAL = "data.val.type=MNIST"
EVALUATION = "evaluation.type=GenerativeEvalHook"
WRONG = [
    ("total_iters=0", "total_iters must be the number of iterations to train, 1 or more, but is 0"),
    ("total_iters=-5", "total_iters must be .* but is -5"),
    ("total_iters=True", "total_iters must be .* but is True"),
    ("checkpoint_config.interval=0", "checkpoint_config.interval must be a whole number of 1 or more, or -1 for never"),
    ("checkpoint_config.interval=a", "checkpoint_config.interval must be .* but is 'a'"),
    ("checkpoint_config.max_keep_ckpts=a", "checkpoint_config.max_keep_ckpts='a' is text: it must be a number"),
    ("checkpoint_config.save_optimizer=no", "checkpoint_config.save_optimizer='no' is text: it must be True or False"),
    ("log_config.interval=0.5", "log_config.interval must be .* but is 0.5"),
    ("log_config.hooks.0.interva=5", "log_config.hooks.0.interva=5: TextLoggerHook takes .*the nearest is 'interval'"),
    ("log_level=LOUD", "log_level must be such as 'INFO', but is 'LOUD'"),
    ("workflow=[]", r"workflow must be \[\('train', N\)\], with N of 1 or more, but is \[\]"),
    ("mp_start_method=forked", "mp_start_method must be one of .*'fork'.*, but is 'forked'"),
    ("opencv_num_threads=a", "opencv_num_threads must be a whole number of 0 or more, but is 'a'"),
    ("cudnn_benchmark=maybe", "cudnn_benchmark must be True or False, but is 'maybe'"),
    ("gpu_ids=[0,1]", r"gpu_ids must be a list of one number, which --gpu-id gives, but is \[0, 1\]"),
    ("load_from=/no/such.pth", "load_from='/no/such.pth' does not exist"),
    ("data=3", "data must be a dict, but is 3"),
    ("lr_config=step", "lr_config must be a dict, but is 'step'"),
    ("data.train=MNIST", "data.train must be a dict with a type, but is 'MNIST'"),
    ("data.shufle=True", "data: its loader cannot be made: .*'shufle'; correct one of {"),
    ("data.persistent_workers=True", "data: its loader cannot be made: persistent_workers option needs num_workers"),
    ("data.train_dataloader.samples_per_gpu=a", "data.train_dataloader.samples_per_gpu must be .* but is 'a'"),
    (
        "momentum_config.policy=cyclc",
        "momentum_config.policy='cyclc' is none of the toolkit's; the nearest is 'Cyclic'",
    ),
    (f"{EVALUATION} evaluation.metrics.type=FID", "data.val is missing: evaluation needs it"),
    (f"evaluation.metrics.type=FID {VAL}", "evaluation must be a dict with a type"),
    (f"{EVALUATION} {VAL}", "evaluation.metrics.0 must be a dict with a type, but is None"),
    (f"{EVALUATION} evaluation.metrics.type=FIDD {VAL}", "evaluation.metrics.0.type='FIDD' is not .* 'FID'"),
    (f"{EVALUATION} evaluation.metric.type=FID {VAL}", "evaluation.metric={.*the nearest is 'metrics'"),
    (f"{EVALUATION} evaluation.metrics.type=FID evaluation.interval=0 {VAL}", "evaluation.interval must be"),
    ("custom_hooks.1.seed=x", "MinMaxHook: seed must be a whole number from 0"),
    ("total_iters", "--cfg-options 'total_iters' must be KEY=VALUE"),
    (".=3", "--cfg-options '.=3' must be KEY=VALUE"),
    ("model..x=3", "--cfg-options 'model..x=3' must be KEY=VALUE"),
    ("model.sizes=[[1,2],[3,4]", r"--cfg-options .*: its value cannot be read \(Imbalanced brackets"),
    ("custom_hooks=[[1,2],[3,4]]", r"custom_hooks must be a list of dicts, but is \[\[1, 2\], \[3, 4\]\]"),
]


def one_line(capsys, arguments, message):
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[options for options, _ in WRONG])
def test_a_wrong_value_is_one_clear_error(tmp_path, capsys, options, message):
    config = [CONFIGS / "mnist01_minmax.py", "--work-dir", tmp_path / "new", "--cfg-options"]
    one_line(capsys, [*config, "data.workers_per_gpu=0", *options.split()], message)
    assert not (tmp_path / "new").exists()


FILES = [
    ("x = undefined_name", "config '.*config.py' cannot be put together: name 'undefined_name' is not defined"),
    ("x = 1 / 0", "config '.*config.py' cannot be put together: division by zero"),
    ("import no_such", "config '.*config.py' cannot be put together: No module named 'no_such'"),
    ("raise ValueError('two\\nlines')", "config '.*config.py' cannot be put together: two lines"),
    ("custom_imports = dict(imports=['mmgen', 'no_such'])", "custom_imports.imports='no_such' failed .No module named"),
    ("custom_imports = dict(imports=['broken_module'])", "custom_imports.imports='broken_module' failed .division by"),
    ("custom_imports = ['mmgen']", r"custom_imports=\['mmgen'\] must be dict\(imports=\['a.module'\]\)"),
    ("custom_imports = dict(import_=['mmgen'])", r"custom_imports={.*} must be dict\(imports=\['a.module'\]\)"),
    ("import torch\nmodel = dict(type=torch.nn.Linear)", "model.type=<class .*> is a type, which no config file can"),
    ("import torch\nx = [torch.zeros(2, 2)]", "x.0=tensor.* is a Tensor, which no config file can hold"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, capsys, monkeypatch, text, message):
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "config.py").write_text(text)
    one_line(capsys, [tmp_path / "config.py"], message)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.py", b"\xff\xfe"), ("a.txt", b"x = 1"), ("a.json", b"{"), ("a.yaml", b"a: ["), ("b.json", b"[1]")],
)
def test_a_file_of_another_form_is_named(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    one_line(capsys, [tmp_path / name], f"config '.*{name}' cannot be put together: .")


SCHEDULES = [
    ("policy='Linear', target_lr=0, start=40000, interval=400", r"total_iters=18 \(start=40000 is past the end\)"),
    ("policy='Linear', target_lr=0, start=4, interval=400", "lr_config fails at iteration 0 .*division"),
    ("policy='Linear', target_lr=0, start=4, interval=0", "lr_config fails at iteration 0 .* by zero"),
    ("policy='CosineAnnealing', min_lr=-5", "lr_config fails at iteration 9 of total_iters=18 .rates of"),
    ("policy='CosineRestart', periods=[2], restart_weights=[1], min_lr=0", "lr_config fails at iteration 9"),
    ("policy='step', step=[3], by_epoch=True", "lr_config.by_epoch=True has no effect"),
    (
        "policy='OfPlayer', player='generator', schedule=dict(policy='Linear', start=99)",
        "total_iters=18 .start=99 is past the end",
    ),
]


@pytest.mark.parametrize(("schedule", "message"), SCHEDULES)
def test_a_schedule_that_does_not_fit_the_run_is_refused(schedule, message):
    cfg = small_config(1)
    cfg.lr_config = eval(f"dict({schedule})")
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


@pytest.mark.parametrize(
    "policy", ["Linear", "fixed", "poly", "exp", "inv", "cyclic", "step", "CosineAnnealing", "OneCycle"]
)
def test_each_schedule_that_fits_is_let_be(policy):
    more = {"OneCycle": dict(max_lr=0.1), "step": dict(step=[3]), "exp": dict(gamma=0.9), "inv": dict(gamma=0.9)}
    more["CosineAnnealing"] = dict(min_lr=0, warmup="linear", warmup_iters=3)
    cfg = small_config(1)
    cfg.lr_config = dict(policy=policy, **more.get(policy, {}))
    check_config(cfg)


@pytest.mark.parametrize(
    ("launcher", "command", "name"),
    [("pytorch", "torchrun", "RANK"), ("slurm", "srun", "SLURM_PROCID"), ("mpi", "mpirun", "OMPI")],
)
def test_a_launcher_that_did_not_start_this_is_named(tmp_path, capsys, launcher, command, name):
    config = [CONFIGS / "mnist01_minmax.py", "--work-dir", tmp_path / "new", "--launcher", launcher]
    one_line(capsys, config, f"--launcher={launcher} needs the variables .*{name}.*: start it by {command}")


def test_the_gpus_that_are_asked_for_must_be_there(monkeypatch):
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="--launcher=slurm needs a GPU for each process"):
        set_up_process(Config(dict()), "slurm")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match="--gpu-id=2: PyTorch finds 2 GPUs"):
        set_up_process(Config(dict(gpu_ids=[2])))
    set_up_process(Config(dict(gpu_ids=[1])))


def test_a_folder_of_checkpoints_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    config = [CONFIGS / "mnist01_minmax.py", "--work-dir", tmp_path / "new"]
    option = f"checkpoint_config.out_dir={tmp_path}/file/x"
    one_line(capsys, [*config, "--cfg-options", option], "checkpoint_config.out_dir='.*file/x' cannot be writ")


@pytest.mark.parametrize("made", [False, True])
def test_a_work_dir_that_cannot_be_written_is_named(tmp_path, capsys, monkeypatch, made):
    def read_only(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    # A mount is not for tests, and root may write where others may not.
    monkeypatch.setattr(*((Config, "dump") if made else (Path, "mkdir")), read_only)
    config = [CONFIGS / "mnist01_minmax.py", "--work-dir", tmp_path / "new"]
    one_line(capsys, config, "work_dir='.*new' cannot be written .Read-only file system.: give another one")


def test_a_full_disk_is_no_fault_of_the_config(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Config, "dump", full)
    cfg = small_config(1)
    cfg.work_dir = str(tmp_path)
    with pytest.raises(OSError, match="full"):
        train(cfg)


BATCHES = [  # samples, data, iterations, what is said
    (24, dict(samples_per_gpu=8), 99, None),
    (15, dict(samples_per_gpu=8), 99, r"a batch of 7 samples \(15 in .*: add drop_last=True to data.train_dataloader"),
    (15, dict(samples_per_gpu=8, train_dataloader=dict(drop_last=True)), 99, None),
    (15, dict(samples_per_gpu=8), 1, None),  # it ends before
    (11, dict(samples_per_gpu=8), 99, None),  # 3 are one small group
    (24, dict(samples_per_gpu=6), 99, r"a batch of 6 samples \(24 in batches of 6\) does not divide.* samples_per_gpu"),
    (5, dict(samples_per_gpu=6), 99, "a batch of 5 samples"),
    (15, dict(samples_per_gpu=8, train_dataloader=dict(dist=True)), 99, None),  # filled up
]


@pytest.mark.parametrize(("samples", "data", "iterations", "message"), BATCHES)
@pytest.mark.parametrize("layer", [MiniBatchStddevLayer, ModMBStddevLayer])
def test_a_batch_that_the_discriminator_cannot_take_is_refused(samples, data, iterations, message, layer):
    cfg, discriminator = Config(dict(data=data, total_iters=iterations)), nn.Sequential(layer(group_size=4))
    if message is None:
        return check_batches(cfg, samples, discriminator)
    with pytest.raises(ConfigError, match=message):
        check_batches(cfg, samples, discriminator)


def test_data_that_make_no_batch_are_refused(tmp_path):
    cfg = small_config(1, **{"data.samples_per_gpu": 101, "data.drop_last": True})
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ConfigError, match="100 samples, and drop_last=True .* samples_per_gpu=101: lower"):
        train(cfg)


def test_what_the_toolkit_says_before_it_trains_is_one_line(tmp_path):
    cfg = small_config(1, apex_amp=dict(mode="gan"))
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ConfigError, match="the toolkit cannot set the training up: Currently, apex.amp is only"):
        train(cfg)


def test_an_error_of_the_training_itself_keeps_its_traceback(tmp_path, monkeypatch):
    def train_step(*args, **kwargs):
        raise ValueError("mine")

    monkeypatch.setattr("mmgen.models.gans.StaticUnconditionalGAN.train_step", train_step)
    cfg = small_config(1)
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match="^mine") as raised:
        train(cfg)
    assert not isinstance(raised.value, ConfigError)


def test_a_config_that_is_printed_reads_back(tmp_path, capsys):
    text = f"_base_ = {str(CONFIGS / 'mnist01_minmax.py')!r}\nimport numpy as np\nfrom pathlib import Path\n"
    text += "optimizer = dict(generator=dict(lr=np.float64(0.5), betas=(np.float32(0.5), 0.9)))\n"
    text += "total_iters = np.int64(8)\n"
    text += "x = dict(a=np.arange(2), b=[np.bool_(True)], c=Path('~'), d={1}, e=np.float64('inf'))"
    (tmp_path / "config.py").write_text(text)
    assert main([str(tmp_path / "config.py"), "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "again.py").write_text(printed)
    cfg = load_config(tmp_path / "again.py")
    assert cfg.pretty_text.strip() == printed.strip()
    assert (cfg.optimizer.generator.lr, cfg.optimizer.generator.betas, cfg.total_iters) == (0.5, (0.5, 0.9), 8)
    assert cfg.x == dict(a=[0, 1], b=[True], c=os.path.expanduser("~"), d={1}, e=float("inf"))
