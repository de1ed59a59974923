"""Several processes of one training on the CPU, with gloo. The toolkit's launcher is for GPUs alone."""

from __future__ import annotations

import functools

import torch
from mmcv import Config
from mmcv.parallel import MMDistributedDataParallel
from mmgen.datasets.samplers import distributed_sampler
from mmgen.utils import sync_random_seed
from torch import distributed, nn


def on_host(launcher: str) -> bool:
    """Whether the processes that a launcher started train on the CPU."""
    return launcher == "pytorch" and not torch.cuda.is_available()


def join_ranks() -> None:
    """Join the process group of this training, and let the toolkit's sampler agree on its seed without a GPU."""
    distributed.init_process_group("gloo")
    distributed_sampler.sync_random_seed = functools.partial(sync_random_seed, device="cpu")


def distribute(model: nn.Module, cfg: Config) -> None:
    """Average the gradients of a model over the ranks, and give each rank its part of the data, in place.

    Each player is wrapped, as the toolkit's ``DDPWrapper`` does on GPUs.

    Args:
        model: The model, on the CPU. Its children with parameters to train are wrapped.
        cfg: The merged config. Its data loader becomes a distributed one.
    """
    cfg.data.train_dataloader = {**cfg.data.get("train_dataloader", {}), "dist": True}
    for name, module in model.named_children():
        if any(parameter.requires_grad for parameter in module.parameters()):
            unused = cfg.get("find_unused_parameters", False)
            wrapped = MMDistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=unused)
            setattr(model, name, wrapped)
