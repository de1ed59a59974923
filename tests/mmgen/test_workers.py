"""The random numbers of a loader's worker processes."""

import random

import numpy
import pytest
import torch
from mmgen.datasets import build_dataloader, builder

import minmax_plugin.mmgen  # noqa: F401


class Draws(torch.utils.data.Dataset):
    """Gives each sample what its process draws."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(drawn=torch.tensor([random.random(), numpy.random.rand(), float(torch.rand(()))]))


def drawn(seed=1, rank=0, epochs=2, **more):
    """What the workers of a loader draw in each epoch, of shape (epochs, 8, 3)."""
    torch.manual_seed(seed)  # as the training does
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "get_dist_info", lambda: (rank, 2))
        loader = build_dataloader(Draws(), 2, 2, dist=False, shuffle=False, seed=seed, **more)
    return torch.stack([torch.cat([batch["drawn"] for batch in loader]) for _ in range(epochs)])


@pytest.mark.parametrize("persistent", [False, True])
def test_each_epoch_worker_and_rank_draws_numbers_of_its_own(persistent):
    numbers = torch.stack([drawn(rank=rank, persistent_workers=persistent) for rank in (0, 1)])
    for library in range(3):
        assert len(numbers[..., library].unique()) == 2 * 2 * 8


def test_a_seed_says_what_workers_draw():
    assert torch.equal(drawn(seed=1), drawn(seed=1))
    assert not torch.equal(drawn(seed=1), drawn(seed=2))
