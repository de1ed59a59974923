"""Short runs of MMagic's stock configs on the CPU, and the stand-ins without which MMagic cannot be imported here."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from pathlib import Path

import numpy

STAND_INS = {  # no GAN uses one of them on the CPU
    "albumentations": "is an augmentation for restoration",
    "clip": "is on GitHub alone",
    "diffusers": "and transformers: their present versions have moved what MMagic imports",
    "transformers": "",
    "xformers": "needs a GPU",
    "mmcv._ext": "is compiled, and mmcv-lite has none; the operators of StyleGAN2 are in Python too",
}


class _StandIn(types.ModuleType):
    """A module in which each name is a class that can be derived from and used as a decorator."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        methods = {"__init__": lambda self, *args, **kwargs: None, "__call__": lambda self, *args, **kwargs: self}
        return type(name, (), methods)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if not any(f"{name}.".startswith(f"{stand_in}.") for stand_in in STAND_INS):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


def _import_mmagic():
    numpy.bool8 = numpy.bool_  # its name before NumPy 2
    sys.meta_path.insert(0, _Finder())
    try:
        with warnings.catch_warnings():  # of MMagic's own lines, where they are compiled for the first time
            warnings.simplefilter("ignore")
            for name in ("models", "datasets", "datasets.transforms", "engine", "visualization", "evaluation"):
                importlib.import_module(f"mmagic.{name}")
    finally:
        del sys.meta_path[0], numpy.bool8
        for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
            del sys.modules[name]  # so that nobody else finds it


_import_mmagic()

import mmagic  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine_runs import RUNS, Witness  # noqa: E402
from stock_configs import filled, set_at  # noqa: E402

STOCK = Path(mmagic.__file__).parent / ".mim/configs"
PLAYERS = ("generator", "discriminator")
# MMagic's DCGANDiscriminator cannot be initialised (UnboundLocalError: init_info), so its configs get another one.
LSGAN_DISCRIMINATOR = {"type": "LSGANDiscriminator", "input_scale": 64, "in_channels": 1, "base_channels": 8}


def images(size, folder="images/64", **loading):
    """The folder of images: the pipeline stays, except the sizes and random flips."""
    load = dict(type="LoadImageFromFile", key="gt", **loading)
    pipeline = [load, dict(type="Resize", keys="gt", scale=(size, size)), dict(type="PackInputs")]
    return dict(type="BasicImageDataset", data_root=f"DATA/{folder}", data_prefix=dict(gt=""), pipeline=pipeline)


def labelled(size):
    """Folders of classes, for CIFAR-10 and ImageNet, which are downloads."""
    return dict(type="BasicConditionalDataset", data_root="DATA/labelled", pipeline=images(size)["pipeline"])


def _base(generator, discriminator=8):
    return {"model.generator.base_channels": generator, "model.discriminator.base_channels": discriminator}


