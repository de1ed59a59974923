"""Small configs, trained by the toolkit's own loop."""

import copy
import json
from pathlib import Path

import torch
from mmcv import Config
from mmcv.runner import HOOKS, OPTIMIZERS, Hook
from torch.nn.functional import softplus

import minmax_plugin.mmgen  # noqa: F401
from minmax_plugin.cli.train import main
from minmax_plugin.mmgen.optimizers import register_minmax_optimizers
from minmax_plugin.mmgen.train import train

CONFIGS = Path(__file__).parents[1] / "configs"
SHORT = ["total_iters=24", "log_config.interval=6", "checkpoint_config.interval=12", "data.samples_per_gpu=32"]
DCGAN = "dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py"  # a stock config


@OPTIMIZERS.register_module()
class RecordingAdam(torch.optim.Adam):
    """Adam that remembers the parameters just before each of its steps."""

    all: list = []  # those that stepped during a test, in order of their first step

    def step(self, closure=None):
        if not hasattr(self, "seen"):
            self.seen = []
            RecordingAdam.all.append(self)
        self.seen.append([p.detach().clone() for g in self.param_groups for p in g["params"]])
        return super().step(closure)


register_minmax_optimizers()


@HOOKS.register_module()
class RawLosses(Hook):
    """Notes each iteration's losses to the last bit; the log rounds them, and repeats the generator's."""

    reads_weights = False
    all: list = []

    def after_train_iter(self, runner):
        RawLosses.all.append({k: v for k, v in runner.outputs["log_vars"].items() if "loss" in k})


def small_config(k=1, hook=None, **overlay):
    """A four-Gaussian config that trains in a second, with dropout, a stepping learning rate and averaged weights."""
    prefix = "MinMax" if hook is not None else ""
    cfg = {
        "model": dict(
            type="StaticUnconditionalGAN",
            generator=dict(type="MLPGenerator", out_shape=(2,), noise_size=8, hidden=(16, 16)),
            discriminator=dict(type="MLPDiscriminator", in_shape=(2,), hidden=(16, 16), dropout=0.3),
            gan_loss=dict(type="GANLoss", gan_type="vanilla"),
        ),
        "train_cfg": dict(disc_steps=k, use_ema=True),
        "test_cfg": None,
        "optimizer": dict(
            generator=dict(type=prefix + "RecordingAdam", lr=1e-2, betas=(0.5, 0.9)),
            discriminator=dict(type=prefix + "RecordingAdam", lr=1e-2, betas=(0.5, 0.9)),
        ),
        "lr_config": dict(policy="step", step=[6, 12], gamma=0.3, by_epoch=False),
        "data": dict(samples_per_gpu=16, workers_per_gpu=0, train=dict(type="GaussianMixture", size=100)),
        "custom_hooks": [dict(type="ExponentialMovingAverageHook", module_keys=("generator_ema",), interval=1)],
        "runner": dict(type="DynamicIterBasedRunner", is_dynamic_ddp=False, pass_training_status=True),
        "checkpoint_config": dict(interval=1000, by_epoch=False),
        "log_config": dict(interval=1, hooks=[dict(type="TextLoggerHook")]),
        "log_level": "WARNING",
        "workflow": [("train", 10000)],
        "total_iters": 18,
        "load_from": None,
        "resume_from": None,
    }
    if hook is not None:
        cfg["custom_hooks"].append({"type": "MinMaxHook", **hook})
    cfg = Config(copy.deepcopy(cfg))
    cfg.merge_from_dict(overlay)
    return cfg


def by_command(cfg, seed):
    """Train a config as a user does: from a file, by the command."""
    file = Path(f"{cfg.work_dir}.py")
    cfg.dump(str(file))
    code = main([str(file), "--seed", str(seed)])
    if code != 0:
        raise SystemExit(code)


def run(cfg, folder, seed=3, train=train):
    """Train, and give the log's lines, with the losses as they were where it has one for each iteration."""
    cfg.work_dir = str(folder)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="RawLosses", priority="LOW")]
    RawLosses.all = []
    train(cfg, seed=seed)
    (log,) = sorted(Path(folder).glob("*.log.json"))[-1:]
    lines = [line for line in map(json.loads, log.read_text().splitlines()) if "mode" in line]
    if len(lines) == len(RawLosses.all):
        lines = [
            {k: v for k, v in line.items() if "loss" not in k} | raw
            for line, raw in zip(lines, RawLosses.all, strict=True)
        ]
    return lines


def checkpoint(folder, iteration):
    (path,) = Path(folder).glob(f"**/iter_{iteration}.pth")
    return torch.load(path, weights_only=True)


def losses(lines):
    return [{k: v for k, v in line.items() if "loss" in k} for line in lines]


def minus_pair_loss(model, reals):
    """Minus the relativistic pair loss; the random state is left so that f draws the same fakes."""
    torch.manual_seed(1)
    torch.randint(1, ())  # the part of the batch
    fakes = model.generator(None, num_batches=len(reals))
    value = -softplus(model.discriminator(fakes) - model.discriminator(reals)).mean()
    torch.manual_seed(1)
    return value.detach()
