"""How good are decisions by each estimator of f, beside what they cost?

``python -m benchmarks.decision_quality`` trains, and at some decisions over the training it reads f by every estimator.
A reference on some 50,000 samples, paired, decides there. How often do they agree on whether f fell, and how large is
their error in f_new − f_old? It writes ``benchmarks/results/decision_quality.csv``, in some twenty minutes.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import pandas
import torch
from mmcv.runner import HOOKS, Hook

from benchmarks.tables import ROOT, commit, keep
from benchmarks.turns import bare
from minmax_plugin.estimators import Estimate, Estimator
from minmax_plugin.mmgen.config import load_config, opt_in
from minmax_plugin.mmgen.estimates import make_estimator
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.mmgen.train import train
from minmax_plugin.settings import EstimatorSettings, MinMaxSettings

RESULT = ROOT / "benchmarks" / "results" / "decision_quality.csv"
CASES = {"four Gaussians": "configs/four_gaussians_gda.py", "MNIST networks": "configs/mnist01_gda.py"}
SAMPLES = 50_000
COMPARISONS = 100  # in each training, at most
POOL = MinMaxSettings().pool
ESTIMATORS = {
    "last": EstimatorSettings("last"),
    "fresh": EstimatorSettings("fresh"),
    "fresh, f_old read again": EstimatorSettings("fresh", reread=True),
    "fresh, 4 batches": EstimatorSettings("fresh", batches=4),
    "paired": EstimatorSettings("paired"),
    "paired, a quarter of the batch": EstimatorSettings("paired", fraction=0.25),
    "paired, an eighth of the batch": EstimatorSettings("paired", fraction=0.125),
    "paired, a sixteenth of the batch": EstimatorSettings("paired", fraction=0.0625),
}


class Comparison(Estimator):
    """Reads f by all estimators at regular decisions, and by one of them at the others.

    Args:
        usual: decides at the other decisions.
        reference: decides at the comparisons.
        others: the estimators that are compared with it.
        every: decisions from one comparison to the next.
        kept: whether the last proposal was kept; otherwise f_old is an older value, and there is no comparison.
        note: called for each comparison and estimator, with the reference's f_new − f_old and its own.
    """

    def __init__(
        self,
        usual: Estimator,
        reference: Estimator,
        others: Mapping[str, Estimator],
        every: int,
        kept: Callable[[], bool],
        note: Callable[[str, float, float], None],
    ) -> None:
        self._usual, self._reference, self._others = usual, reference, others
        self._every, self._kept, self._note = every, kept, note
        self._count = 0
        self._old: dict[str, float] = {}
        self._comparing = False

    def evaluate_incumbent(self) -> None:
        self._count += 1
        self._comparing = self._count % self._every == 0 and self._kept()
        if not self._comparing:
            self._usual.evaluate_incumbent()
            return
        # What an estimator that does not read f_old again has of the incumbent: one value, from one batch.
        self._old = {name: float(estimator.evaluate_proposal().f_new) for name, estimator in self._others.items()}
        for estimator in (self._reference, *self._others.values()):
            estimator.evaluate_incumbent()

    def evaluate_proposal(self) -> Estimate:
        if not self._comparing:
            return self._usual.evaluate_proposal()
        self._comparing = False
        truth = self._reference.evaluate_proposal()
        for name, estimator in self._others.items():
            own = estimator.evaluate_proposal()
            f_old = own.f_old if own.f_old is not None else self._old[name]
            if truth.f_old is not None:
                self._note(name, float(truth.f_new - truth.f_old), float(own.f_new - f_old))
        return truth


@HOOKS.register_module()
class ComparesEstimators(Hook):
    """Has the run's MinMaxHook compare estimators: see :class:`Comparison`."""

    reads_weights = False

    def __init__(self, every: int, batches: int, note: Callable[[str, float, float], None]) -> None:
        self._every, self._note = every, note
        self._reference = EstimatorSettings("paired", batches=batches)

    def before_run(self, runner: Any) -> None:  # before MinMaxHook's, which builds its estimator there
        (minmax,) = [hook for hook in runner.hooks if isinstance(hook, MinMaxHook)]

        def make(batch: Callable[[], Any], seed: int) -> Estimator:
            adapter = minmax.adapter

            def held() -> Any:
                """One of the batches that would be held by default; the reference has all data."""
                batch()  # the first call loads them
                loaded = minmax._pool.batches  # type: ignore[union-attr]
                return loaded[int(torch.randint(min(POOL, len(loaded)), ()))]

            usable = {n: v for n, v in ESTIMATORS.items() if n != "last" or adapter.ascent_steps > 1}
            others = {
                n: make_estimator(v, adapter, held, seed + 7919 * i) for i, (n, v) in enumerate(usable.items(), start=1)
            }
            reference = make_estimator(self._reference, adapter, batch, seed + 7)

            def kept() -> bool:
                return minmax.decision is None or minmax.decision.accepted

            usual = make_estimator(minmax.settings.estimated, adapter, held, seed)
            return Comparison(usual, reference, others, self._every, kept, self._note)

        minmax.make_estimator = make  # type: ignore[method-assign]


def measure(case: str) -> pandas.DataFrame:
    """The differences that each estimator saw, beside the reference's, decision by decision."""
    rows: list[dict[str, Any]] = []
    cfg = bare(load_config(str(ROOT / CASES[case])))
    cfg.custom_hooks = []
    opt_in(cfg, acceptance=dict(type="constant", rate=0.2), estimator="paired", pool=10**6)  # a pool of all data

    def note(name: str, truth: float, own: float) -> None:
        rows.append({"estimator": name, "truth": truth, "own": own})

    cycles = cfg.total_iters // cfg.train_cfg.disc_steps
    batches = math.ceil(SAMPLES / cfg.data.samples_per_gpu)
    compares = dict(type="ComparesEstimators", every=cycles // COMPARISONS, batches=batches, note=note)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        train(cfg, seed=1, hooks=[dict(compares, priority="HIGHEST")])
    return pandas.DataFrame(rows)


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        for name, seen in measure(case).groupby("estimator", sort=False):
            agreed = (seen["truth"] < 0) == (seen["own"] < 0)
            error = float((seen["own"] - seen["truth"]).std())
            row = {"case": case, "estimator": name, "decisions": len(seen), "agreed": int(agreed.sum())}
            row |= {"error": error, "median_change": float(seen["truth"].abs().median())}
            rows.append(row | {"commit": commit()})
            print(row, flush=True)
    keep(RESULT, rows, ["case", "estimator"])


if __name__ == "__main__":
    main()
