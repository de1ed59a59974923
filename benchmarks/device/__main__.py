"""Check and measure the core on a device: ``python -m benchmarks.device --device cuda``, or ``make gpu``.

It needs torch and this repository, and no network. It is made to take under 8 minutes on a GPU. It writes
``benchmarks/results/device.csv``, from which docs/performance-details.md is made. ``--short`` does all checks and
measures next to nothing, in a minute on a CPU, and writes no table.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.device.checks import CHECKS, NotHere
from benchmarks.device.measures import costs, stability
from benchmarks.versions import ROOT, commit

RESULT = ROOT / "benchmarks" / "results" / "device.csv"
COLUMNS = ("device", "check", "case", "result", "value", "low", "high", "plain_ms", "torch", "python", "commit")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--short", action="store_true", help="all checks, few measurements, no table")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device=cuda: PyTorch finds no GPU. Use --device=cpu to run what does not need one.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # equal runs are equal to the last bit
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    began, rows = time.monotonic(), []
    for row in results(torch.device(args.device), args.short):
        rows.append(row)
        print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()), sep=" | ", flush=True)
    print(f"{time.monotonic() - began:.0f} seconds")
    if not args.short:
        keep(rows, torch.cuda.get_device_name() if args.device == "cuda" else platform.machine())
    return int(any(row["result"].startswith("failed") for row in rows))


def results(device: torch.device, short: bool) -> Any:
    """Run all checks and measurements, and yield a row for each."""
    measured = [row | {"result": "measured"} for measure in (costs, stability) for row in measure(device, short)]
    yield from measured
    for check, cases in CHECKS:
        for case in cases:
            row: dict[str, Any] = {"check": check.__name__, "case": case}
            try:
                found = check(device, case) or {}
                yield row | {"result": "passed"} | found
            except NotHere as reason:
                yield row | {"result": f"not run: {reason}"}
            except (AssertionError, RuntimeError, FloatingPointError) as error:
                yield row | {"result": f"failed: {str(error).splitlines()[0]}"}


def keep(rows: list[dict[str, Any]], device: str, file: Path = RESULT) -> None:
    """Write rows into the table, in place of those of the same device."""
    about = {"device": device, "torch": torch.__version__, "python": platform.python_version(), "commit": commit()}
    earlier = []
    if file.exists():
        with file.open(newline="") as stream:
            earlier = [row for row in csv.DictReader(stream) if row["device"] != device]
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in [*earlier, *({**row, **about} for row in rows)]:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    sys.exit(main())
