"""Certificates of trained GANs: how far one is from an equilibrium of f, on one fixed sample."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmcv.parallel import collate
from mmcv.runner import load_checkpoint
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader

from minmax_plugin.equilibrium import Certificate, certify
from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.adapters import GameAdapter, adapter_of
from minmax_plugin.mmgen.check import check_config, read_data
from minmax_plugin.mmgen.config import load_config, parse_options
from minmax_plugin.mmgen.train import build_network
from minmax_plugin.randomness import inference, seed_all


def certify_gan(model: nn.Module, batch: Mapping[str, Any], seed: int = 0, **settings: Any) -> Certificate:
    """Certify a trained GAN on one fixed sample, in inference mode.

    The points x and y are the networks' weights. The value f(x, y) is taken on the real images of ``batch`` and the
    fakes of one fixed draw of noise. So f is deterministic, as :func:`minmax_plugin.certify` needs it.

    The answer is an estimate, because it is about this sample's f. An improvement counts as refuted only if the
    ascent steps were enough to refute it. So few steps err on the safe side.

    Args:
        model: A model of the toolkit, with its weights loaded.
        batch: One batch of its training data.
        seed: The seed of the noise and of the proposals.
        settings: The settings of :func:`minmax_plugin.certify`.

    Raises:
        ValueError: If the model is no GAN that MinMax can drive, or a setting is out of range.
    """
    adapter = adapter_of(model)
    holder = _Value(adapter, batch, seed)
    x_weights, y_weights = (
        {name: weight.detach() for name, weight in holder.named_parameters() if name.startswith(player)}
        for player in ("generator.", "discriminator.")
    )

    def f(x: Tensor, y: Tensor) -> Tensor:
        return functional_call(holder, _split(x, x_weights) | _split(y, y_weights))

    with inference([adapter.model], seed, batch_statistics=True), torch.enable_grad():
        x, y = (parameters_to_vector(weights.values()) for weights in (x_weights, y_weights))
        return certify(f, x, y, seed=seed, **settings)


class _Value(nn.Module):
    """f as a module over both networks, so that other weights can take the place of theirs."""

    def __init__(self, adapter: GameAdapter, batch: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self.generator, self.discriminator = adapter.generator, adapter.discriminator
        self._adapter, self._batch, self._seed = adapter, batch, seed

    def forward(self) -> Tensor:
        seed_all(self._seed)  # the same noise each time; StyleGAN draws its mixing from python's
        return self._adapter.fresh_value(self._batch).mean()


def load_trained(
    config: str, options: Sequence[str], checkpoint: str, size: int, seed: int
) -> tuple[nn.Module, Mapping[str, Any]]:
    """Load a trained model, and a sample of its data.

    Args:
        config: The config file.
        options: The settings that override it, as ``a.b=value``.
        checkpoint: The checkpoint file.
        size: The number of real images in the sample.
        seed: The seed of the sample.

    Raises:
        ConfigError: If one of them cannot be used.
    """
    cfg = load_config(config, parse_options(options))
    cfg.evaluation = None  # its data are not needed
    check_config(cfg)
    model = build_network(cfg)
    try:
        load_checkpoint(model, os.path.expanduser(checkpoint), map_location="cpu", strict=True, logger="silent")
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise ConfigError(f"checkpoint {checkpoint!r} does not load into this config's model: {error}") from error
    loader = DataLoader(read_data(cfg), batch_size=size, collate_fn=partial(collate, samples_per_gpu=size))
    with inference([], seed):
        adapter = adapter_of(model)
        if adapter.builds_optimizers:
            raise ConfigError(f"model.type={cfg.model.type!r} grows in stages, which minmax-certify cannot follow.")
        (batch,) = adapter.load_pool(loader, 1)
    return model, batch


def _split(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = vector.split([weight.numel() for weight in like.values()])
    return {name: part.view_as(like[name]) for name, part in zip(like, parts, strict=True)}
