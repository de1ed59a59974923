import json
import math

import pytest
import torch

from minmax_plugin import (
    Always,
    Annealed,
    Comparison,
    ConstantRate,
    Estimate,
    MinMaxGame,
    Outlier,
    Significant,
    Strict,
    build_acceptance,
)
from minmax_plugin.controls import Matched, Never, RandomRate
from minmax_plugin.policies import OF_PRESETS
from minmax_plugin.released import DecreasingTemperature, Periodic
from minmax_plugin.settings import PRESETS

# policy, f_old, f_new, draw → accepted, reason
CASES = [
    (Strict(), 1.0, 0.9, 0.0, True, "improved"),
    (Strict(), 1.0, 1.0, 0.0, True, "improved"),
    (Strict(), 1.0, 1.1, 0.0, False, "worse"),
    (Strict(min_decrease=0.2), 1.0, 0.9, 0.0, False, "worse"),
    (Strict(min_decrease=0.2), 1.0, 0.8, 0.0, True, "improved"),
    (ConstantRate(rate=0.25), 1.0, 1.1, 0.24, True, "chance"),
    (ConstantRate(rate=0.25), 1.0, 1.1, 0.25, False, "worse"),
    (ConstantRate(rate=0.25), 1.0, 0.9, 0.99, True, "improved"),
    (ConstantRate(rate=0.25, min_decrease=0.2), 1.0, 0.9, 0.99, False, "worse"),
    (ConstantRate(rate=0.0), 1.0, 1.1, 0.0, False, "worse"),
    (ConstantRate(rate=1.0), 1.0, 1.1, 0.999, True, "chance"),
    (ConstantRate(tau=2.0), 1.0, 1.1, math.exp(-0.5) - 1e-9, True, "chance"),
    (ConstantRate(tau=2.0), 1.0, 1.1, math.exp(-0.5) + 1e-9, False, "worse"),
    (ConstantRate(), 1.0, 1.1, 0.19, True, "chance"),
    (ConstantRate(), 1.0, 1.1, 0.2, False, "worse"),
    (Strict(reverse=True), 1.0, 1.1, 0.0, True, "improved"),
    (Strict(reverse=True), 1.0, 0.9, 0.0, False, "worse"),
    (Strict(min_decrease=0.2, reverse=True), 1.0, 1.1, 0.0, False, "worse"),
    (Annealed(tau1=10), 1.0, 1.1, 0.999, True, "chance"),
    (Periodic(every=4), 1.0, 1.1, 0.999, True, "chance"),
    (DecreasingTemperature(), 1.0, 1.1, 0.199, True, "chance"),
    (DecreasingTemperature(), 1.0, 1.1, 0.2, False, "worse"),
    (Significant(otherwise="never"), 1.0, 0.5, 0.0, False, "never"),
    (Matched([True, False, False, False]), 1.0, 9.0, 0.24, True, "random"),
    (Matched([True, False, False, False]), 1.0, 0.0, 0.25, False, "random"),
    (Always(), 1.0, 9.0, 0.99, True, "always"),
    (Never(), 1.0, 0.0, 0.0, False, "never"),
    (RandomRate(rate=0.3), 1.0, 0.0, 0.3, False, "random"),
    (RandomRate(rate=0.3), 1.0, 9.0, 0.29, True, "random"),
]


@pytest.mark.parametrize(("policy", "f_old", "f_new", "draw", "accepted", "reason"), CASES)
def test_a_policy_decides(policy, f_old, f_new, draw, accepted, reason):
    assert policy(Comparison(0, f_old, f_new, draw)) == (accepted, reason)


def probability(policy, index):
    """The share of draws at which a worse step is kept."""
    draws = [(i + 0.5) / 1000 for i in range(1000)]
    return sum(policy(Comparison(index, 0.0, 1.0, draw))[0] for draw in draws) / 1000


