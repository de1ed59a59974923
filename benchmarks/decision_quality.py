"""How good are decisions by each estimator of f, beside what they cost?

``python -m benchmarks.decision_quality`` trains. At some blocks of decisions over the training, each estimator reads f
as it would if the run were its own. A reference decides there. It reads both pairs on the same batches, and takes
more of them until the sign of f_new − f_old is sure at three standard errors. A decision whose sign stays unsure is
counted apart. It writes ``benchmarks/results/decision_quality.csv``, in some two hours on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas
import torch
from mmcv import Config
from mmcv.runner import HOOKS, Hook
from mmgen.datasets.builder import DATASETS
from torch import Tensor
from torch.nn.functional import pad

from benchmarks import step_cost
from benchmarks.tables import ROOT, commit, keep
from benchmarks.turns import bare
from minmax_plugin import MinMaxGame, inference
from minmax_plugin.estimators import Estimate, Estimator
from minmax_plugin.mmgen.adapters import GameAdapter
from minmax_plugin.mmgen.config import load_config, opt_in
from minmax_plugin.mmgen.data import MNIST
from minmax_plugin.mmgen.estimates import make_estimator
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.mmgen.train import train
from minmax_plugin.pool import BatchPool
from minmax_plugin.settings import EstimatorSettings, MinMaxSettings

RESULT = ROOT / "benchmarks" / "results" / "decision_quality.csv"
SURE = 3  # standard errors
ESTIMATORS = {
    "last": EstimatorSettings("last"),
    "fresh": EstimatorSettings("fresh"),
    "fresh, f_old read again": EstimatorSettings("fresh", reread=True),
    "paired": EstimatorSettings("paired"),
    "paired, a quarter of the batch": EstimatorSettings("paired", fraction=0.25),
    "paired, an eighth of the batch": EstimatorSettings("paired", fraction=0.125),
    "paired, a half, held for 8": EstimatorSettings("paired", fraction=0.5, hold=8),
    "paired, a quarter, held for 4": EstimatorSettings("paired", fraction=0.25, hold=4),
    "paired, a quarter, held for 8": EstimatorSettings("paired", fraction=0.25, hold=8),
    "paired, a quarter, held for 16": EstimatorSettings("paired", fraction=0.25, hold=16),
    "paired, a quarter, held for 32": EstimatorSettings("paired", fraction=0.25, hold=32),
    "paired, an eighth, held for 8": EstimatorSettings("paired", fraction=0.125, hold=8),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A training, and the decisions that are looked at.

    Args:
        config: The config file.
        cycles: The cycles of the training.
        blocks: The number of blocks of decisions.
        length: The decisions in a block, at least as many as a batch is held for.
        samples: The most samples of the reference.
    """

    config: str
    cycles: int
    blocks: int
    length: int
    samples: int


CASES = {
    "four Gaussians": Case("configs/four_gaussians_gda.py", 1500, 4, 32, 200_000),
    "MNIST networks": Case("configs/mnist01_gda.py", 2000, 4, 32, 50_000),
    "DCGAN-32": Case("dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py", 200, 2, 32, 10_000),
}


@DATASETS.register_module()
class PaddedDigits(MNIST):
    """The embedded digits as pictures of 32 × 32."""

    def __init__(self, test_mode: bool = False) -> None:
        super().__init__()
        self.samples = pad(self.samples, (2, 2, 2, 2), value=-1.0)


class Comparison(Estimator):
    """Reads f by all estimators in some blocks of decisions, and by the usual one elsewhere.

    Args:
        usual: The estimator that decides elsewhere.
        others: The estimators that are compared.
        difference: A function that returns the reference's f_new − f_old and its standard error.
        blocks: The first decision of each block.
        length: The decisions in a block.
        note: A function that is called for each comparison and estimator.
    """

    def __init__(
        self,
        usual: Estimator,
        others: Mapping[str, Estimator],
        difference: Callable[[int], tuple[float, float]],
        blocks: list[int],
        length: int,
        note: Callable[..., None],
    ) -> None:
        self._usual, self._others, self._difference, self._note = usual, others, difference, note
        self._blocks, self._length = blocks, length
        self._index = -1
        self._accepted: dict[str, float] = {}  # the value at its acceptance, of what does not read f_old again
        self._read: dict[str, float] = {}

    @property
    def _place(self) -> int:
        """The place in a block: 0 begins the estimators' own records, and is not counted."""
        return next((self._index - start for start in self._blocks if 0 <= self._index - start <= self._length), -1)

    def evaluate_incumbent(self) -> None:
        self._index += 1
        for estimator in [self._usual] if self._place < 0 else self._others.values():
            estimator.evaluate_incumbent()

    def evaluate_proposal(self) -> Estimate:
        if self._place < 0:
            return self._usual.evaluate_proposal()
        mean, error = self._difference(self._index)
        for name, estimator in self._others.items():
            own = estimator.evaluate_proposal()
            f_old = float(own.f_old) if own.f_old is not None else self._accepted.get(name, np.nan)
            self._read[name] = float(own.f_new)
            if self._place > 0 and not np.isnan(f_old):
                self._note(name, self._index, mean, error, float(own.f_new) - f_old)
        return Estimate(mean, f_old=0.0)

    def settle(self, accepted: bool, restored: bool) -> None:
        inside = self._place >= 0
        for estimator in self._others.values() if inside else [self._usual]:
            estimator.settle(accepted, restored)
        if inside and accepted:
            self._accepted.update(self._read)
        if self._place in (-1, self._length):  # what they have read is of another incumbent soon
            self._accepted.clear()
            for estimator in [*self._others.values()] if not inside else [*self._others.values(), self._usual]:
                estimator.reset()


