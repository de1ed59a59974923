"""The toolkit's stock configs, a file for each family, shrunk by overlay alone to train in seconds on a CPU."""

import dataclasses
from typing import Any

from stock_configs import filled, set_at, write_images  # noqa: F401  for the tests of families

from minmax_plugin.mmgen.config import load_config


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of stock configs.

    Args:
        name: what users call it.
        config: the stock file, below the toolkit's ``configs``.
        overlay: ``{"a.b": value}``, sizes and data alone.
        refused: what the command says, where the family cannot work.
        unresumable: what the toolkit itself says when it resumes the family, where it cannot.
        note: a remark for the table.
        stages: that the networks go through in the test.
        slow: whether to leave out what is the same for all families.
    """

    name: str
    config: str
    overlay: dict[str, Any] = dataclasses.field(default_factory=dict)
    refused: str = ""
    unresumable: str = ""
    note: str = ""
    stages: int = 1
    slow: bool = False


def _images(batch=4, size=None, dataset="", folder="images/64"):
    """Folder data: the pipeline stays, apart from its sizes."""
    overlay = {"data.samples_per_gpu": batch, f"data.train.{dataset}imgs_root": f"DATA/{folder}"}
    if size:
        overlay["sizes"] = (size, size)
    return overlay


def _labelled(batch=4, pipeline="", size=None):
    """The toolkit reads CIFAR-10 and ImageNet through mmcls; any folder of class folders does as well."""
    where = f"data.train.{pipeline}"
    overlay = {
        "data.samples_per_gpu": batch,
        f"{where}type": "mmcls.CustomDataset",
        f"{where}data_prefix": "DATA/labelled",
    }
    if size:
        overlay["sizes"] = (size, size)
    return overlay


_MLP = {"model.generator.num_mlps": 2, "model.generator.style_channels": 32}
_GROW = {
    "data.train.imgs_roots": {"16": "DATA/images/16"},
    "data.train.gpu_samples_base": 2,
    "data.train.gpu_samples_per_scale": {},
    "data.samples_per_gpu": 2,
    "data.train.len_per_stage": 40,
    "train_cfg.transition_kimgs": 0.01,
}
_SINGAN = {
    "data.train.img_path": "DATA/images/64/0.png",
    "data.train.min_size": 18,
    "data.train.max_size": 28,
    "data.train.num_samples": 40,
    "model.generator.num_scales": 2,
    "model.discriminator.num_scales": 2,
    "train_cfg.iters_per_scale": 7,
}
_SINGAN_RESUME = {
    "unresumable": "Optimizer should be dict or torch.optim.Optimizer",
    "note": "the toolkit cannot resume it: its optimizers are built after the checkpoint is read",
}

FAMILIES = [
    Family(
        "DCGAN",
        "dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py",
        {**_images(), "model.generator.base_channels": 64, "model.discriminator.base_channels": 8},
    ),
    Family(
        "LSGAN",
        "lsgan/lsgan_lsgan-archi_lr-1e-4_lsun-bedroom_128_b64x1_10m.py",
        {
            **_images(size=32),
            "model.generator.output_scale": 32,
            "model.generator.base_channels": 16,
            "model.discriminator.input_scale": 32,
            "model.discriminator.base_channels": 8,
        },
    ),
    Family(
        "GGAN",
        "ggan/ggan_celeba-cropped_dcgan-archi_lr-1e-3_64_b128x1_12m.py",
        {**_images(), "model.generator.base_channels": 64, "model.discriminator.base_channels": 8},
    ),
    Family(
        "WGAN-GP",
        "wgan-gp/wgangp_GN_celeba-cropped_128_b64x1_160kiter.py",
        {
            **_images(2, size=8),
            "model.generator.out_scale": 8,
            "model.discriminator.in_scale": 8,
        },
        slow=True,
    ),
    Family(
        "SNGAN-proj",
        "sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        {**_labelled(), "model.generator.base_channels": 16, "model.discriminator.base_channels": 16},
    ),
    Family(
        "SAGAN",
        "sagan/sagan_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        {**_labelled(), "model.generator.base_channels": 16, "model.discriminator.base_channels": 16},
    ),
    Family(
        "BigGAN",
        "biggan/biggan_torch-sn_imagenet1k_128x128_b32x8_1500k.py",
        {
            **_labelled(size=32),
            "model.num_classes": 10,
            "model.generator.output_scale": 32,
            "model.generator.base_channels": 8,
            "model.generator.num_classes": 10,
            "model.discriminator.input_scale": 32,
            "model.discriminator.base_channels": 8,
            "model.discriminator.num_classes": 10,
            "train_cfg.batch_accumulation_steps": 2,
            "train_cfg.disc_steps": 4,
        },
        note="accumulated gradients: k is disc_steps / batch_accumulation_steps",
    ),
    Family(
        "StyleGAN1",
        "styleganv1/styleganv1_ffhq_256_g8_25Mimg.py",
        {
            **_GROW,
            **_MLP,
            "model.generator.out_size": 8,
            "model.discriminator.in_size": 8,
            "train_cfg.nkimgs_per_scale": {"8": 10},
        },
        slow=True,
    ),
    Family(
        "StyleGAN2",
        "styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py",
        {
            **_images(2, dataset="dataset.", folder="images/8"),
            **_MLP,
            "model.generator.out_size": 8,
            "model.discriminator.in_size": 8,
        },
        slow=True,
    ),
    Family(
        "StyleGAN2, half precision",
        "styleganv2/stylegan2_c2_fp16_partial-GD_PL-no-scaler_ffhq_256_b4x8_800k.py",
        {
            **_images(2, dataset="dataset.", folder="images/8"),
            **_MLP,
            "model.generator.out_size": 8,
            "model.discriminator.in_size": 8,
            "model.generator.num_fp16_scales": 0,
            "model.discriminator.num_fp16_scales": 0,
        },
        note="the toolkit's half precision needs a GPU: run here with its loss scaler alone, in single precision",
        slow=True,
    ),
    Family(
        "StyleGAN3",
        "styleganv3/stylegan3_t_noaug_fp16_gamma2.0_ffhq_256_b4x8.py",
        {
            **_images(2, size=16, dataset="dataset."),
            "model.generator.noise_size": 32,
            "model.generator.style_channels": 32,
            "model.generator.out_size": 16,
            "model.generator.synthesis_cfg.channel_base": 256,
            "model.generator.synthesis_cfg.channel_max": 16,
            "model.generator.synthesis_cfg.num_layers": 6,
            "model.discriminator.in_size": 16,
        },
        slow=True,
    ),
    Family(
        "PGGAN",
        "pggan/pggan_celeba-cropped_128_g8_12Mimgs.py",
        {
            **_GROW,
            "sizes": (16, 16),
            "model.generator.out_scale": 16,
            "model.generator.noise_size": 32,
            "model.generator.base_channels": 128,
            "model.generator.max_channels": 32,
            "model.discriminator.in_scale": 16,
            "model.discriminator.base_channels": 128,
            "model.discriminator.max_channels": 32,
            "train_cfg.nkimgs_per_scale": {"4": 0.014, "8": 0.008, "16": 10},
        },
        stages=3,
    ),
    Family(
        "MSPIE-StyleGAN2",
        "positional_encoding_in_gans/mspie-stylegan2_c2_config-e_ffhq_256-512_b3x8_1100k.py",
        {
            **_images(2, dataset="dataset.", folder="images/8"),
            **_MLP,
            "model.generator.out_size": 8,
            "model.discriminator.in_size": 8,
            "train_cfg.num_upblocks": 1,
        },
        slow=True,
    ),
    Family(
        "StyleGAN2 for positional encoding",
        "positional_encoding_in_gans/stylegan2_c2_ffhq_256_b3x8_1100k.py",
        {
            **_images(2, dataset="dataset.", folder="images/8"),
            **_MLP,
            "model.generator.out_size": 8,
            "model.discriminator.in_size": 8,
        },
        slow=True,
    ),
    Family(
        "pix2pix",
        "pix2pix/pix2pix_vanilla_unet_bn_facades_b1x1_80k.py",
        {
            "data.train.dataroot": "DATA/paired",
            "sizes": (32, 32),
            "model.generator.num_down": 5,
            "model.generator.base_channels": 8,
            "model.discriminator.base_channels": 8,
            "model.discriminator.num_conv": 2,
        },
    ),
    Family(
        "CycleGAN",
        "cyclegan/cyclegan_lsgan_resnet_in_facades_b1x1_80k.py",
        {
            "data.train.dataroot": "DATA/unpaired",
            "sizes": (32, 32),
            "model.generator.num_blocks": 2,
            "model.generator.base_channels": 8,
            "model.discriminator.base_channels": 8,
            "lr_config.start": 6,
            "lr_config.interval": 3,
        },
    ),
    Family(
        "SinGAN",
        "singan/singan_fish.py",
        _SINGAN,
        **_SINGAN_RESUME,
        stages=3,
    ),
    Family(
        "SinGAN with positional encoding",
        "positional_encoding_in_gans/singan_csg_fish.py",
        _SINGAN,
        slow=True,
        **_SINGAN_RESUME,
        stages=3,
    ),
    Family(
        "StyleGAN3 with ADA",
        "ada/stylegan3_t_ada_fp16_gamma6.6_metfaces_1024_b4x8.py",
        refused="adaptive discriminator augmentation .ADA. is missing: the mmgen archive on PyPI lacks the package",
        note="the PyPI archive of mmgen lacks ADA; an install from source has it (not run)",
    ),
    Family(
        "Improved DDPM",
        "improved_ddpm/ddpm_cosine_hybird_timestep-4k_drop0.3_cifar10_32x32_b8x16_500k.py",
        refused="model.discriminator is missing: min-max training needs a discriminator",
        note="a diffusion model: there is no discriminator, so no min-max game",
    ),
]


def load(family, data, work_dir, **overlay):
    """The stock config of a family, shrunk, without its evaluation (which wants Inception weights)."""
    cfg = load_config(family.config)
    settings = {**_RUN, **family.overlay, **overlay}
    sizes = settings.pop("sizes", None)
    set_at(cfg, "work_dir", str(work_dir))
    for path, value in settings.items():
        set_at(cfg, path, filled(value, data))
    train = cfg.data.train.get("dataset") or cfg.data.train
    if train.type == "mmcls.CustomDataset" and train.pipeline[0].type != "LoadImageFromFile":
        train.pipeline.insert(0, dict(type="LoadImageFromFile"))
    for step in train.get("pipeline") or []:
        for key in {"scale", "size", "crop_size"} & set(step) if sizes else ():
            step[key] = sizes
    for hook in cfg.get("custom_hooks") or []:
        if hook.type == "VisualizeUnconditionalSamples":
            hook.interval, hook.num_samples = 10, 2
        elif hook.type == "MMGenVisualizationHook":
            hook.interval = 10
        elif hook.type == "ExponentialMovingAverageHook":
            hook.start_iter = 0
    return cfg


_RUN = {
    "evaluation": None,
    "total_iters": 20,
    "data.workers_per_gpu": 0,
    "checkpoint_config.interval": 1000,
    "log_config.interval": 1,
}
