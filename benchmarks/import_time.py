"""How long ``import minmax_plugin`` takes over ``import torch``: ``python -m benchmarks.import_time``.

Each time in a fresh process, after a first one that has read the files. It writes
``benchmarks/results/import_time.csv``.
"""

from __future__ import annotations

import platform
import subprocess
import sys

import pandas

from benchmarks.tables import ROOT, commit

RESULT = ROOT / "benchmarks" / "results" / "import_time.csv"
CODE = """
import time, torch
began = time.perf_counter()
import minmax_plugin
print(1e3 * (time.perf_counter() - began))
"""
TIMES = 10


def main() -> None:
    found = [
        float(subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(TIMES + 1)
    ][1:]
    frame = pandas.DataFrame({"ms": found}).assign(device=platform.machine(), commit=commit())
    frame.to_csv(RESULT, index=False, float_format="%.4g")
    print(frame["ms"].describe())


if __name__ == "__main__":
    main()
