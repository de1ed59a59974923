import math

import pytest

from minmax_plugin import Always, Comparison, ConstantRate, Never, RandomRate, Strict, build_acceptance

# policy, f_old, f_new, draw → accepted, reason
CASES = [
    (Strict(), 1.0, 0.9, 0.0, True, "improved"),
    (Strict(), 1.0, 1.0, 0.0, True, "improved"),
    (Strict(), 1.0, 1.1, 0.0, False, "worse"),
    (Strict(slack=0.2), 1.0, 0.9, 0.0, False, "worse"),
    (Strict(slack=0.2), 1.0, 0.8, 0.0, True, "improved"),
    (ConstantRate(rate=0.25), 1.0, 1.1, 0.24, True, "chance"),
    (ConstantRate(rate=0.25), 1.0, 1.1, 0.25, False, "worse"),
    (ConstantRate(rate=0.25), 1.0, 0.9, 0.99, True, "improved"),
    (ConstantRate(rate=0.25, slack=0.2), 1.0, 0.9, 0.99, False, "worse"),
    (ConstantRate(rate=0.0), 1.0, 1.1, 0.0, False, "worse"),
    (ConstantRate(rate=1.0), 1.0, 1.1, 0.999, True, "chance"),
    (ConstantRate(tau=2.0), 1.0, 1.1, math.exp(-0.5) - 1e-9, True, "chance"),
    (ConstantRate(tau=2.0), 1.0, 1.1, math.exp(-0.5) + 1e-9, False, "worse"),
    (ConstantRate(), 1.0, 1.1, 0.19, True, "chance"),
    (ConstantRate(), 1.0, 1.1, 0.2, False, "worse"),
    (Always(), 1.0, 9.0, 0.99, True, "always"),
    (Never(), 1.0, 0.0, 0.0, False, "never"),
    (RandomRate(rate=0.3), 1.0, 0.0, 0.3, False, "random"),
    (RandomRate(rate=0.3), 1.0, 9.0, 0.29, True, "random"),
]


@pytest.mark.parametrize(("policy", "f_old", "f_new", "draw", "accepted", "reason"), CASES)
def test_a_policy_decides(policy, f_old, f_new, draw, accepted, reason):
    assert policy(Comparison(0, f_old, f_new, draw)) == (accepted, reason)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Strict(slack=-1), r"slack must be 0 or more and finite, but got -1\."),
        (lambda: Strict(slack=math.nan), r"slack must be 0 or more and finite, but got nan\."),
        (lambda: ConstantRate(rate=1.5), r"rate must be between 0 and 1, but got 1\.5\."),
        (lambda: ConstantRate(tau=0), r"tau must be above 0, but got 0\."),
        (lambda: ConstantRate(tau=1, rate=0.5), r"give rate or tau, not both"),
        (lambda: RandomRate(rate=-0.1), r"rate must be between 0 and 1, but got -0\.1\."),
        (lambda: build_acceptance("annealled"), r"acceptance must be one of \[.*'constant'.*\], but got 'annealled'\."),
        (lambda: build_acceptance({"type": "strict", "rate": 1}), r"acceptance 'strict' takes \['slack'\], but got"),
        (lambda: build_acceptance("random"), r"acceptance 'random' takes \['rate'\]"),
    ],
)
def test_a_bad_setting_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_policy_is_built_from_a_name_a_dict_or_itself():
    assert build_acceptance("constant") == ConstantRate()
    assert build_acceptance({"type": "constant", "tau": 3}) == ConstantRate(tau=3)
    assert build_acceptance(Never()) == Never()
