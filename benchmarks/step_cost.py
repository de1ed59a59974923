"""What a training step costs under MinMax, as a ratio to the plain toolkit in the same run.

``python -m benchmarks.step_cost`` trains each pair of configs in turns of a few iterations, each config in a separate
process. It compares their times turn by turn, and their peak memory. It writes ``benchmarks/results/step_cost.csv``,
from which docs/performance.md is made. ``--quick`` runs two cases in under two minutes. It fails if one is surely
slower than 1.5 times the plain toolkit, in three measurements. A GPU is used if there is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
from typing import Any

import torch
from mmcv import Config
from mmgen.datasets.builder import DATASETS
from torch.utils.data import Dataset

from benchmarks.counting import limit
from benchmarks.tables import ROOT, commit, keep
from benchmarks.turns import bare, compare
from minmax_plugin.mmgen.config import load_config, opt_in
from minmax_plugin.mmgen.doctor import examine

RESULT = ROOT / "benchmarks" / "results" / "step_cost.csv"
GROSS = 1.5  # a ratio that --quick takes for a regression: the default costs up to 1.3 there
TRIES = 3  # of --quick: a pair of processes may be slow by luck for as long as it lives, a regression is slow each time


@DATASETS.register_module()
class RandomImages(Dataset):
    """Noise in the form of images, held in memory: loading costs next to nothing."""

    def __init__(self, shape: tuple[int, ...], classes: int = 0, size: int = 2048, test_mode: bool = False) -> None:
        self._images = torch.rand(size, *shape) * 2 - 1
        self._classes = classes

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._classes:
            return {"img": self._images[index], "gt_label": index % self._classes}
        return {"real_img": self._images[index]}


@dataclasses.dataclass(frozen=True)
class Case:
    """Networks and data of a comparison.

    Args:
        config: of the toolkit, or of this project.
        k: ascent steps in a cycle.
        batch: images in an iteration.
        data: arguments of :class:`RandomImages`; the config's own data if not given.
        overlay: settings laid over the config.
        turn: cycles in a turn.
    """

    config: str
    k: int
    batch: int
    data: dict[str, Any] | None = None
    overlay: dict[str, Any] = dataclasses.field(default_factory=dict)
    turn: int = 4


DCGAN = {"model.generator.output_scale": 32, "model.discriminator.input_scale": 32}
STYLE = {"model.generator.out_size": 32, "model.discriminator.in_size": 32, "model.generator.style_channels": 128}
CASES = {
    "four Gaussians": Case(str(ROOT / "configs/four_gaussians_gda.py"), 6, 512, turn=20),
    "MNIST networks": Case(str(ROOT / "configs/mnist01_gda.py"), 1, 128, turn=5),
    "DCGAN-32": Case(
        "dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py", 1, 64, dict(shape=(1, 32, 32)), DCGAN, turn=1
    ),
    "SNGAN-32, k = 1": Case(
        "sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        1, 16, dict(shape=(3, 32, 32), classes=10), turn=2,
    ),
    "SNGAN-32, k = 5": Case(
        "sngan_proj/sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1.py",
        5, 16, dict(shape=(3, 32, 32), classes=10), turn=1,
    ),
    "StyleGAN2-32": Case("styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py", 1, 4, dict(shape=(3, 32, 32)), STYLE, turn=2),
}  # fmt: skip
DEFAULT = "the default: paired, an eighth of the batch, held for 8 decisions"
CONSTANT = dict(type="constant", rate=0.2)
VARIANTS: dict[str, dict[str, Any]] = {
    "last": dict(estimator="last", acceptance=CONSTANT),
    "fresh": dict(estimator="fresh", acceptance=CONSTANT),
    "paired": dict(estimator="paired", acceptance=CONSTANT),
    "paired, a quarter of the batch, held for 8 decisions": dict(preset="practical"),
    DEFAULT: dict(),
}


def config(case: Case, variant: str | None) -> Config:
    """The config of one side of a comparison; ``None`` is the plain toolkit."""
    cfg = load_config(case.config)
    cfg.merge_from_dict(case.overlay)
    if case.data is not None:
        cfg.data = Config(dict(train=dict(type="RandomImages", **case.data)))._cfg_dict
    cfg.data.update(samples_per_gpu=case.batch, workers_per_gpu=0)
    cfg.train_cfg = {**(cfg.get("train_cfg") or {}), "disc_steps": case.k}
    bare(cfg).merge_from_dict(dict(lr_config=None))
    cfg.custom_hooks = [h for h in cfg.get("custom_hooks") or [] if h["type"] == "ExponentialMovingAverageHook"]
    cfg.evaluation = None
    cfg.total_iters = 10**6
    if variant is not None:
        opt_in(cfg, **VARIANTS[variant])
    return cfg


def fits(case: Case, variant: str) -> bool:
    return variant != "last" or case.k > 1  # with k = 1 it would be read before the discriminator has answered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two cases, few rounds; fails on a gross regression")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.cases, args.variants = ["four Gaussians", "MNIST networks"], ["last", DEFAULT]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    regressed = False
    for name in args.cases:
        case = CASES[name]
        for variant in args.variants:
            if not fits(case, variant):
                continue
            row = {"case": name, "k": case.k, "variant": variant, "threads": 1, "device": device}
            for _ in range(TRIES if args.quick else 1):
                sides = [config(case, v) for v in (None, variant)]
                row |= compare(sides, [case.turn * case.k] * 2, rounds=10 if args.quick else 20)
                if row["ratio_low"] <= GROSS:
                    break
            else:
                regressed = True
            memory = examine(config(case, variant)).memory
            row["snapshots_mib"] = next(mib for what, mib in memory.items() if what.startswith("kept"))
            plain_s = row["plain_ms"] * case.k / 1e3
            restores = float(variant != DEFAULT)  # the default restores the incumbent once in a thousand cycles
            row["limit"] = limit(sides[0], sides[1], case.k, plain_s, row["snapshots_mib"] * 2**20, restores)
            if not args.quick:
                keep(RESULT, [row | {"commit": commit()}], ["case", "variant", "threads", "device"])
            print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
    return int(args.quick and regressed)


if __name__ == "__main__":
    sys.exit(main())
