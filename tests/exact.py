"""Equality of nested states to the last bit."""

import torch
from torch.utils import _pytree


def assert_identical(one, other):
    """Raise unless two nested states have the same structure and bit-identical leaves (NaN equals NaN)."""
    leaves, structure = _pytree.tree_flatten(one)
    others, structure_of_other = _pytree.tree_flatten(other)
    assert structure == structure_of_other
    for a, b in zip(leaves, others, strict=True):
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype
            assert torch.equal(a.nan_to_num(nan=12345.0), b.nan_to_num(nan=12345.0))
        else:
            assert a == b or (a != a and b != b), (a, b)