SCHEDULES = [
    (Annealed(tau1=100), {0: 1.0, 100: 0.368, 1000: 0.0}),
    (Periodic(every=3), {0: 1.0, 1: 0.0, 2: 0.0, 3: 1.0}),
    (DecreasingTemperature(), {0: 0.2, 20000: 0.149, 200000: 0.0}),
    (DecreasingTemperature(), {10**9: 0.0}),
    (Matched([True] * 5 + [False] * 5 + [True, False], window=5), {0: 1.0, 4: 1.0, 5: 0.0, 10: 0.5, 99: 0.5}),
    (Matched([True] * 5 + [False] * 5), {0: 0.5, 9: 0.5, 99: 0.5}),
]


@pytest.mark.parametrize(("policy", "expected"), SCHEDULES)
def test_the_chance_of_a_worse_step_follows_its_schedule(policy, expected):
    assert {index: probability(policy, index) for index in expected} == pytest.approx(expected, abs=1.5e-3)


@pytest.mark.parametrize(
    ("f_new", "error", "expected"),
    [
        (0.5, 0.1, (True, "improved")),
        (1.5, 0.1, (False, "worse")),
        (0.75, 0.1, (False, "worse")),  # by less than the min_decrease
        (0.9, 0.1, (True, "chance")),
        (1.1, 0.1, (True, "chance")),
        (0.5, math.nan, (True, "chance")),
        (1.5, math.nan, (True, "chance")),
    ],
)
def test_what_does_not_stand_out_of_its_noise_is_left_to_another_rule(f_new, error, expected):
    otherwise = dict(type="constant", rate=1.0, min_decrease=9.0)
    rule = build_acceptance(dict(type="significant", z=2.0, min_decrease=0.3, otherwise=otherwise))
    assert rule(Comparison(0, 1.0, f_new, 0.5, error)) == expected


USUAL = [0.1, 0.3] * 10  # median 0.2, MAD 0.1
EDGE = 0.2 + 8 * (1.4826 * 0.1 + 1e-4)
LARGE = 8 * (1.4826 * 0.1 + 1e-4 * 5000)


@pytest.mark.parametrize(
    ("changes", "f_old", "change", "expected"),
    [
        (USUAL, 0.0, EDGE - 1e-9, (True, "usual")),
        (USUAL, 0.0, EDGE + 1e-9, (False, "outlier of f")),
        (USUAL, 0.0, 0.4 - EDGE + 1e-9, (True, "usual")),  # the other direction
        (USUAL, 0.0, 0.4 - EDGE - 1e-9, (False, "outlier of f")),
        (USUAL, -5000.0, 0.2 + LARGE - 1e-6, (True, "usual")),  # the least scale is that of f
        (USUAL, -5000.0, 0.2 + LARGE + 1e-6, (False, "outlier of f")),
        (USUAL[:19], 0.0, 9.0, (True, "warm-up")),
        ([*USUAL[:19], math.nan], 0.0, 9.0, (True, "warm-up")),  # what is not finite does not count
        ([math.nan, *USUAL, math.nan], 0.0, 9.0, (False, "outlier of f")),
        ([0.2] * 20, 0.0, 0.2007, (True, "usual")),  # equal changes
        ([0.2] * 20, 0.0, 0.2009, (False, "outlier of f")),
    ],
)
def test_a_change_that_stands_out_of_the_recent_ones_is_rejected(changes, f_old, change, expected):
    rule = build_acceptance("outlier")
    assert rule(Comparison(0, f_old, f_old + change, draw=0.0, changes=[(c, math.nan) for c in changes])) == expected
    # the same of the norm, with an f that does not change
    norms = dict(norm_old=abs(f_old), norm_new=abs(f_old) + change, changes=[(0.0, c) for c in changes])
    of_norm = (expected[0], expected[1].replace("of f", "of the weights' norm"))
    if len(changes) >= 20:  # of f, of which all are finite here
        of_norm = of_norm[0], of_norm[1].replace("warm-up", "usual")
    assert rule(Comparison(0, 0.0, 0.0, draw=0.0, **norms)) == of_norm


