"""Studies without Ray: asked by a searcher, or filled as a search leaves them."""

from datetime import datetime, timedelta

import optuna
from mmcv import Config
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from search_runs import GAUSSIANS, ROOT

from minmax_plugin.mmgen.config import load_config
from minmax_tune.options import Options
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search

optuna.logging.set_verbosity(optuna.logging.WARNING)

CONTENT = {"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}, "points": [{"lr": 0.5}]}
CONFIG = Config(dict(lr=0.3, optimizer=dict()))


def ask(record, count=1):
    searcher = StudySearcher(record, SearchStopper(None))
    return searcher, [searcher.suggest(str(i)) for i in range(count)]


def result(score, images=100, **more):
    runs = [{"base": "a", "seed": 1, "metrics": {"score": score, "modes": 3.0}}]
    return {"score": score, "images": images, "seconds": 1.0, "runs": runs, **more}


DIGITS = str(ROOT / "configs/mnist01_minmax_short.py")
METHOD = CategoricalDistribution(["minmax", "gda"])
RATE = FloatDistribution(1e-4, 1e-2, log=True)
START = datetime(2026, 1, 2, 3, 4)


def new_record(folder, study="points", **options):
    options = Options(configs=(GAUSSIANS,), num_samples=8, **options)
    configs = {study: load_config(GAUSSIANS)}
    if options.layout == "shared":
        configs["digits"] = load_config(DIGITS)
    return Search.create(folder, options, Space.read(options.space), configs)


def add(record, state=TrialState.COMPLETE, values=None, study=None, method=None, rate=None, steps=(), **attrs):
    """Add a trial to a study's storage, as a search would leave it."""
    settings = {"minmax": False} if method == "gda" else {}
    if rate is not None:
        settings["optimizer.generator.lr"] = rate
    trial = create_trial(
        state=state,
        values=values,
        params={k: v for k, v in {"method": method, "optimizer.generator.lr": rate}.items() if v is not None},
        distributions={
            k: d for k, v, d in [("method", method, METHOD), ("optimizer.generator.lr", rate, RATE)] if v is not None
        },
        intermediate_values=dict(steps),
        user_attrs={"settings": settings, "source": "sampler", **attrs},
    )
    trial.datetime_start = START
    if state.is_finished():
        trial.datetime_complete = START + timedelta(seconds=90)
    record.studies[study or next(iter(record.studies))].add_trial(trial)
