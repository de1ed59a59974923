import subprocess
import sys


def test_the_core_imports_no_toolkit():
    code = (
        "import sys, minmax_plugin; "
        "print([m for m in ('mmcv', 'mmgen', 'ray', 'optuna', 'torchvision', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
