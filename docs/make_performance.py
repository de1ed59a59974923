"""Write the tables of docs/performance.md from the committed measurements."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas
from scipy import stats

DOCS = Path(__file__).parent
PAGE = DOCS / "performance.md"
RESULTS = DOCS.parent / "benchmarks" / "results"
WHOLE = ("StyleGAN2-32",)  # batches of 4, of which a part is all
MARKS = "<!-- {name} -->\n", "<!-- end of {name} -->"


def target(case: str, k: int, variant: str) -> tuple[float, float]:
    """What was aimed at: the ratio of times, and the memory over what is kept for a rejection, as a share of plain."""
    if variant == "last":
        time, memory = 1.02, 0.02
    elif variant == "fresh":
        time, memory = 1.22 if k < 5 else 1.08, 0.05
    elif variant == "paired" or case in WHOLE:
        time, memory = 1.30 if k < 5 else 1.15, 0.05
    else:
        time, memory = 1.10, 0.05
    return 1.10 if case == "four Gaussians" else time, memory


def steps() -> str:
    """Time and memory of each pair, with its targets."""
    frame = pandas.read_csv(RESULTS / "step_cost.csv").sort_values(["case", "threads", "variant"])
    lines = [
        "| networks | k | f read | threads | plain, ms | time, ratio | target | memory more, MiB | at most, MiB |",
        "|---" * 9 + "|",
    ]
    for row in frame.itertuples():
        time, memory = target(row.case, row.k, row.variant)
        ratio = f"{row.ratio:.3f} ({row.ratio_low:.3f} to {row.ratio_high:.3f})"
        most = row.snapshots_mib + memory * row.plain_mib
        cells = [row.case, row.k, row.variant, row.threads, f"{row.plain_ms:.1f}"]
        cells += [f"**{ratio}**" if row.ratio > time else ratio, f"{time:.2f}"]
        more = f"{row.more_mib:.1f}"
        cells += [f"**{more}**" if row.more_mib > most else more, f"{most:.1f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    where = ", ".join(sorted({f"{row.device} at {row.commit}" for row in frame.itertuples()}))
    return "\n".join([*lines, "", f"`python benchmarks/step_cost.py`; {where}. Bold: the target is missed.", ""])


def quality() -> str:
    """How good the decisions of each estimator are."""
    frame = pandas.read_csv(RESULTS / "decision_quality.csv")
    lines = ["| networks | f read | decisions | agrees | error of f_new − f_old, sd | median change |"]
    lines.append("|---" * 6 + "|")
    for row in frame.itertuples():
        interval = stats.binomtest(row.agreed, row.decisions).proportion_ci(method="wilson")
        share = f"{row.agreed / row.decisions:.0%} ({interval.low:.0%}–{interval.high:.0%})"
        cells = [row.case, row.estimator, row.decisions, share, f"{row.error:.2g}", f"{row.median_change:.2g}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    where = ", ".join(sorted(set(frame["commit"])))
    return "\n".join([*lines, "", f"`python benchmarks/decision_quality.py` at {where}.", ""])


def loop() -> str:
    """Other methods, and growing networks, in a plain loop."""
    frame = pandas.read_csv(RESULTS / "plain_loop.csv").sort_values(["weights", "k"], kind="stable")
    lines = ["| method | weights | k | plain cycle, ms | time, ratio |", "|---" * 5 + "|"]
    for row in frame.itertuples():
        ratio = f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
        lines.append(f"| {row.method} | {row.weights:,} | {row.k} | {row.plain_ms:.1f} | {ratio} |")
    where = ", ".join(sorted({f"{row.device} at {row.commit}" for row in frame.itertuples()}))
    return "\n".join([*lines, "", f"`python benchmarks/plain_loop.py`; one thread, {where}.", ""])


def importing() -> str:
    """What importing the package takes over importing torch."""
    frame = pandas.read_csv(RESULTS / "import_time.csv")
    ms, (where,) = frame["ms"], set(frame["device"] + " at " + frame["commit"])
    return (
        f"`import minmax_plugin` takes {ms.median():.0f} ms over `import torch` (median of {len(ms)}, {ms.min():.0f} "
        f"to {ms.max():.0f}; target 50). `python benchmarks/import_time.py`; {where}.\n"
    )


def page(text: str) -> str:
    """The page with its tables made anew."""
    for name, make in (("steps", steps), ("quality", quality), ("loop", loop), ("import", importing)):
        start, end = (mark.format(name=name) for mark in MARKS)
        head, rest = text.split(start)
        text = head + start + make() + rest[rest.index(end) :]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    sys.exit(0)