def test_what_repeats_is_no_accident_and_a_lasting_shift_becomes_usual():
    x = torch.nn.Parameter(torch.zeros(1))
    optimizers = torch.optim.SGD([x], lr=0.1), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    game = MinMaxGame(*optimizers, Outlier(window=6, warmup=3, retries=2))
    x.grad = torch.ones(1)
    reasons = []
    for change in [0.0, 0.1, 0.2, 0.1, 0.2, *[5.0] * 6]:
        game.propose()
        reasons.append(game.decide(Estimate(change, f_old=0.0)).reason)
    assert reasons == ["warm-up"] * 3 + ["usual"] * 2 + ["outlier of f"] * 2 + ["repeated"] + ["usual"] * 3
    game.close()  # f is another function
    game.propose()
    assert game.decide(Estimate(-50.0, f_old=0.0)).reason == "warm-up"


def test_the_rule_that_is_left_the_noise_has_its_memory():
    rule = Significant(otherwise=dict(type="outlier", window=50))
    assert (rule.memory, Strict().memory) == (50, 0)
    quiet = Comparison(0, 0.0, 9.0, 0.0, standard_error=99.0, changes=[(c, math.nan) for c in USUAL])
    assert rule(quiet) == (False, "outlier of f")


def test_a_control_is_matched_to_a_recorded_file(tmp_path):
    path = tmp_path / "decisions.jsonl"
    reasons = ["initial", "no proposal", "worse", "improved", "chance", "non-finite"]  # the first two are no choice
    kept = [True, True, False, True, True, False]
    lines = [json.dumps({"accepted": k, "reason": r}) for k, r in zip(kept, reasons, strict=True)]
    path.write_text("".join(line + "\n" for line in lines))
    assert probability(Matched(str(path)), 0) == 0.5
    assert [probability(Matched(str(path), window=2), i) for i in (0, 2, 4)] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Annealed(tau1=0), r"tau1 must be above 0, but got 0\."),
        (lambda: Periodic(every=0), r"every must be 1 or more decisions, but got 0\."),
        (lambda: DecreasingTemperature(scale=-1), r"scale must be above 0, but got -1\."),
        (lambda: Outlier(threshold=0), r"threshold must be above 0, but got 0\."),
        (lambda: Outlier(window=0), r"window must be 1 or more proposals, but got 0\."),
        (lambda: Outlier(warmup=0), r"warmup must be between 1 and window=200, but got 0\."),
        (lambda: Outlier(window=10, warmup=11), r"warmup must be between 1 and window=10, but got 11\."),
        (lambda: Outlier(warmup=2.5), r"warmup must be between 1 and window=200, but got 2\.5\."),
        (lambda: Significant(z=-1), r"z must be 0 or more standard errors, but got -1\."),
        (lambda: Significant(otherwise="perhaps"), "acceptance must be one of"),
        (lambda: Matched([]), r"record must hold at least one decision, but got \[\]"),
        (lambda: Matched([True], window=0), "window must be 1 or more decisions, or None, but got 0"),
        (lambda: Strict(min_decrease=-1), r"min_decrease must be 0 or more and finite, but got -1\."),
        (lambda: Strict(min_decrease=math.nan), r"min_decrease must be 0 or more and finite, but got nan\."),
        (lambda: ConstantRate(rate=1.5), r"rate must be between 0 and 1, but got 1\.5\."),
        (lambda: ConstantRate(tau=0), r"tau must be above 0, but got 0\."),
        (lambda: ConstantRate(tau=1, rate=0.5), r"give rate or tau, not both"),
        (lambda: RandomRate(rate=-0.1), r"rate must be between 0 and 1, but got -0\.1\."),
        (lambda: RandomRate(rate=[0.5, 2], window=3), r"rate must be between 0 and 1, but got 2\."),
        (lambda: RandomRate(rate=[], window=3), r"rate must be a number, or one or more, but got \[\]"),
        (lambda: RandomRate(rate=[0.5]), r"window goes with several rates; got rate=\[0\.5\] and window=None"),
        (lambda: RandomRate(rate=0.5, window=3), r"window goes with several rates; got rate=0\.5 and window=3"),
        (lambda: RandomRate(rate=[0.5], window=0), r"window must be 1 or more decisions, but got 0\."),
        (lambda: Strict(min_decrease="0"), r"min_decrease must be 0 or more and finite, but got '0'\."),
        (lambda: Strict(min_decrease=True), r"min_decrease must be 0 or more and finite, but got True\."),
        (lambda: Strict(reverse="no"), r"reverse must be True or False, but got 'no'\."),
        (lambda: ConstantRate(rate="0.2"), r"rate must be between 0 and 1, but got '0\.2'\."),
        (lambda: ConstantRate(rate=True), r"rate must be between 0 and 1, but got True\."),
        (lambda: ConstantRate(rate=math.nan), r"rate must be between 0 and 1, but got nan\."),
        (lambda: ConstantRate(tau="3"), r"tau must be above 0, but got '3'\."),
        (lambda: Annealed(tau1=[1]), r"tau1 must be above 0, but got \[1\]\."),
        (lambda: DecreasingTemperature(scale=math.nan), r"scale must be above 0, but got nan\."),
        (lambda: Periodic(every=2.5), r"every must be 1 or more decisions, but got 2\.5\."),
        (lambda: Significant(z=None), r"z must be 0 or more standard errors, but got None\."),
        (lambda: Significant(z=math.nan), r"z must be 0 or more standard errors, but got nan\."),
        (lambda: Significant(min_decrease="0"), r"min_decrease must be 0 or more and finite, but got '0'\."),
        (lambda: Significant(otherwise=0.2), r"acceptance must be a policy .* but got 0\.2\."),
        (lambda: RandomRate(rate="0.2"), r"rate must be between 0 and 1, but got '0\.2'\."),
        (lambda: RandomRate(rate=None), r"rate must be between 0 and 1, but got None\."),
        (lambda: RandomRate(rate=[0.5], window=2.5), r"window must be 1 or more decisions, but got 2\.5\."),
        (lambda: Matched(5), r"record must hold at least one decision, but got 5\."),
        (lambda: Matched([True], window="1"), r"window must be 1 or more decisions, or None, but got '1'\."),
        (lambda: build_acceptance(0.2), r"acceptance must be a policy such as ConstantRate\(rate=0.2\), .* got 0\.2\."),
        (lambda: build_acceptance(None), r"acceptance must be a policy .* but got None\."),
        (lambda: build_acceptance({"type": ["never"]}), r"acceptance must be one of .* but got \['never'\]\."),
        (lambda: build_acceptance({"type": "never", 3: 4}), r"acceptance 'never' takes \[\], but got \[3\]\."),
        (lambda: build_acceptance("practical"), "'practical': that is a preset of the hooks; its policy is 'constant'"),
        (lambda: build_acceptance("annealled"), r"acceptance must be one of \[.*'constant'.*\], but got 'annealled'\."),
        (
            lambda: build_acceptance({"type": "strict", "rate": 1}),
            r"acceptance 'strict' takes \['min_decrease', 'reverse'\], but got",
        ),
        (lambda: build_acceptance("random"), r"acceptance 'random' takes \['rate', 'window'\]"),
    ],
)
def test_a_bad_setting_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_policy_is_built_from_a_name_a_dict_or_itself():
    assert build_acceptance("constant") == ConstantRate()
    assert build_acceptance({"type": "constant", "tau": 3}) == ConstantRate(tau=3)
    assert build_acceptance(Never()) == Never()


def test_presets_that_are_taken_for_policies_have_the_policies_that_are_said():
    present = {name: preset["acceptance"]["type"] for name, preset in PRESETS.items()}
    assert OF_PRESETS.items() <= present.items()
