"""The MLflow logger, with a real MLflow where there is one."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.config import load_config
from minmax_tune.options import Options
from minmax_tune.report.mlflow import MlflowLogger, connect
from minmax_tune.space.space import Space
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives

GAUSSIANS = str(Path(__file__).parents[2] / "configs/four_gaussians_minmax.py")


@pytest.fixture
def record(tmp_path):
    options = Options(configs=(GAUSSIANS,))
    return Search.create(tmp_path / "s", options, Space.read(options.space), {"a": load_config(GAUSSIANS)})


def test_without_mlflow_there_is_one_clear_error(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--mlflow='runs' needs MLflow: pip install mlflow-skinny"):
        MlflowLogger(record, "runs")


needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")


@needs_mlflow
@pytest.mark.filterwarnings("default")  # MLflow's own
def test_each_trial_is_a_run_with_its_metrics_by_images(record, tmp_path):
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logger = MlflowLogger(record, uri)
    study = record.studies["a"]
    endings = [(TrialState.COMPLETE, 0.5, None), (TrialState.PRUNED, None, "collapsed"), (TrialState.FAIL, None, "x")]
    for number, (state, value, reason) in enumerate(endings):
        trial = study.ask()
        known = SimpleNamespace(config={"study": "a", "number": number, "params": {"lr": 0.1 * number}})
        logger.on_trial_start(0, [], known)
        for images in (64, 128):
            result = {"balance": images / 256, "images": images, "seconds": 1.0, "metrics": {"modes": 2.0}}
            logger.on_trial_result(0, [], known, result)
        logger.on_trial_start(0, [], known)  # after its worker died
        if reason:
            trial.set_user_attr("reason", reason)
        study.tell(trial, value, state=state)
        logger.on_trial_complete(0, [], known)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("s")
    runs = sorted(client.search_runs([experiment.experiment_id]), key=lambda run: int(run.data.tags["trial"]))
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED", "FAILED"]
    assert [run.data.tags["reason"] for run in runs] == ["", "collapsed", "x"]
    assert [run.data.params for run in runs] == [{"lr": "0.0"}, {"lr": "0.1"}, {"lr": "0.2"}]
    course = client.get_metric_history(runs[0].info.run_id, "balance")
    assert [(point.step, point.value) for point in course] == [(64, 0.25), (128, 0.5)]


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_a_server_s_password_is_filled_in_and_never_told(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("SERVER", "me:p%40S3cr3t@127.0.0.1:9")  # where nothing listens
    with pytest.raises(ConfigError, match=r"--mlflow='http://\$SERVER' cannot be used: .*me:\*\*\*@127") as told:
        connect("http://$SERVER")
    assert "S3cr3t" not in str(told.value)


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_a_place_that_cannot_be_used_is_one_clear_error(record):
    with pytest.raises(ConfigError, match=r"--mlflow='nonsense://x' cannot be used: "):
        MlflowLogger(record, "nonsense://x")
