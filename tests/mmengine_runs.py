"""A plain GAN of MMEngine, written as MMagic's BaseGAN trains, and short runs of it by MMEngine's own runner."""

import contextlib
import copy
import itertools
import json
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

import minmax_plugin.mmengine  # noqa: F401


@METRICS.register_module()
class Spread(BaseMetric):
    """The mean distance of the samples from the origin."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample.norm()) for sample in data_samples]

    def compute_metrics(self, results):
        return {"spread": sum(results) / len(results)}


@DATASETS.register_module()
class FourGaussians(torch.utils.data.Dataset):
    """Points near (±1, ±1), with noise that is drawn when a point is read, as an augmentation is."""

    def __init__(self, size=100):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        centre = torch.tensor([1.0 - 2 * (index % 2), 1.0 - index // 2 % 2 * 2])
        return {"inputs": centre + 0.1 * torch.randn(2)}


def set_requires_grad(module, value):
    for parameter in module.parameters():
        parameter.requires_grad_(value)


@MODELS.register_module()
class PlainGAN(BaseModel):
    """A small GAN whose ``train_step`` is that of MMagic's BaseGAN."""

    def __init__(self, discriminator_steps=1, generator_steps=1, dropout=0.3, penalty=0.0):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.generator_ema = ExponentialMovingAverage(self.generator, momentum=0.1)
        self.discriminator_steps, self.generator_steps, self.penalty = discriminator_steps, generator_steps, penalty

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.generator_ema(torch.randn(len(inputs), 4))

    def val_step(self, data):
        return self(self.data_preprocessor(data)["inputs"])

    def noise(self, inputs):
        return torch.randn(len(inputs["inputs"]), 4)

    def train_step(self, data, optim_wrapper):
        iteration = self.iteration()
        inputs = self.data_preprocessor(data, True)
        wrapper = optim_wrapper["discriminator"]
        accumulated = wrapper._accumulative_counts
        with wrapper.optim_context(self.discriminator):
            logs = self.train_discriminator(inputs, wrapper)
        if (iteration + 1) % (self.discriminator_steps * accumulated) == 0:
            set_requires_grad(self.discriminator, False)
            wrapper = optim_wrapper["generator"]
            updates = self.generator_steps * wrapper._accumulative_counts
            wrapper.initialize_count_status(self.generator, 0, updates)
            for _ in range(updates):
                with wrapper.optim_context(self.generator):
                    logs = logs | self.train_generator(inputs, wrapper)
            set_requires_grad(self.discriminator, True)
            self.generator_ema.update_parameters(self.generator)
        return logs

    def iteration(self):
        return MessageHub.get_current_instance().get_info("iter")

    def train_discriminator(self, inputs, wrapper):
        with torch.no_grad():
            fakes = self.generator(self.noise(inputs))
        reals = inputs["inputs"].requires_grad_(self.penalty > 0)
        fake, real = self.discriminator(fakes), self.discriminator(reals)
        losses = dict(
            loss_disc_fake=binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)),
            loss_disc_real=binary_cross_entropy_with_logits(real, torch.ones_like(real)),
        )
        if self.penalty:
            (slope,) = torch.autograd.grad(real.sum(), reals, create_graph=True)
            losses["loss_r1"] = self.penalty * slope.square().sum(1).mean()
        loss, logs = self.parse_losses(losses)
        wrapper.update_params(loss)
        return logs

    def train_generator(self, inputs, wrapper):
        fake = self.discriminator(self.generator(self.noise(inputs)))
        loss, logs = self.parse_losses(dict(loss_gen=softplus(-fake).mean()))
        wrapper.update_params(loss)
        return {"loss_gen": logs["loss_gen"]}


@MODELS.register_module()
class ByHand(PlainGAN):
    """The same GAN, with a discriminator that is stepped by hand, in two backward passes."""

    def train_discriminator(self, inputs, wrapper):
        fakes = self.generator(self.noise(inputs)).detach()
        wrapper.zero_grad()
        for images, sign in ((fakes, 1), (inputs["inputs"], -1)):
            loss = softplus(sign * self.discriminator(images)).mean()
            wrapper.backward(wrapper.scale_loss(loss))
        wrapper.step()
        return {"loss_disc_real": loss.detach()}


@OPTIM_WRAPPERS.register_module()
class CpuAmp(AmpOptimWrapper):
    """MMEngine's wrapper for mixed precision, which asks for a GPU, with torch's gradient scaler for the CPU."""

    def __init__(self, optimizer, **settings):
        OptimWrapper.__init__(self, optimizer, **settings)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
        self._scale_update_param, self.cast_dtype = None, torch.bfloat16

    @contextlib.contextmanager
    def optim_context(self, model):
        with OptimWrapper.optim_context(self, model), torch.autocast("cpu", self.cast_dtype):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneForEach:
    """A constructor as a user of MMEngine writes it for several optimizers."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.parts = {name: DefaultOptimWrapperConstructor(cfg) for name, cfg in optim_wrapper_cfg.items()}

    def __call__(self, model):
        return OptimWrapperDict(**{name: make(getattr(model, name)) for name, make in self.parts.items()})


@HOOKS.register_module()
class Witness(Hook):
    """Notes each iteration's losses to the last bit, and on wish the weights that other hooks see."""

    reads_weights = False
    priority = "LOWEST"

    def __init__(self, look=None):
        self.look = look
        self.losses, self.seen = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(loss.detach()) for name, loss in outputs.items()})
        if self.look is not None:
            self.seen.append({n: t.detach().clone() for n, t in getattr(runner.model, self.look).state_dict().items()})


def config(hook=None, model=(), wrapper=(), iterations=18, interval=1000, hooks=(), **overlay):
    """A run of some iterations, with a schedule of the learning rates; with MinMax where ``hook`` has its settings."""
    entry = dict(optimizer=dict(type="Adam", lr=1e-2, betas=(0.5, 0.9)), **dict(wrapper))
    custom = [dict(type="MinMaxHook", **hook)] if hook is not None else []
    whole = dict(
        model=dict(type="PlainGAN") | dict(model),
        train_dataloader=dict(
            dataset=dict(type="FourGaussians"),
            sampler=dict(type="InfiniteSampler", shuffle=True),
            batch_size=16,
            num_workers=0,
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=iterations),
        optim_wrapper=dict(constructor="OneForEach", generator=dict(entry), discriminator=dict(entry)),
        param_scheduler=dict(type="MultiStepLR", milestones=[5, 11], gamma=0.3, by_epoch=False),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=interval, by_epoch=False),
            logger=dict(type="LoggerHook", interval=1),
        ),
        custom_hooks=[*custom, *hooks],
        randomness=dict(seed=3),
        log_level="WARNING",
        default_scope="mmengine",
    )
    return copy.deepcopy(whole | overlay)


RUNS = itertools.count()  # MMEngine keeps the logs and messages of each name


def train(cfg, folder, look=None, resume=None):
    """Train, and give the runner and its witness."""
    witness = Witness(look)
    cfg = dict(cfg, work_dir=str(folder), custom_hooks=[*cfg["custom_hooks"], witness])
    resumed = dict(resume=resume is not None, load_from=resume and str(resume))
    runner = Runner(**cfg, experiment_name=f"run{next(RUNS)}", **resumed)
    runner.train()
    return runner, witness


def checkpoint(folder, iteration):
    # MMEngine resumes with weights_only=True; its fork takes what that needs off torch's list again
    return torch.load(Path(folder) / f"iter_{iteration}.pth", weights_only=False)


def decisions(folder):
    return [json.loads(line) for line in (Path(folder) / "decisions.jsonl").read_text().splitlines()]
