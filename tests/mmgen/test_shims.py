"""The shims, each in a process of its own, against toolkits with and without the defects."""

import subprocess
import sys
import textwrap
from pathlib import Path

import mmcv
import mmgen
import pytest
from mmcv import Config

from minmax_plugin.mmgen.shims import active_shims

ADA = "mmgen.models.architectures.stylegan.ada"


def python(code, *paths):
    prefix = "".join(f"sys.path.insert(0, {str(p)!r}); " for p in paths)
    code = f"import sys, warnings; warnings.simplefilter('ignore'); {prefix}\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def link_package(package, into):
    """A copy of a package made of links, so that a file can be added to it."""
    source = Path(package.__file__).parent
    for path in source.rglob("*.py"):
        target = into / source.name / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return into / source.name


@pytest.fixture
def source_install(tmp_path):
    """A toolkit without the defects: mmgen with its ada package, mmcv with compiled operations."""
    ada = link_package(mmgen, tmp_path) / "models/architectures/stylegan/ada"
    ada.mkdir(exist_ok=True)
    (ada / "augment.py").write_text("class AugmentPipe:\n    whole = True\n")
    (ada / "misc.py").write_text("def constant(*args, **kwargs): ...\n")
    ext = link_package(mmcv, tmp_path) / "_ext.py"
    ext.write_text("whole = True\ndef __getattr__(name):\n    return lambda *args: name\n")
    return tmp_path


ALL = sorted(["betas", "text", "checkpoints", "distributed", "pictures", "workers", "mmcv._ext", ADA])


@pytest.mark.skipif(sorted(active_shims) != ALL, reason="the installed toolkit is not PyPI's")
def test_a_pypi_install_gets_all_and_imports():
    done = python(
        """
        import minmax_plugin.mmgen, mmgen.models, mmgen.utils
        from minmax_plugin.mmgen.shims import active_shims
        print(sorted(active_shims), mmgen.utils.collect_env()["MMCV Compiler"])
        """
    )
    assert done.stdout.strip() == f"{ALL} n/a (mmcv without compiled operations)", done.stderr


def test_a_source_install_gets_no_stand_in(source_install):
    done = python(
        """
        import minmax_plugin.mmgen
        from mmgen.models.architectures.stylegan.generator_discriminator_v2 import AugmentPipe
        import mmcv._ext
        from minmax_plugin.mmgen.shims import active_shims
        defects = {"betas", "text", "checkpoints", "distributed", "pictures", "workers"}  # of all installs
        print(set(active_shims) - defects, AugmentPipe.whole, mmcv._ext.whole)
        """,
        source_install,
    )
    assert done.stdout.strip() == "set() True True", done.stderr


@pytest.mark.skipif("mmcv._ext" not in active_shims, reason="mmcv has compiled operations")
def test_a_compiled_operation_says_what_is_missing_when_called():
    import torch
    from mmcv.ops import nms

    with pytest.raises(NotImplementedError, match="mmcv's compiled operation 'nms' is missing.*mmcv-full"):
        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)


@pytest.mark.skipif("mmcv._ext" not in active_shims, reason="mmcv has compiled operations")
def test_cpu_paths_need_no_compiled_operation():
    import torch
    from mmcv.ops.upfirdn2d import upfirdn2d

    assert upfirdn2d(torch.ones(1, 1, 4, 4), torch.ones(2, 2), up=2).shape == (1, 1, 7, 7)


@pytest.mark.skipif(ADA not in active_shims, reason="mmgen has its ada package")
def test_ada_says_what_is_missing_when_built():
    from mmgen.models.builder import build_module

    with pytest.raises(NotImplementedError, match="adaptive discriminator augmentation .* is missing.*source checkout"):
        build_module(dict(type="ADAAug", aug_pipeline=dict()))


def test_without_the_toolkit_the_error_says_how_to_get_it():
    done = python(
        """
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "mmgen" else real(name, *a)
        import minmax_plugin.mmgen
        """
    )
    assert "ImportError: minmax_plugin.mmgen needs mmgen, which is not installed: run `make setup`" in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        *("Bob's", "a\"b'c", "C:\\new", "two\nlines", "é", "", float("inf"), [float("-inf"), "it's"], (1, "a'b\\")),
        *([dict(a="it's", b=[dict(c="\\t")]), 3], [dict(a="it's", d=[1, "b'"])], {"a'b": 1, "k": "v'"}),
    ],
    ids=repr,
)
def test_a_config_reads_back_from_what_is_written(tmp_path, value):
    written = Config(dict(estimator=value, nested=dict(estimator=value)))
    written.dump(str(tmp_path / "config.py"))
    read = Config.fromfile(str(tmp_path / "config.py"))
    assert read._cfg_dict.to_dict() == written._cfg_dict.to_dict()


def test_an_ordinary_config_is_written_as_without_us():
    code = "import sys; from mmcv import Config; print(Config.fromfile(sys.argv[1]).pretty_text)"
    path = Path(mmgen.__file__).parent / ".mim/configs/styleganv2/stylegan2_c2_ffhq_256_b4x8_800k.py"
    stock = subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], capture_output=True, text=True)
    assert stock.stdout == Config.fromfile(str(path)).pretty_text + "\n"


def test_another_mmcv_is_named():
    done = python("import mmcv; mmcv.__version__ = '2.0.1'; import minmax_plugin.mmgen")
    assert "ImportError: minmax_plugin.mmgen needs mmcv 1.x, but mmcv 2.0.1 is installed." in done.stderr


@pytest.mark.parametrize("betas", [(0, 0.99), [0, 0.99]])
def test_betas_of_int_and_float_make_an_optimizer(betas):
    import torch
    from mmcv.runner import build_optimizer

    optimizer = build_optimizer(torch.nn.Linear(1, 1), dict(type="Adam", lr=0.1, betas=betas))
    assert optimizer.param_groups[0]["betas"] == (0.0, 0.99)
    plain = build_optimizer(torch.nn.Linear(1, 1), dict(type="SGD", lr=0.1))
    assert plain.param_groups[0]["lr"] == 0.1


@pytest.mark.skipif("mmcv._ext" not in active_shims, reason="mmcv has compiled operations")
def test_a_model_that_needs_compiled_operations_is_refused_where_there_is_a_gpu(monkeypatch):
    import torch
    from mmgen.models.builder import build_module

    from minmax_plugin.errors import ConfigError
    from minmax_plugin.mmgen.shims import check_operations

    style = build_module(dict(type="StyleGAN2Discriminator", in_size=8, channel_multiplier=1))
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        check_operations(torch.nn.Linear(1, 1))
        if not gpu:
            check_operations(style)
            continue
        with pytest.raises(ConfigError, match="model: on a GPU, mmcv's compiled operation 'upfirdn2d' is missing"):
            check_operations(style)
