"""Write the tables of docs/performance.md from the committed measurements."""

from __future__ import annotations

from pathlib import Path

import pandas

from benchmarks.tables import between, markdown
from experiments.stats import wilson

DOCS = Path(__file__).parent
PAGE = DOCS / "performance.md"
RESULTS = DOCS.parent / "benchmarks" / "results"
WHOLE = ("StyleGAN2-32",)  # batches of 4, of which a part is all


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
    header = ["networks", "k", "f read", "threads", "plain, ms", "time, ratio", "target", "memory more, MiB"]
    rows = []
    for row in frame.itertuples():
        time, memory = target(row.case, row.k, row.variant)
        ratio = f"{row.ratio:.3f} ({row.ratio_low:.3f} to {row.ratio_high:.3f})"
        most = row.snapshots_mib + memory * row.plain_mib
        more = f"{row.more_mib:.1f}"
        rows.append([row.case, row.k, row.variant, row.threads, f"{row.plain_ms:.1f}"])
        rows[-1] += [f"**{ratio}**" if row.ratio > time else ratio, f"{time:.2f}"]
        rows[-1] += [f"**{more}**" if row.more_mib > most else more, f"{most:.1f}"]
    about = f"`python -m benchmarks.step_cost`; {where(frame)}. Bold: the target is missed."
    return f"{markdown([*header, 'at most, MiB'], rows)}\n\n{about}\n"


def quality() -> str:
    """How good the decisions of each estimator are."""
    frame = pandas.read_csv(RESULTS / "decision_quality.csv")
    rows = []
    for row in frame.itertuples():
        low, high = wilson(row.agreed, row.decisions)
        share = f"{row.agreed / row.decisions:.0%} ({low:.0%}–{high:.0%})"
        rows.append([row.case, row.estimator, row.decisions, share, f"{row.error:.2g}", f"{row.median_change:.2g}"])
    header = ["networks", "f read", "decisions", "agrees", "error of f_new − f_old, sd", "median change"]
    commits = ", ".join(sorted(set(frame["commit"])))
    return f"{markdown(header, rows)}\n\n`python -m benchmarks.decision_quality` at {commits}.\n"


def loop() -> str:
    """Other methods, and growing networks, in a plain loop."""
    frame = pandas.read_csv(RESULTS / "plain_loop.csv").sort_values(["weights", "k"], kind="stable")
    rows = []
    for row in frame.itertuples():
        ratio = f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
        rows.append([row.method, f"{row.weights:,}", row.k, f"{row.plain_ms:.1f}", ratio])
    text = markdown(["method", "weights", "k", "plain cycle, ms", "time, ratio"], rows)
    return f"{text}\n\n`python -m benchmarks.plain_loop`; one thread, {where(frame)}.\n"


def importing() -> str:
    """What importing the package takes over importing torch."""
    frame = pandas.read_csv(RESULTS / "import_time.csv")
    ms = frame["ms"]
    return (
        f"`import minmax_plugin` takes {ms.median():.0f} ms over `import torch` (median of {len(ms)}, {ms.min():.0f} "
        f"to {ms.max():.0f}; target 50). `python -m benchmarks.import_time`; {where(frame)}.\n"
    )


def where(frame: pandas.DataFrame) -> str:
    """The machines and commits of the measurements."""
    return ", ".join(sorted(set(frame["device"] + " at " + frame["commit"])))


def page(text: str) -> str:
    """The page with its tables made again."""
    for name, make in (("steps", steps), ("quality", quality), ("loop", loop), ("import", importing)):
        text = between(text, name, make())
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
