"""The command ``minmax-certify CONFIG CHECKPOINT``: how far is a trained GAN from an equilibrium?"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmcv import DictAction
from mmcv.parallel import collate
from mmcv.runner import load_checkpoint
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader

from minmax_plugin.equilibrium import Certificate, certify
from minmax_plugin.mmgen.check import ConfigError, check_config, read_data
from minmax_plugin.mmgen.gans import GAN, gan_of
from minmax_plugin.mmgen.train import build_network, load_config
from minmax_plugin.value import inference, seed_all


def certify_gan(model: nn.Module, batch: Mapping[str, Any], seed: int = 0, **settings: Any) -> Certificate:
    """Certify a trained GAN on one fixed sample, in inference mode.

    x and y are the networks' weights; f(x, y) is the value on the real images of ``batch`` and the fakes of
    one fixed draw of noise, so a deterministic function, as :func:`minmax_plugin.certify` needs it. The
    answer is an estimate: it is about this sample's f, and with few ascent steps an improvement is only
    counted as refuted if they sufficed. That errs on the safe side.

    Args:
        model: a model of the toolkit, its weights loaded.
        batch: one batch of its training data.
        seed: of the noise and of the proposals.
        settings: of :func:`minmax_plugin.certify`.

    Raises:
        ValueError: for a model that is no GAN that MinMax can drive, or a setting out of range.
    """
    gan = gan_of(model)
    holder = _Value(gan, batch, seed)
    names_x = [f"generator.{n}" for n, _ in gan.generator.named_parameters()]
    names_y = [f"discriminator.{n}" for n, _ in gan.discriminator.named_parameters()]
    weights = dict(holder.named_parameters())
    like_x, like_y = [weights[n].detach() for n in names_x], [weights[n].detach() for n in names_y]

    def f(x: Tensor, y: Tensor) -> Tensor:
        parts = dict(zip(names_x, _split(x, like_x), strict=True)) | dict(zip(names_y, _split(y, like_y), strict=True))
        return functional_call(holder, parts)

    with inference([gan.model], seed), torch.enable_grad():
        return certify(f, _join(like_x), _join(like_y), seed=seed, **settings)


class _Value(nn.Module):
    """f as a module over both networks, so that their weights can be exchanged for others."""

    def __init__(self, gan: GAN, batch: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self.generator, self.discriminator = gan.generator, gan.discriminator
        self._gan, self._batch, self._seed = gan, batch, seed

    def forward(self) -> Tensor:
        seed_all(self._seed)  # the same noise each time; StyleGAN draws its mixing from python's
        return self._gan.fresh_value(self._batch).mean()


def _join(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.reshape(-1) for p in parts])


def _split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = vector.split([p.numel() for p in like])
    return [part.view_as(p) for part, p in zip(parts, like, strict=True)]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="minmax-certify",
        description="Test whether a trained GAN is an (epsilon, delta, omega) equilibrium, on a fixed sample.",
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--batch", type=int, default=512, help="real images in the sample (default: 512)")
    parser.add_argument("--samples", type=int, default=100, help="proposals (default: 100)")
    parser.add_argument("--epsilon", type=float, default=0.1, help="largest gradient norm in y (default: 0.1)")
    parser.add_argument("--delta", type=float, default=0.01, help="fall of f that counts (default: 0.01)")
    parser.add_argument("--omega", type=float, default=0.1, help="share of proposals that may improve (default: 0.1)")
    parser.add_argument("--proposal", choices=["gradient", "gaussian"], default="gradient", help="default: gradient")
    parser.add_argument("--step-size", type=float, default=0.1, help="of gradient proposals (default: 0.1)")
    parser.add_argument("--sigma", type=float, default=0.001, help="noise of proposals, in weights (default: 0.001)")
    parser.add_argument("--eta", type=float, default=0.05, help="step size of the ascents (default: 0.05)")
    parser.add_argument("--max-ascent-steps", type=int, default=50, help="cap of each ascent (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of sample, noise and proposals (default: 0)")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="settings to override, as a.b=value"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns 0 if the certificate holds, 1 if not, 2 for an input that is wrong."""
    settings = vars(parse_args(argv))
    path, checkpoint, size = (settings.pop(name) for name in ("config", "checkpoint", "batch"))
    try:
        cfg = load_config(path, settings.pop("cfg_options"))
        cfg.evaluation = None  # its data are not needed
        check_config(cfg)
        model = build_network(cfg)
        try:
            load_checkpoint(model, os.path.expanduser(checkpoint), map_location="cpu", strict=True, logger="silent")
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise ConfigError(f"checkpoint {checkpoint!r} does not load into this config's model: {error}") from error
        loader = DataLoader(read_data(cfg), batch_size=size, collate_fn=partial(collate, samples_per_gpu=size))
        with inference([], settings["seed"]):
            gan = gan_of(model)
            if gan.builds_optimizers:
                raise ConfigError(f"model.type={cfg.model.type!r} grows in stages, which minmax-certify cannot follow.")
            (batch,) = gan.load_pool(loader, 1)
        certificate = certify_gan(model, batch, **settings)
    except ValueError as error:
        print(f"minmax-certify: error: {error}", file=sys.stderr)
        return 2
    found = {**dataclasses.asdict(certificate), "share": certificate.share}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}
    images = min(len(part) for part in batch.values() if isinstance(part, Tensor))  # the data may have fewer than asked
    print(json.dumps({**settings, "sample": images, **finite}, indent=2))
    print(
        f"An estimate, on a fixed sample in inference mode: {'an' if certificate.holds else 'not shown to be an'} "
        f"equilibrium ({certificate.reason}).",
        file=sys.stderr,
    )
    return 0 if certificate.holds else 1


if __name__ == "__main__":
    sys.exit(main())
