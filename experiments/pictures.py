"""Pictures of single runs: samples over the training, and f with the share of kept proposals."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import matplotlib
import pandas
from mmcv import Config

from benchmarks.tables import keep
from experiments.collect import ended
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS
from minmax_tune.study import Search

matplotlib.use("Agg")

SEED = 1  # of the runs that are shown: the first of each method
RUNS = ("released", "best")  # whose f is shown
STRIPS = ("gda-6", "gda-1", "practical", *RUNS, "random-best", "gda-best", "best-unrolled")  # whose samples are
COLUMNS = 5  # pictures of samples in a strip
WINDOW = 50  # decisions of each share of kept proposals


def write_decisions(place: Path, into: Path, experiment: str) -> None:
    """Write ``EXPERIMENT_decisions.csv``: f and whether the proposal was kept, at each decision of a run."""
    frames = []
    for method in RUNS:
        file = _run_folder(place / experiment / method) / "decisions.jsonl"
        if file.exists():
            frame = pandas.DataFrame(map(json.loads, file.read_text().splitlines()))
            frame = frame[["index", "f_new", "accepted"]].astype({"accepted": int})
            frames.append(frame.assign(method=method, seed=SEED))
    if frames:
        keep(into / f"{experiment}_decisions.csv", pandas.concat(frames), ["method"])


def draw_decisions(source: Path, experiment: str, images: Path) -> str | None:
    """Draw f and the share of kept proposals from what :func:`write_decisions` wrote; return the picture's name."""
    import seaborn

    file = source / f"{experiment}_decisions.csv"
    if not file.exists():
        return None
    frame = pandas.read_csv(file)
    kept = frame.groupby("method")["accepted"].transform(lambda a: a.rolling(WINDOW, min_periods=1).mean())
    frame["method"] = frame["method"].map(lambda method: METHODS[method].title)
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    seaborn.lineplot(frame, x="index", y="f_new", hue="method", ax=above, linewidth=0.7)
    seaborn.lineplot(frame.assign(kept=kept), x="index", y="kept", hue="method", ax=below, legend=False)
    above.set(ylabel="f")
    above.legend(title=None)
    below.set(xlabel="cycle", ylabel=f"kept, of the last {WINDOW}", ylim=(0, 1.02))
    name = f"run_{experiment}.png"
    figure.savefig(images / name, dpi=100)
    return name


def draw_samples(place: Path, experiment: str, images: Path) -> None:
    """Draw a strip of the samples of a run, for each method whose runs are here."""
    for method in STRIPS:
        pictures = _samples(place / experiment / method)
        if not pictures:
            continue
        figure = matplotlib.figure.Figure(figsize=(1.7 * COLUMNS, 1.85), layout="constrained")
        strip = figure.subplots(1, COLUMNS)
        for axes in strip:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, (cycle, picture) in zip(strip, pictures, strict=False):  # a run may have fewer
            axes.imshow(matplotlib.image.imread(picture), cmap="gray")
            axes.set_title(f"cycle {cycle}", fontsize=7)
        strip[0].set_ylabel(textwrap.fill(METHODS[method].title, 24), fontsize=7)
        figure.savefig(images / f"samples_{experiment}_{method}.png", dpi=90)


def strips_of(experiment: str, images: Path) -> dict[str, str]:
    """The names of the strips that :func:`draw_samples` drew, by what they show."""
    names = {method: f"samples_{experiment}_{method}.png" for method in STRIPS}
    title = f"on {EXPERIMENTS[experiment].title}: samples over cycles, seed {SEED}"
    return {f"{METHODS[m].title}, {title}": name for m, name in names.items() if (images / name).exists()}


def _samples(folder: Path) -> list[tuple[int, Path]]:
    """Cycles and pictures of a run, spread over the cycles that all methods have."""
    run = _run_folder(folder)
    config = next(iter(run.glob("*.py")), None)
    if config is None:
        return []
    per_cycle = Config.fromfile(str(config)).iterations_per_cycle
    cycles = EXPERIMENTS[folder.parent.name].cycles
    wanted = [cycles * (i + 1) // COLUMNS for i in range(COLUMNS)]
    drawn = {round(int(path.stem.removeprefix("iter_")) / per_cycle): path for path in run.glob("samples/*.png")}
    nearest = {min(drawn, key=lambda c: abs(c - cycle)) for cycle in wanted} if drawn else set()
    return [(cycle, drawn[cycle]) for cycle in sorted(nearest)]


def _run_folder(folder: Path) -> Path:
    """The folder of a method's run with the seed that is shown; it does not exist if there is no such run."""
    if not (folder / "search.json").exists():
        return folder / "none"
    record = Search.open(folder)
    (study,) = record.configs
    shown = (trial.number for trial in ended(record, study) if trial.params["seed"] == SEED)
    return next((record.trial_folder(study, number) for number in shown), folder / "none")
