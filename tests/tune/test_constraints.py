"""Constraints between the entries of a space: hard ones, which every trained point meets, and soft ones."""

import pytest
from mmcv import Config
from studies import ask, result

from minmax_plugin.errors import ConfigError, SpaceError
from minmax_tune.options import Options
from minmax_tune.queue import plan
from minmax_tune.report import tables
from minmax_tune.search import show
from minmax_tune.searcher import StudySearcher
from minmax_tune.space.changed import rename_changed
from minmax_tune.space.constraints import read_expression
from minmax_tune.space.space import Space
from minmax_tune.stopping import SearchStopper
from minmax_tune.study import Search
from minmax_tune.validation import check_sampler

RATE = {"type": "float", "low": 0.1, "high": 1.0}
TWO = {"space": {"lr": RATE, "optimizer.b.0": RATE}}
TWO_RATES = Config(dict(lr=0.3, optimizer=dict(b=[0.2])))
BELOW = {**TWO, "constraints": ["lr < optimizer.b.0"]}
NAMES = ["lr", "optimizer.b.0", "method", "lr (2)"]

EXPRESSIONS = [
    # expression, parameters, whether it is met
    ("lr < optimizer.b.0", {"lr": 0.1, "optimizer.b.0": 0.2}, True),
    ("lr < optimizer.b.0", {"lr": 0.3, "optimizer.b.0": 0.2}, False),
    ("lr < optimizer.b.0", {"lr": 0.3}, True),  # it does not apply
    ("lr (2) < 0.2", {"lr (2)": 0.3}, False),
    ("method == 'lr' or lr > 0.2", {"method": "lr", "lr": 0.1}, True),
    ("abs(log10(lr) - log10(optimizer.b.0)) <= 1", {"lr": 0.1, "optimizer.b.0": 0.9}, True),
    ("0.1 < min(lr, optimizer.b.0) < 0.5", {"lr": 0.1, "optimizer.b.0": 0.9}, False),
]


@pytest.mark.parametrize(("text", "params", "met"), EXPRESSIONS)
def test_an_expression_is_over_the_entries_of_the_space(text, params, met):
    assert read_expression(text, NAMES).is_met(params) is met


MALFORMED = [
    (BELOW, ["lr <"], [], "the constraint 'lr <' cannot be read"),
    (BELOW, ["lr < optimizer.c.0"], [], "'optimizer.c.0' is no entry of the space; did you mean 'optimizer.b.0'"),
    (BELOW, ["1 < 2"], [], "the constraint '1 < 2' names no entry of the space"),
    (BELOW, ["lr.__class__ == 1"], [], "cannot be|is no entry"),
    (BELOW, ["lr + 1"], [], "the constraint 'lr \\+ 1' must be true or false, but is 1"),
    (BELOW, ["lr < 'a'"], [], "the constraint \"lr < 'a'\" cannot be computed at .*: TypeError"),
    (BELOW, [], ["lr < 1"], "the soft constraint 'lr < 1' must be a number, 0 or less where it is met, but is True"),
    (BELOW, ["lr['a']"], [], "cannot be computed at .*: TypeError: it has no value"),
    (BELOW, ["lr > 2"], [], "its constraints leave no point: each of 1000 points"),
    ({**BELOW, "points": [{"lr": 1.0}]}, ["lr < 0.5"], [], "points: {'lr': 1.0} breaks the constraint 'lr < 0.5'"),
    (BELOW, [], ["lr" + " + 1" * 100], "soft_constraints.0: String should have at most 400 characters"),
    ({**BELOW, "constraints": "lr < 1"}, None, [], "constraints: Input should be a valid list"),
]


@pytest.mark.parametrize(("content", "hard", "soft", "message"), MALFORMED, ids=[m for *_, m in MALFORMED])
def test_a_wrong_constraint_is_one_clear_error_before_any_trial(content, hard, soft, message):
    if hard is not None:
        content = {**content, "constraints": hard, "soft_constraints": soft}
    with pytest.raises(SpaceError, match=message) as error:
        Space.load(content).check({})
    assert "\n" not in str(error.value)


PYTHON = """
CONSTRAINTS = [lambda params: params["a"] < params["b"]]
def late(params):
    return params["b"] - 0.9
SOFT_CONSTRAINTS = [late]
def space(trial):
    return {"lr": trial.suggest_float("a", 0.1, 1.0), "optimizer.b.0": trial.suggest_float("b", 0.1, 1.0)}
"""


