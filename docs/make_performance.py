"""Write the tables of docs/performance.md and docs/performance-details.md from the committed measurements."""

from __future__ import annotations

from pathlib import Path

import pandas

from benchmarks.tables import filled, markdown
from experiments.stats import wilson

DOCS = Path(__file__).parent
PAGE, DETAILS = DOCS / "performance.md", DOCS / "performance-details.md"
RESULTS = DOCS.parent / "benchmarks" / "results"
MARGIN = 0.03  # over the counted limit
DEFAULT, QUALITY = "the default", "paired, an eighth, held for 8"  # the default setting, in the two tables
REASONS = {  # of a target that is missed
    "four Gaussians": "Networks this small wait for Python.",
    "MNIST networks": "A pass of few samples reads all weights, so it costs more than its operations.",
    "DCGAN-32": "Other work ran beside it, so the interval is wide.",
    "SNGAN-32, k = 1": "Other work ran beside it, so the interval is wide.",
    "SNGAN-32, k = 5": "Other work ran beside it, so the interval is wide.",
    "StyleGAN2-32": "A turn takes 40 seconds, so the interval is wide.",
}


def overview() -> str:
    """The default setting on each network: the counted limit, the measured ratio, the agreement."""
    costs, good = pandas.read_csv(RESULTS / "step_cost.csv"), pandas.read_csv(RESULTS / "decision_quality.csv")
    rows = []
    for row in costs[costs["variant"].str.contains(DEFAULT, regex=False)].sort_values("case").itertuples():
        found = good[(good["case"] == row.case) & (good["estimator"] == QUALITY)]
        agrees = agreement(found.iloc[0]) if len(found) else "–"
        met = row.ratio_high < row.limit + MARGIN
        rows.append([row.case.partition(",")[0], row.k, f"{row.limit:.2f}", ratio(row), agrees])
        rows[-1].append("" if met else f"Missed. {REASONS[row.case]}")
    return markdown(["networks", "k", "limit", "measured", "right decisions", "target"], rows) + "\n"


def ratio(row: object) -> str:
    """A ratio with its interval."""
    return f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"  # type: ignore[attr-defined]


def agreement(row: pandas.Series[float]) -> str:
    """The share of right decisions, with its interval."""
    low, high = wilson(int(row["agreed"]), int(row["decisions"]))
    return f"{row['agreed'] / row['decisions']:.0%} ({low:.0%} to {high:.0%})"


def steps() -> str:
    """Time and memory of each pair, beside the counted limit."""
    frame = pandas.read_csv(RESULTS / "step_cost.csv").sort_values(["case", "variant"])
    header = ["networks", "k", "f read", "plain, ms", "limit", "time, ratio", "memory more, MiB", "captured, MiB"]
    rows = [
        [
            row.case,
            row.k,
            row.variant,
            f"{row.plain_ms:.1f}",
            f"{row.limit:.2f}",
            ratio(row),
            f"{row.more_mib:.1f}",
            f"{row.snapshots_mib:.1f}",
        ]
        for row in frame.itertuples()
    ]
    return f"{markdown(header, rows)}\n\n`python -m benchmarks.step_cost`; one thread, {where(frame)}.\n"


def quality() -> str:
    """How good the decisions of each estimator are."""
    frame = pandas.read_csv(RESULTS / "decision_quality.csv")
    rows = [
        [
            row["case"],
            row["estimator"],
            row["decisions"],
            row["unsure"],
            agreement(row),
            f"{row['error']:.2g}",
            f"{row['median_change']:.2g}",
        ]
        for _, row in frame.iterrows()
    ]
    header = ["networks", "f read", "sure", "unsure", "agrees", "error of f_new − f_old, sd", "median change"]
    commits = ", ".join(sorted(set(frame["commit"])))
    return f"{markdown(header, rows)}\n\n`python -m benchmarks.decision_quality` at {commits}.\n"


def loop() -> str:
    """Other methods, and growing networks, in a plain loop."""
    frame = pandas.read_csv(RESULTS / "plain_loop.csv").sort_values(["weights", "k"], kind="stable")
    rows = [[row.method, f"{row.weights:,}", row.k, f"{row.plain_ms:.1f}", ratio(row)] for row in frame.itertuples()]
    text = markdown(["method", "weights", "k", "plain cycle, ms", "time, ratio"], rows)
    return f"{text}\n\n`python -m benchmarks.plain_loop`; one thread, {where(frame)}.\n"


def importing() -> str:
    """What importing the package takes over importing torch."""
    frame = pandas.read_csv(RESULTS / "import_time.csv")
    ms = frame["ms"]
    return (
        f"`import minmax_plugin` takes {ms.median():.0f} ms over `import torch` (median of {len(ms)}, {ms.min():.0f} "
        f"to {ms.max():.0f}). `python -m benchmarks.import_time`; {where(frame)}.\n"
    )


def devices() -> str:
    """What the device suite found on each device: how many checks passed, the costs, and the map."""
    if not (RESULTS / "device.csv").exists():
        return "No device has been measured yet.\n"
    texts = []
    for device, frame in pandas.read_csv(RESULTS / "device.csv", dtype={"python": str}).groupby("device"):
        checks, measured = frame[frame["result"] != "measured"], frame[frame["result"] == "measured"]
        results = checks["result"].str.partition(":")[0].value_counts()
        rows = [
            [row.check, row.case, f"{row.value:.2f}" if pandas.isna(row.low) else interval(row)]
            for row in measured.itertuples()
        ]
        about = frame.iloc[0]
        found = ", ".join(f"{count} {result}" for result, count in results.items())
        texts.append(
            f"{device}, torch {about['torch']}, Python {about['python']}, at {about['commit']}. Checks: {found}.\n\n"
            + markdown(["measured", "case", "value"], rows)
        )
    return "\n\n".join(texts) + "\n"


def interval(row: object) -> str:
    """A value with its interval."""
    return f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"  # type: ignore[attr-defined]


def where(frame: pandas.DataFrame) -> str:
    """The machines and commits of the measurements."""
    return ", ".join(sorted(set(frame["device"] + " at " + frame["commit"])))


PARTS = {
    PAGE: {"overview": overview},
    DETAILS: {"steps": steps, "quality": quality, "loop": loop, "import": importing, "devices": devices},
}


if __name__ == "__main__":
    for path, parts in PARTS.items():
        path.write_text(filled(path, parts))
