"""Write the tables of README.md and docs/conclusions.md from the committed results."""

from __future__ import annotations

from pathlib import Path

import pandas

from benchmarks.tables import filled, markdown
from experiments.__main__ import RESULTS
from experiments.page import summary
from experiments.stability.pictures import bad_steps_table, map_table, read_bad_steps, read_map
from experiments.stats import share

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "conclusions.md"
STABILITY, COSTS = RESULTS / "stability", ROOT / "benchmarks" / "results" / "step_cost.csv"
LINES = {  # of the README's table: the method of the map, and the remedy under R1
    "GDA, the usual training": ("gda", None),
    "GDA + R1": ("r1", "none"),
    "GDA + R1, clipped gradients": (None, "clip"),
    "MinMax's default + R1": ("default-r1", "default"),
    "random acceptance + R1, the control": ("random-default-r1", "random"),
}


def headline() -> str:
    """The README's table: the share of the map that trains, the runs that survive, and the cost."""
    cells, steps = read_map(STABILITY, "ring8"), read_bad_steps(STABILITY, "r1")
    hit, costs = steps[steps["trouble"] == "weight"], pandas.read_csv(COSTS)
    default = costs[(costs["case"] == "DCGAN-32") & costs["variant"].str.contains("the default")].iloc[0]
    rows = []
    for title, (method, remedy) in LINES.items():
        trained, alive = cells[cells["method"] == method], hit[hit["remedy"] == remedy]
        trains = share(int(trained["trained"].sum()), len(trained)) if len(trained) else "–"
        survives = share(int(alive["survived"].sum()), len(alive)) if len(alive) else "–"
        rows.append([title, trains, survives, f"{default['ratio']:.2f}" if "default" in title else ""])
    return markdown(["method", "trains", "survives", "cost of a step, DCGAN-32"], rows) + "\n"


PARTS = {
    README: {"stability": headline},
    PAGE: {
        "bad-steps": lambda: bad_steps_table(STABILITY, "r1") + "\n",
        "map": lambda: map_table(STABILITY, "ring8") + "\n",
        "results": lambda: summary(RESULTS),
    },
}


if __name__ == "__main__":
    for path, parts in PARTS.items():
        path.write_text(filled(path, parts))