def test_a_python_space_has_functions_for_constraints():
    space = Space.load({"python": PYTHON})
    space.check({})
    assert (space.broken({"a": 0.2, "b": 0.3}), space.broken({"a": 0.3, "b": 0.2})) == (None, "<lambda>")
    assert space.violations({"a": 0.2, "b": 1.0}) == {"late": pytest.approx(0.1)}
    with pytest.raises(SpaceError, match=r"'<lambda>' cannot be computed at .*: KeyError: 'c'"):
        Space.load({"python": PYTHON.replace('params["a"]', 'params["c"]')}).check({})
    with pytest.raises(SpaceError, match="SOFT_CONSTRAINTS has several functions named 'late': give each a name"):
        Space.load({"python": PYTHON.replace("[late]", "[late, late]")})
    with pytest.raises(SpaceError, match="CONSTRAINTS must be a list of functions, but got 1"):
        Space.load({"python": "CONSTRAINTS = 1\n" + PYTHON.split("\n", 2)[2]})


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_a_point_that_breaks_a_hard_constraint_is_never_trained(make, sampler):
    content = {**BELOW, "points": [{"optimizer.b.0": 0.15}]}  # what it leaves open is drawn until it is allowed
    record = make(content, ["a"], config=TWO_RATES, num_samples=6, sampler=sampler)
    searcher, asked = StudySearcher(record, SearchStopper(None)), []
    while (trial := searcher.suggest(str(len(asked)))) != StudySearcher.FINISHED:
        searcher.on_trial_complete(str(len(asked)), result(0.5, outcome="complete"))
        asked.append(trial)
    assert len(asked) == 6
    assert asked[0]["settings"] == {}, "the unmodified config is trained though it breaks one"
    assert asked[1]["params"]["optimizer.b.0"] == 0.15
    assert all(a["params"]["lr"] < a["params"]["optimizer.b.0"] for a in asked[1:])
    skipped = [t for t in record.studies["a"].trials if t.user_attrs.get("skipped")]
    assert skipped
    assert {t.user_attrs["reason"] for t in skipped} == {"it breaks the constraint 'lr < optimizer.b.0'"}
    assert len(tables.read_rows(record)["a"]) == 6
    searcher.close(None)
    assert any(f"a: {len(skipped)} points broke a constraint" in line for line in record.lines())


def test_a_dry_run_says_which_numbers_a_constraint_uses_up(make, capsys):
    config = Config({**TWO_RATES, "data": {"samples_per_gpu": 8}, "total_iters": 1})
    show(make(BELOW, ["a"], config=config, num_samples=5))
    told = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("a trial")]
    assert told == [f"a trial {number}" for number in range(len(told))]
    assert len(told) > 5


def test_a_sampler_that_ignores_soft_constraints_is_refused():
    space = Space.load({**TWO, "soft_constraints": ["lr - 0.5"]})
    with pytest.raises(ConfigError, match="--sampler cmaes does not use the soft_constraints of the space: choose"):
        check_sampler(Options(sampler="cmaes"), space)


def test_a_search_whose_sampler_finds_no_allowed_point_ends(make, monkeypatch):
    monkeypatch.setattr("minmax_tune.searcher.MAX_DRAWS", 3)
    record = make({**TWO, "constraints": ["lr > 2"]}, ["a"], config=TWO_RATES, baseline=False)
    ending = SearchStopper(None)
    assert StudySearcher(record, ending).suggest("0") == StudySearcher.FINISHED
    assert ending.reason == "3 points in a row broke a constraint of the space, the last one 'lr > 2'"


def test_a_grid_has_no_points_that_break_a_constraint(make):
    step = {**RATE, "low": 0.1, "high": 0.3, "step": 0.1}
    content = {"space": {"lr": step, "optimizer.b.0": step}, "constraints": ["lr < optimizer.b.0"]}
    record = make(content, ["a"], config=TWO_RATES, num_samples=9, baseline=False, sampler="grid")
    assert len(record.studies["a"].trials) == 3


def test_a_trial_that_breaks_a_soft_constraint_is_trained_and_never_the_best(make):
    record = make({**TWO, "soft_constraints": ["lr - 0.5"]}, ["a"], config=TWO_RATES, baseline=False, num_samples=3)
    record.space.points = [{"lr": 0.9, "optimizer.b.0": 0.5}, {"lr": 0.4, "optimizer.b.0": 0.5}]
    plan(record, {"a": TWO_RATES})
    searcher, asked = ask(record, 2)
    for i, trial in enumerate(asked):
        searcher.on_trial_complete(str(i), result(trial["params"]["lr"], outcome="complete"))
    study = record.studies["a"]
    assert [t.constraints for t in study.trials] == [{"lr - 0.5": pytest.approx(v)} for v in (0.4, -0.1)]
    assert study.best_trial.number == 1
    first, second = tables.read_rows(record)["a"]
    assert (first.number, second.reason) == (1, "it breaks the soft constraint 'lr - 0.5'")
    assert tables.best([second]) is None
    assert not tables.better(record, second, None)
    assert tables.better(record, first, None)


def test_constraints_follow_the_new_names_of_a_changed_space(make):
    changed = rename_changed({**TWO, "constraints": ["lr < optimizer.b.0"]}, {"lr": None})
    assert changed["constraints"] == ["lr (2) < optimizer.b.0"]
    Space.load(changed).check({})


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_resumed_search_may_have_other_soft_constraints(make, sampler):
    record = make({"space": {"lr": RATE}}, ["a"], num_samples=15, sampler=sampler)
    for content, count in ((None, 11), ({"space": {"lr": RATE}, "soft_constraints": ["lr - 0.5", "0.2 - lr"]}, 2)):
        record = Search.open(record.folder)
        if content:
            record.change_space(Space.load(content))
        searcher = StudySearcher(record, SearchStopper(None))
        for i in range(count):
            asked = searcher.suggest(str(i))
            searcher.on_trial_complete(str(i), result(asked["settings"].get("lr", 0.3), outcome="complete"))
    assert record.studies["a"].trials[-1].constraints.keys() == {"lr - 0.5", "0.2 - lr"}
    assert searcher._stopper.reason is None
