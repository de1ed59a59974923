"""Repairs for what a fresh install of MMGeneration from PyPI lacks.

Each is applied only where its defect is present. It raises a clear error when the missing part is really used. An
installation from source with compiled mmcv-full lacks no part and gets none of the stand-ins.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from minmax_plugin.errors import ConfigError

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
"""The shims that :func:`apply_shims` has applied, and why."""


def apply_shims() -> None:
    """Install stand-ins for the parts that the installed toolkit lacks.

    Raises:
        ImportError: If MMGeneration or its mmcv 1.x is not installed.
    """
    for package in ("mmcv", "mmgen"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"minmax_plugin.mmgen needs {package}, which is not installed: run `make setup` in a clone, or follow "
                "the README's order (torch, setuptools<81 and wheel first, then --no-build-isolation)."
            )
    # Other parts say it again, and the doctor lists the hardware and what is missing.
    warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
    logging.getLogger("torch.utils.cpp_extension").addFilter(lambda record: "No CUDA runtime" not in record.msg)
    import mmcv

    if int(mmcv.__version__.split(".")[0]) != 1:
        raise ImportError(f"minmax_plugin.mmgen needs mmcv 1.x, but mmcv {mmcv.__version__} is installed.")
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        _stand_in_for_ops()
        active_shims["mmcv._ext"] = "the installed mmcv has no compiled operations"
    _repair_betas()
    active_shims["betas"] = "torch refuses Adam betas of int and float, which stock configs have"
    if not _writes_what_it_reads():
        _repair_text()
        active_shims["text"] = (
            "the installed mmcv writes config texts whose quotes, backslashes and inf do not read back"
        )
    if ADA not in sys.modules and not _has_ada():
        _stand_in_for_ada()
        active_shims[ADA] = "the installed mmgen archive lacks this package"
    _quiet_toolkit()
    _repair_checkpoints()
    active_shims["checkpoints"] = "the toolkit saves numbers of NumPy, which torch.load refuses since 2.6"
    _repair_distributed()
    active_shims["distributed"] = "the installed mmcv's distributed wrapper reads an attribute that torch removed"
    _repair_workers()
    active_shims["workers"] = "the toolkit seeds its loader's workers alike in each epoch"
    from minmax_plugin.mmgen.pictures import repair_pictures

    repair_pictures()
    active_shims["pictures"] = "the toolkit lists pictures in the disk's order, and does not name an unreadable one"


def check_operations(model: Any) -> None:
    """Refuse a model that would miss compiled operations on this machine.

    Raises:
        ConfigError: If there is a GPU, its networks compute with mmcv's operations there, and these are missing.
    """
    import torch

    if "mmcv._ext" not in active_shims or not torch.cuda.is_available():
        return
    places = {type(module).__module__ for module in model.modules()}
    if any(place.startswith(("mmcv.ops", "mmgen.models.architectures.stylegan")) for place in places):
        raise ConfigError(f"model: on a GPU, {OPS_MISSING.format(name='upfirdn2d')}")


def _quiet_toolkit() -> None:
    # It asks git for a version, and outside of a clone git says so. Where a config cannot be read, Python says that its
    # copy is gone before it was closed.
    from mmcv.utils import config, version_utils

    def output(command: list[str]) -> bytes:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout

    version_utils._minimal_ext_cmd = output
    config.tempfile = SimpleNamespace(
        TemporaryDirectory=tempfile.TemporaryDirectory,
        NamedTemporaryFile=partial(tempfile.NamedTemporaryFile, delete=False),  # its folder goes
    )


def _repair_distributed() -> None:
    from mmcv.parallel import MMDistributedDataParallel

    MMDistributedDataParallel._use_replicated_tensor_module = False


def _repair_workers() -> None:
    from mmgen.datasets import builder

    builder.worker_init_fn = seed_worker


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seed a loader's worker. Workers start in each epoch, and the toolkit gives them the same ``seed`` each time.

    Torch has given this process a number that its loader draws in each epoch, from the random state of the training.
    """
    import torch

    from minmax_plugin.randomness import seed_all

    seed_all(torch.initial_seed() + num_workers * rank)  # ranks may draw the same number


