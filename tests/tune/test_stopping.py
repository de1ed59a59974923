"""One trial of a running search is stopped from the command line."""

import pytest
from optuna.trial import TrialState
from studies import result

from minmax_tune.cli import main
from minmax_tune.searcher import StudySearcher
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import STOP


@pytest.mark.parametrize(("names", "trial"), [(["a"], "0"), (["a", "b_c"], "b_c_0")])
def test_a_trial_ends_at_its_next_measurement_and_keeps_its_values(make, capsys, names, trial):
    record, ending = make(names=names), SearchStopper(None)
    searcher = StudySearcher(record, ending)
    ids = {searcher.suggest(str(i))["study"]: str(i) for i in range(len(names))}
    stopped = ids[names[-1]]
    searcher.on_trial_result(stopped, result(0.3, images=50))
    assert not ending(stopped, result(0.3, images=50))
    assert main(["--stop-trial", trial, str(record.folder)]) == 0
    assert f"{names[-1]}_0 ends at its next measurement" in capsys.readouterr().out
    assert not ending(stopped, result(0.4, outcome="complete")), "it ends by itself"
    assert ending(stopped, result(0.4))
    assert not any(ending(other, result(0.4)) for other in ids.values() if other != stopped)
    assert not ending.stop_all(), "the search goes on"
    searcher.on_trial_complete(stopped, result(0.4))
    ended = record.studies[names[-1]].trials[0]
    assert ended.state == TrialState.PRUNED
    assert ended.intermediate_values == {50: 0.3, 100: 0.4}
    who = (record.trial_folder(names[-1], 0) / STOP).read_text()
    assert " on " in who
    assert ended.user_attrs["reason"] == f"stopped by {who} at 100 images"


REFUSED = [
    (["a"], ["7"], "has no trial '7'; name one as 'a_0'"),
    (["a"], ["a_1"], "--stop-trial: a_1 is WAITING, and only a running trial can be stopped"),
    (["a"], ["x"], "has no trial 'x'; name one as 'a_0'"),
    (["a", "b"], ["0"], "has no trial '0'; name one as 'a_0'"),
    (["a"], ["0", "--extend", "2"], "--extend needs --resume DIR"),
    (["a"], ["0", "--sampler", "gp"], "--sampler cannot be given with --stop-trial: it was settled when"),
]


@pytest.mark.parametrize(("names", "arguments", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_what_cannot_be_stopped_is_one_clear_error(make, capsys, names, arguments, message):
    record = make(names=names)
    StudySearcher(record, SearchStopper(None)).suggest("0")
    trial, *more = arguments
    assert main(["--stop-trial", trial, str(record.folder), *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
