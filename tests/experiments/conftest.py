"""Results as their searches leave them, and searches that end at once."""

import json
from types import SimpleNamespace

import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from experiments import search
from experiments.experiment import EXPERIMENTS
from experiments.methods import METHODS
from minmax_tune.options import Options
from minmax_tune.space.space import Space
from minmax_tune.study import Search


@pytest.fixture
def new_result(tmp_path):
    def make(method, *ends):
        """A search of seeds from 1; ``ends``: the state of each run, and after a colon the reason."""
        cfg = METHODS[method].config(EXPERIMENTS["four_gaussians"], {})
        points = [{"seed": seed} for seed in range(1, 101)]
        space = Space.load({"space": {"seed": {"type": "int", "low": 1, "high": 100}}, "points": points})
        options = Options(num_samples=len(ends), baseline=False)
        record = Search.create(tmp_path / "four_gaussians" / method, options, space, {method: cfg})
        for seed, end in enumerate(ends, start=1):
            state, _, reason = end.partition(": ")
            trial = create_trial(
                state=TrialState[state],
                value=1.0 if state == "COMPLETE" else None,
                params={"seed": seed},
                distributions={"seed": IntDistribution(1, 100)},
                user_attrs={"commit": "0123456789abcdef-dirty", **({"reason": reason} if reason else {})},
            )
            record.studies[method].add_trial(trial)
            (folder := record.trial_folder(method, seed - 1)).mkdir(parents=True)
            decided = [("initial", True), ("better", True), ("worse", False)]
            lines = [json.dumps({"reason": reason, "accepted": accepted}) for reason, accepted in decided]
            (folder / "decisions.jsonl").write_text("\n".join(lines) + "\n")
        return record

    return make


@pytest.fixture
def commands(monkeypatch):
    """The commands of the searches that are started; each ends at once."""
    started = []

    def run(command, **more):
        started.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(search, "subprocess", SimpleNamespace(run=run))
    return started