def _repair_betas() -> None:
    # The toolkit turns a config entry into an optimizer here. StyleGAN2 and 3 have betas=(0, 0.99).
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


def _writes_what_it_reads() -> bool:
    from mmcv import Config

    return Config(dict(path="a\\b")).pretty_text.strip() == r"path = 'a\\b'"


def _repair_text() -> None:
    # Config.dump writes this text too, and the searches keep their configs as such files.
    from mmcv import Config

    stock = Config.pretty_text.fget

    def pretty_text(self: Any) -> str:
        return stock(Config(_escaped(self._cfg_dict.to_dict())))

    Config.pretty_text = property(pretty_text, doc=Config.pretty_text.__doc__)


def _escaped(value: Any, quoted: bool = True) -> Any:
    """Escape a value, so that it reads back the same after mmcv has quoted it or (not ``quoted``) taken its repr."""
    if isinstance(value, dict):
        return {_escaped(k, quoted): _escaped(v, quoted) for k, v in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [_escaped(item, quoted) for item in value]
    if isinstance(value, (list, tuple)):
        return type(value)(_escaped(item, quoted=False) for item in value)
    if isinstance(value, str) and quoted:
        return repr('"' + value)[2:-1]  # a double quote has repr take single ones, as mmcv does
    if isinstance(value, float) and not math.isfinite(value):
        return _Infinite(value)
    return value


class _Infinite(float):
    """inf or nan, written as what Python reads."""

    def __repr__(self) -> str:
        return f"float('{float(self)}')"


def _repair_checkpoints() -> None:
    from mmcv.runner import IterBasedRunner
    from mmgen.core.runners import DynamicIterBasedRunner

    from minmax_plugin.mmgen.plain import resume_on_cpu, save_plainly
    from minmax_plugin.plain import load_numpy_numbers

    load_numpy_numbers()
    for runner in (IterBasedRunner, DynamicIterBasedRunner):
        if not hasattr(runner.save_checkpoint, "__wrapped__"):
            save_plainly(runner)
            resume_on_cpu(runner)


def _has_ada() -> bool:
    # A look at the files, because the import system would import mmgen.models, which fails without them.
    spec: Any = importlib.util.find_spec("mmgen")
    return (Path(spec.origin).parent / "models/architectures/stylegan/ada/augment.py").is_file()


def _missing(message: str) -> Callable[..., NoReturn]:
    """Return what stands for a missing function or class: calling it raises an error with this message."""

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(message)

    return missing


def _stand_in_for_ops() -> None:
    # mmcv.ops asks for its functions at import; on the CPU, upfirdn2d and bias_leakyrelu never call them.
    class Ops(ModuleType):
        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name.startswith("__"):
                raise AttributeError(name)
            return _missing(OPS_MISSING.format(name=name))

    ops = Ops("mmcv._ext")
    ops.__spec__ = importlib.util.spec_from_loader("mmcv._ext", loader=None)
    # Only these two are called by the toolkit itself, for its report of the environment.
    vars(ops)["get_compiler_version"] = lambda: "n/a (mmcv without compiled operations)"
    vars(ops)["get_compiling_cuda_version"] = lambda: "n/a (mmcv without compiled operations)"
    sys.modules["mmcv._ext"] = ops


def _stand_in_for_ada() -> None:
    package, augment, misc = (ModuleType(name) for name in (ADA, f"{ADA}.augment", f"{ADA}.misc"))
    package.__path__ = []  # a package, to the import system
    vars(augment)["AugmentPipe"] = vars(misc)["constant"] = _missing(ADA_MISSING)
    sys.modules.update({ADA: package, f"{ADA}.augment": augment, f"{ADA}.misc": misc})