class Reference:
    """f_new − f_old on as many samples as its sign needs.

    Args:
        game: The game, whose incumbent and proposal are read by turns.
        adapter: The model.
        batch: A function that draws a batch of real images from all data.
        samples: The most samples.
    """

    def __init__(self, game: MinMaxGame, adapter: GameAdapter, batch: Callable[[], Any], samples: int) -> None:
        self._game, self._adapter, self._batch, self._samples = game, adapter, batch, samples

    def __call__(self, index: int) -> tuple[float, float]:
        terms = torch.empty(0, dtype=torch.float64)
        chunk, drawn, number = 4, 0, index * 10_000
        while True:
            new = self._values(number, chunk)
            self._game.swap()
            old = self._values(number, chunk)
            self._game.swap()
            terms = torch.cat([terms, new - old])
            mean, error = float(terms.mean()), float(terms.std() / len(terms) ** 0.5)
            number, drawn = number + chunk, drawn + chunk * self._size
            if abs(mean) > SURE * error or drawn >= self._samples:
                return mean, error
            chunk *= 2

    def _values(self, start: int, chunk: int) -> Tensor:
        values = []
        for number in range(start, start + chunk):
            with inference([self._adapter.generator, self._adapter.discriminator], 7 + number, batch_statistics=True):
                batch = self._batch()
                self._size = len(next(v for v in batch.values() if isinstance(v, Tensor)))
                values.append(self._adapter.fresh_value(batch, by_groups=True).double())
        return torch.cat(values)


@HOOKS.register_module()
class ComparesEstimators(Hook):
    """Has the game of a run's MinMaxHook compare estimators: see :class:`Comparison`."""

    reads_weights = False

    def __init__(self, case: Case, note: Callable[..., None]) -> None:
        self._case, self._note = case, note

    def before_run(self, runner: Any) -> None:  # after MinMaxHook's, which makes the game
        (minmax,) = [hook for hook in runner.hooks if isinstance(hook, MinMaxHook)]
        game, adapter, case = minmax.game, minmax.adapter, self._case

        def drawing(batches: int) -> Callable[[], Any]:
            # the runner has no loader yet
            return BatchPool(lambda: adapter.load_pool(runner.data_loader._dataloader, batches), seed=5).draw

        usable = {n: v for n, v in ESTIMATORS.items() if n != "last" or adapter.ascent_steps > 1}
        held = drawing(MinMaxSettings().pool)
        others = {n: make_estimator(v, adapter, held, 7919 * i) for i, (n, v) in enumerate(usable.items(), start=1)}
        reference = Reference(game, adapter, drawing(10**6), case.samples)
        first = case.cycles // 20
        blocks = [first + i * (case.cycles - first) // case.blocks for i in range(case.blocks)]
        game.estimator = Comparison(game.estimator, others, reference, blocks, case.length, self._note)


def config(name: str) -> Config:
    case = CASES[name]
    if name in step_cost.CASES and not case.config.startswith("configs/"):
        cfg = step_cost.config(step_cost.CASES[name], None)
        cfg.data.train = dict(type="PaddedDigits")
    else:
        cfg = bare(load_config(str(ROOT / case.config)))
    cfg.custom_hooks = []
    cfg.total_iters = case.cycles * (cfg.get("train_cfg") or {}).get("disc_steps", 1)
    opt_in(cfg, acceptance=dict(type="constant", rate=0.2))
    return cfg


def measure(name: str) -> pandas.DataFrame:
    """The differences that each estimator saw, beside the reference's, decision by decision."""
    rows: list[dict[str, Any]] = []

    def note(estimator: str, decision: int, truth: float, error: float, own: float) -> None:
        rows.append({"estimator": estimator, "decision": decision, "truth": truth, "error": error, "own": own})

    cfg = config(name)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        compares = dict(type="ComparesEstimators", case=CASES[name], note=note, priority="LOWEST")
        train(cfg, seed=1, hooks=[compares])
    return pandas.DataFrame(rows)


def summary(seen: pandas.DataFrame) -> dict[str, Any]:
    """Count how often an estimator agrees with the reference where that is sure."""
    sure = seen["truth"].abs() > SURE * seen["error"]
    agreed = sure & ((seen["truth"] < 0) == (seen["own"] < 0))
    return {
        "decisions": int(sure.sum()),
        "agreed": int(agreed.sum()),
        "unsure": int((~sure).sum()),
        "error": float((seen["own"] - seen["truth"]).std()),
        "median_change": float(seen["truth"].abs().median()),
        "fell": int((sure & (seen["truth"] < 0)).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for case in args.cases:
        at = commit()
        rows = [
            {"case": case, "estimator": name, **summary(seen), "commit": at}
            for name, seen in measure(case).groupby("estimator", sort=False)
        ]
        keep(RESULT, rows, ["case", "estimator"])
        print(pandas.DataFrame(rows).to_string(), flush=True)


if __name__ == "__main__":
    main()
