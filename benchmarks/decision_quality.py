"""How good are decisions by each estimator of f? Beside what it costs, what it is worth.

``python benchmarks/decision_quality.py`` trains by decisions on some 50,000 samples, paired, and at each of them asks
the estimators too: how often do they agree on whether f fell, and how large is their error in f_new − f_old? It
writes ``benchmarks/results/decision_quality.csv``. Some ten minutes.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
from mmcv.runner import HOOKS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minmax_plugin.mmgen.estimates import ValueSetting  # noqa: E402
from minmax_plugin.mmgen.hook import MinMaxHook  # noqa: E402
from minmax_plugin.mmgen.optin import opt_in  # noqa: E402
from minmax_plugin.mmgen.train import load_config, train  # noqa: E402
from minmax_plugin.value import Estimate, Estimator  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "decision_quality.csv"
CASES = {"four Gaussians": "configs/four_gaussians_gda.py", "MNIST networks": "configs/mnist01_gda.py"}
SAMPLES = 50_000
ESTIMATORS = {
    "last": ValueSetting("last"),
    "fresh": ValueSetting("fresh"),
    "fresh, f_old read again": ValueSetting("fresh", reread=True),
    "fresh, 4 batches": ValueSetting("fresh", batches=4),
    "paired": ValueSetting("paired"),
    "paired, a quarter of the batch": ValueSetting("paired", fraction=0.25),
    "paired, an eighth of the batch": ValueSetting("paired", fraction=0.125),
    "paired, a sixteenth of the batch": ValueSetting("paired", fraction=0.0625),
}


class Comparison(Estimator):
    """Reads f by all estimators at once; the reference decides.

    Args:
        reference: the estimator that the game goes by.
        others: the estimators that are compared with it.
        kept: whether the last proposal was kept.
        note: told of each decision and estimator the reference's f_new − f_old and its own.
    """

    def __init__(
        self,
        reference: Estimator,
        others: Mapping[str, Estimator],
        kept: Callable[[], bool],
        note: Callable[[str, float, float], None],
    ) -> None:
        self._reference, self._others, self._kept, self._note = reference, others, kept, note
        self._old: dict[str, float] = {}
        self._new: dict[str, float] = {}

    def before(self) -> None:
        if self._kept():
            self._old = dict(self._new)
        for estimator in (self._reference, *self._others.values()):
            estimator.before()

    def after(self) -> Estimate:
        truth = self._reference.after()
        for name, estimator in self._others.items():
            own = estimator.after()
            f_old = own.f_old if own.f_old is not None else self._old.get(name)
            self._new[name] = float(own.f_new)
            if f_old is not None and truth.f_old is not None:
                self._note(name, float(truth.f_new) - truth.f_old, float(own.f_new) - f_old)
        return truth


@HOOKS.register_module()
class ComparesEstimators(MinMaxHook):
    """The hook, deciding by many samples and noting what the estimators would say.

    Args:
        batch: of the config.
        note: see :class:`Comparison`.
        settings: of :class:`MinMaxHook`.
    """

    def __init__(self, batch: int, note: Callable[[str, float, float], None], **settings: Any) -> None:
        super().__init__(value=dict(type="paired", batches=math.ceil(SAMPLES / batch)), **settings)
        self.value = _Setting(self.value, note, lambda: self.decision is None or self.decision.accepted)  # type: ignore[assignment]


class _Setting:
    """In the place of the hook's setting: builds the reference and all the others."""

    def __init__(self, reference: ValueSetting, note: Callable[..., None], kept: Callable[[], bool]) -> None:
        self._reference, self._note, self._kept = reference, note, kept

    def estimator(self, gan: Any, batch: Callable[[], Any], seed: int) -> Estimator:
        usable = {n: v for n, v in ESTIMATORS.items() if n != "last" or gan.ascent_steps > 1}
        others = {name: v.estimator(gan, batch, seed + 7919 * i) for i, (name, v) in enumerate(usable.items(), start=1)}
        return Comparison(self._reference.estimator(gan, batch, seed), others, self._kept, self._note)


def measure(case: str, decisions: int) -> pandas.DataFrame:
    """The differences that each estimator saw, beside the reference's, decision by decision."""
    rows: list[dict[str, Any]] = []
    cfg = load_config(str(ROOT / CASES[case]))
    cfg.merge_from_dict(dict(custom_hooks=[], checkpoint_config=None, log_level="ERROR"))
    cfg.log_config = dict(interval=10**6, hooks=[])
    cfg.total_iters = decisions * cfg.train_cfg.disc_steps
    opt_in(cfg)
    cfg.custom_hooks = []
    hook = dict(
        type="ComparesEstimators",
        batch=cfg.data.samples_per_gpu,
        note=lambda name, truth, own: rows.append({"estimator": name, "truth": truth, "own": own}),
        acceptance=dict(type="constant", rate=0.2),
        pool=10**6,  # all of the data
    )
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        train(cfg, seed=1, hooks=[hook])
    return pandas.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100, help="of each training (default: 100)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    rows = []
    for case in CASES:
        for name, seen in measure(case, args.decisions).groupby("estimator", sort=False):
            agreed = (seen["truth"] < 0) == (seen["own"] < 0)
            error = float((seen["own"] - seen["truth"]).std())
            row = {"case": case, "estimator": name, "decisions": len(seen), "agreed": int(agreed.sum())}
            row |= {"error": error, "median_change": float(seen["truth"].abs().median())}
            rows.append(row | {"commit": commit.stdout.strip()})
            print(row, flush=True)
    pandas.DataFrame(rows).to_csv(RESULT, index=False, float_format="%.4g")
    return 0


if __name__ == "__main__":
    sys.exit(main())
