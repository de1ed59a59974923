"""Equality of nested states to the last bit, and copies of them."""

import collections

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


def look(optimizer):
    """All that an optimizer keeps, copied."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    places = {id(p): i for i, p in enumerate(parameters)}
    own = {k: v for k, v in vars(optimizer).items() if not k.startswith("_") and k not in ("param_groups", "defaults")}
    states = own.pop("state").items()
    return plain(
        {
            "weights": parameters,
            "states": {places.get(id(k), k): v for k, v in states if not (isinstance(v, dict) and not v)},
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
            "attributes": own,
        }
    )


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, torch.optim.Optimizer):
        return look(value)
    if isinstance(value, dict):
        return {k: plain(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, (list, tuple, collections.deque)):
        return [plain(v) for v in value]
    return plain(vars(value)) if hasattr(value, "__dict__") and not callable(value) else value
