"""Repairs for what a fresh install of MMGeneration from PyPI lacks.

Each is applied only where its defect is present, and raises a clear error when the missing part is really
used. An installation from source with compiled mmcv-full needs none and gets none.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ADA = "mmgen.models.architectures.stylegan.ada"

ADA_MISSING = (
    "adaptive discriminator augmentation (ADA) is missing: the mmgen archive on PyPI lacks the package "
    f"{ADA}. Remove `data_aug` from the discriminator's config, or install mmgen from a source checkout."
)
OPS_MISSING = (
    "mmcv's compiled operation {name!r} is missing: the installed mmcv is the pure Python package. "
    "Replace it by mmcv-full (`pip uninstall mmcv`, then build mmcv-full for this torch)."
)

active_shims: dict[str, str] = {}
"""The shims that :func:`apply_shims` has put in place, and why."""


def apply_shims() -> None:
    """Put stand-ins where the installed toolkit has holes.

    Raises:
        ImportError: if MMGeneration or its mmcv 1.x is not installed.
    """
    for package in ("mmcv", "mmgen"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"minmax_plugin.mmgen needs {package}, which is not installed: run `make setup` in a clone, or follow "
                "the README's order (torch, setuptools<81 and wheel first, then --no-build-isolation)."
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
        import mmcv
    if int(mmcv.__version__.split(".")[0]) != 1:
        raise ImportError(f"minmax_plugin.mmgen needs mmcv 1.x, but mmcv {mmcv.__version__} is installed.")
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        _stand_in_for_ops()
        active_shims["mmcv._ext"] = "the installed mmcv has no compiled operations"
    if not _takes_mixed_betas():
        _repair_betas()
        active_shims["betas"] = "the installed torch refuses Adam betas of int and float, which stock configs have"
    if ADA not in sys.modules and not _has_ada():
        _stand_in_for_ada()
        active_shims[ADA] = "the installed mmgen archive lacks this package"


def check_operations(model: Any) -> None:
    """Refuse a model that would miss compiled operations where it is to run.

    Raises:
        ConfigError: if there is a GPU, its networks compute with mmcv's operations there, and these are missing.
    """
    import torch

    from minmax_plugin.mmgen.check import ConfigError

    if "mmcv._ext" not in active_shims or not torch.cuda.is_available():
        return
    places = {type(module).__module__ for module in model.modules()}
    if any(place.startswith(("mmcv.ops", "mmgen.models.architectures.stylegan")) for place in places):
        raise ConfigError(f"model: on a GPU, {OPS_MISSING.format(name='upfirdn2d')}")


def _takes_mixed_betas() -> bool:
    import torch

    try:
        torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0, 0.9))
    except ValueError:
        return False
    return True


def _repair_betas() -> None:
    # Where the toolkit turns a config entry into an optimizer: StyleGAN2 and 3 have betas=(0, 0.99).
    from mmcv.runner.optimizer import DefaultOptimizerConstructor

    stock = DefaultOptimizerConstructor.__init__
    if hasattr(stock, "__wrapped__"):
        return

    @wraps(stock)
    def with_float_betas(self: Any, optimizer_cfg: Any, paramwise_cfg: Any = None) -> None:
        if isinstance(optimizer_cfg, dict) and isinstance(optimizer_cfg.get("betas"), (tuple, list)):
            optimizer_cfg["betas"] = tuple(map(float, optimizer_cfg["betas"]))
        stock(self, optimizer_cfg, paramwise_cfg)

    DefaultOptimizerConstructor.__init__ = with_float_betas


def _has_ada() -> bool:
    # A look at the files: asking the import system would import mmgen.models, which fails without them.
    spec = importlib.util.find_spec("mmgen")
    places = (spec.submodule_search_locations if spec else None) or []
    folders = [Path(p) / "models" / "architectures" / "stylegan" / "ada" for p in places]
    return any((folder / "augment.py").is_file() for folder in folders)


def _stand_in_for_ops() -> None:
    # mmcv.ops asks for its functions at import; on the CPU, upfirdn2d and bias_leakyrelu never call them.
    class Ops(ModuleType):
        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name.startswith("__"):
                raise AttributeError(name)

            def missing(*args: Any, **kwargs: Any) -> NoReturn:
                raise NotImplementedError(OPS_MISSING.format(name=name))

            return missing

    ops = Ops("mmcv._ext")
    ops.__spec__ = importlib.util.spec_from_loader("mmcv._ext", loader=None)
    # Only these two are called by the toolkit itself, for its report of the environment.
    vars(ops)["get_compiler_version"] = lambda: "n/a (mmcv without compiled operations)"
    vars(ops)["get_compiling_cuda_version"] = lambda: "n/a (mmcv without compiled operations)"
    sys.modules["mmcv._ext"] = ops


def _stand_in_for_ada() -> None:
    class AugmentPipe:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(ADA_MISSING)

    def constant(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(ADA_MISSING)

    package, augment, misc = (ModuleType(name) for name in (ADA, f"{ADA}.augment", f"{ADA}.misc"))
    package.__path__ = []  # a package, to the import system
    vars(augment)["AugmentPipe"] = AugmentPipe
    vars(misc)["constant"] = constant
    sys.modules.update({ADA: package, f"{ADA}.augment": augment, f"{ADA}.misc": misc})
