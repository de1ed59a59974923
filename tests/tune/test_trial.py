"""One trial, trained in this process: what a kill at a bad moment leaves, and how it goes on from there."""

import json
from types import SimpleNamespace

import pytest
from search_runs import ROOT

from minmax_plugin.mmgen.metrics import SampleMetrics
from minmax_tune.study import REPORTS, Run
from minmax_tune.trial import run as trial
from minmax_tune.trial.run import TrialRunner, copy_attempt


class Killed(BaseException):
    """In the place of a SIGKILL."""


def job(folder, method):
    base = folder / "base.py"
    hook = ", dict(type='MinMaxHook')" if method == "minmax" else ""
    base.write_text(
        f"_base_ = {str(ROOT / f'configs/four_gaussians_{method}.py')!r}\n"
        "total_iters = 60\n"
        "checkpoint_config = dict(interval=20, by_epoch=False)\n"
        "metrics_hook = dict(type='SampleMetrics', interval=20, metrics=[dict(type='ModeCoverage', num_images=200)])\n"
        f"custom_hooks = [metrics_hook{hook}]\n"
    )
    return TrialRunner(folder / "t", [Run("base", 1, folder / "t")], {"base": str(base)}, {}, [("balance", "max")])


@pytest.mark.parametrize("method", ["gda", "minmax"])
def test_a_trial_that_is_killed_while_it_measures_measures_that_again(tmp_path, monkeypatch, method):
    reports = []
    monkeypatch.setattr(trial, "tune", SimpleNamespace(report=reports.append))
    measure = SampleMetrics.after_train_iter

    def killed(self, runner):
        if runner.iter + 1 == 40:
            raise Killed
        measure(self, runner)

    with monkeypatch.context() as once:
        once.setattr(SampleMetrics, "after_train_iter", killed)
        with pytest.raises(Killed):
            job(tmp_path, method).train()
    assert [r["iteration"] for r in reports] == [20]
    job(tmp_path, method).train()
    lines = [json.loads(line) for line in (tmp_path / "t" / REPORTS).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [20, 40, 60]
    assert reports[-1]["outcome"] == "complete"
    assert list((tmp_path / "t").rglob("iter_60.pth"))


def test_copying_an_attempt_goes_on_where_it_was_killed(tmp_path):
    earlier, folder = tmp_path / "a", tmp_path / "b"
    earlier.mkdir()
    for name in ("iter_20.pth", REPORTS):
        (earlier / name).write_text(name)
    (earlier / "latest.pth").symlink_to("iter_20.pth")
    copy_attempt(earlier, folder)
    (folder / REPORTS).unlink()  # which comes last
    copy_attempt(earlier, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["iter_20.pth", REPORTS]