FAMILIES = {
    "DCGAN": (
        "dcgan/dcgan_Glr4e-4_Dlr1e-4_1xb128-5kiters_mnist-64x64.py",
        {
            "data": images(64, color_type="grayscale"),
            "model.generator.base_channels": 64,
            "model.discriminator": LSGAN_DISCRIMINATOR,
        },
    ),
    "LSGAN": (
        "lsgan/lsgan_lsgan-archi_lr1e-4-1xb64-10Mimgs_lsun-bedroom-128x128.py",
        {"data": images(64), **_base(16), "model.generator.output_scale": 64, "model.discriminator.input_scale": 64},
    ),
    "GGAN": ("ggan/ggan_lsgan-archi_lr1e-4-1xb128-20Mimgs_lsun-bedroom-64x64.py", {"data": images(64), **_base(16)}),
    "WGAN-GP": (
        "wgan-gp/wgangp_GN_1xb64-160kiters_celeba-cropped-128x128.py",
        {"data": images(8), "model.generator.out_scale": 8, "model.discriminator.in_scale": 8, "k": 2},
    ),
    "SNGAN-proj": (
        "sngan_proj/sngan-proj_woReLUinplace_lr2e-4-ndisc5-1xb64_cifar10-32x32.py",
        {"data": labelled(32), **_base(16, 16), "k": 2},
    ),
    "SAGAN": (
        "sagan/sagan_woReLUinplace_lr2e-4-ndisc5-1xb64_cifar10-32x32.py",
        {"data": labelled(32), **_base(16, 16), "k": 2},
    ),
    "BigGAN": (
        "biggan/biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128.py",
        {
            "data": labelled(32),
            **_base(8),
            **{f"model.{player}.num_classes": 10 for player in PLAYERS},
            **{f"optim_wrapper.{player}.accumulative_counts": 2 for player in PLAYERS},
            "model.num_classes": 10,
            "model.generator.output_scale": 32,
            "model.discriminator.input_scale": 32,
            "model.ema_config.start_iter": 2,
        },
    ),
    "StyleGAN2": (
        "styleganv2/stylegan2_c2_8xb4-800kiters_ffhq-256x256.py",
        {
            "data": images(8, "images/8"),
            "model.generator.out_size": 8,
            # torch takes betas of one kind alone, and the stock config has an int and a float
            **{f"optim_wrapper.{player}.optimizer.betas": (0.0, 0.99) for player in PLAYERS},
            "model.generator.num_mlps": 2,
            "model.generator.style_channels": 32,
            "model.discriminator.in_size": 8,
        },
    ),
}
NOTES = {
    "DCGAN": "with LSGAN's discriminator: MMagic cannot initialise its own (`UnboundLocalError: init_info`)",
    "BigGAN": "gradients of both players accumulated",
    "StyleGAN2": "Adam's `betas` as two floats: torch refuses an int beside a float",
}
REFUSED = {
    name: (path, {"train_dataloader.dataset.data_root": f"DATA/{folder}"})
    for name, path, folder in (
        ("pix2pix", "pix2pix/pix2pix_vanilla-unet-bn_1xb1-80kiters_facades.py", "paired"),
        ("CycleGAN", "cyclegan/cyclegan_lsgan-resnet-in_1xb1-80kiters_facades.py", "unpaired"),
    )
}
END = 6  # iterations


def config(path, overlay, data, hook=None, save=None):
    """A stock config, shrunk by sizes and data alone, without its validation (which wants Inception weights).

    It opts in with the lines of the docs where ``hook`` has settings. It saves each ``save`` iterations.
    """
    cfg = Config.fromfile(str(STOCK / path))
    for name in ("val", "test"):
        for part in ("cfg", "dataloader", "evaluator"):
            cfg.pop(f"{name}_{part}", None)
    short = {
        "train_cfg": dict(type="IterBasedTrainLoop", max_iters=END),
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "default_hooks.checkpoint": dict(type="CheckpointHook", interval=save or -1, by_epoch=False, save_last=False),
        "default_hooks.logger.interval": 1,
        "log_level": "ERROR",
    }
    places = {"data": "train_dataloader.dataset", "k": "model.discriminator_steps"}
    for place, value in {**short, **overlay}.items():
        set_at(cfg, places.get(place, place), filled(value, data))
    for entry in cfg.get("custom_hooks") or []:
        entry.interval, entry.n_samples = 2, 2
    if hook is not None:
        cfg.custom_imports = dict(imports=["minmax_plugin.mmengine"], allow_failed_imports=False)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="MinMaxHook", **hook)]
    return cfg


def train(cfg, folder, resume=None):
    """Train a config as MMagic's own script does, and give the runner and its witness."""
    cfg.work_dir, cfg.experiment_name = str(folder), f"run{next(RUNS)}"
    cfg.resume, cfg.load_from = resume is not None, resume and str(resume)
    runner = Runner.from_cfg(cfg)
    witness = Witness()
    runner.register_hook(witness)
    runner.train()
    return runner, witness
