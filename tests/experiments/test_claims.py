"""README and docs/accept-test.md state in words what was measured."""

import re
from pathlib import Path

import pytest

from experiments.__main__ import RESULTS
from experiments.collect import read_results
from experiments.cost import read_costs
from experiments.experiment import EXPERIMENTS
from experiments.page import at_cost, at_cycle, at_end, succeeded

ROOT = Path(__file__).parents[2]
EQUAL = "equal time"
COUNT = re.compile(r"\b\d+ of \d+\b")


def prose(page, begin, end):
    text = (ROOT / page).read_text()
    text = " ".join(text[text.index(begin) : text.index(end)].split())
    return text.replace("none of", "0 of").replace("of three", "of 3")


PAGES = {
    "readme": prose("README.md", "Should you use it?", "## Searching"),
    "accept": prose("docs/accept-test.md", "## What can be said so far", "<!-- ablation -->"),
}


def count(experiment, method, measure=None, cycle=None):
    """``hits of runs``, counted by a measure, or what the experiment wants, at a cycle, or where the page shows it.

    The cycle ``EQUAL`` is each run's last measurement in the time of the cycles that are reported.
    """
    row = EXPERIMENTS[experiment]
    frame, batches = read_results(RESULTS, experiment)
    frame = frame[frame["method"] == method]
    if cycle == EQUAL:
        runs = at_cost(frame, read_costs(RESULTS, experiment), row.reported[0])
    else:
        runs = at_cycle(frame, cycle) if cycle else at_end(row, frame, row.reported[0])
    hits, runs = succeeded(row, method, runs, batches, measure).split()[0].split("/")
    return f"{hits} of {runs}"


def mean(experiment, method, measure):
    """Over runs, at the first cycle that is reported: a share of samples in percent, modes as a number."""
    frame, _ = read_results(RESULTS, experiment)
    found = at_cycle(frame[frame["method"].isin(method.split("+"))], EXPERIMENTS[experiment].reported[0])[
        measure
    ].mean()
    return f"{found:.0%}".replace("%", " %") if measure.startswith("hq") else f"{found:.2f}"


FOUR, EIGHT, GRID, DIGITS, EXPLORATORY = "four_gaussians", "eight_gaussians", "gaussian_grid", "mnist01", "exploratory"
EYE, EARLY, LATE = "modes_by_eye", 1000, 2000


def both(*methods, experiment=DIGITS):
    """Results at both times at which 0-1 MNIST is reported, as two claims with one phrase."""
    return [[(experiment, method, None, cycle) for method in methods] for cycle in (EARLY, LATE)]


# By page: a phrase, and what is counted in it.
CLAIMS = {
    "readme": [
        ("The released rule has all four modes by eye in {} runs", [(FOUR, "released", EYE)]),
        ("and random acceptance in {}.", [(FOUR, "random-released", EYE)]),
        (
            "GDA has them in {}, and with as many ascent steps as survive that rule in {}.",
            [(FOUR, "gda-6", EYE), (FOUR, "gda-matched", EYE)],
        ),
        (
            "The test has all four, counted strictly, in {} runs, random acceptance in {}, plain GDA in {}.",
            [(FOUR, "best"), (FOUR, "random-best"), (FOUR, "gda-best")],
        ),
        (
            "All four are there in {} runs with the test, in {} with random acceptance, and in {} by that method alone",
            [(FOUR, "best-unrolled"), (FOUR, "random-unrolled"), (FOUR, "unrolled-tuned")],
        ),
        (
            "they have them in {}, {} and {}, before their rates",
            [(FOUR, name, None, EQUAL) for name in ("best-unrolled", "random-unrolled", "unrolled-tuned")],
        ),
        ("Lookahead {} ({} by eye)", [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)]),
        (
            "extragradient {}, GDA with k = 6 {}, with k = 1 {}, OMD {}.",
            [(FOUR, f"{name}-tuned") for name in ("extragradient", "gda-6", "gda-1", "omd")],
        ),
        ("the test {}, random acceptance {}, GDA {}.", [(EIGHT, name) for name in ("best", "random-best", "gda-best")]),
        (
            "GDA with k = 1 has {}, Lookahead {}, extragradient {}.",
            [(EIGHT, name) for name in ("gda-1-tuned", "lookahead-tuned", "extragradient-tuned")],
        ),
        (
            "Unrolled proposals have {}, with random acceptance {}, and the unrolled method {}.",
            [(EIGHT, name) for name in ("best-unrolled", "random-unrolled", "unrolled-tuned")],
        ),
        (
            "At the published rates the released rule has {}, random acceptance {}, GDA {}.",
            [(EIGHT, "released"), (EIGHT, "random-released"), (EIGHT, "gda-6")],
        ),
        *[
            ("{} runs each has all 25 modes", [(GRID, name)])
            for name in read_results(RESULTS, GRID)[0]["method"].unique()
        ],
        ("after 1,000 cycles in {} runs with the practical rule", [(DIGITS, "practical")]),
        (
            "The released rule has them in {}, random acceptance in {}, and GDA in none.",
            [(DIGITS, "released"), (DIGITS, "random-released")],
        ),
        *[("they are there in {} runs, at 1,000 and at 2,000.", counted) for counted in both("best")],
        ("With random acceptance they are there in {}, with", [(DIGITS, "random-best")]),
        *[
            ("OMD has them in {}, extragradient in {}, GDA with k = 6 in {}, at both.", counted)
            for counted in both("omd-tuned", "extragradient-tuned", "gda-6-tuned")
        ],
        (
            "Lookahead has them in {}, then in {}.",
            [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, LATE)],
        ),
    ],
    "accept": [
        ("the test has all modes in {} runs, random acceptance in {},", [(FOUR, "best"), (FOUR, "random-best")]),
        ("and plain descent-ascent with the same rates in {}.", [(FOUR, "gda-best")]),
        ("our best setting has all in {}, {} and {}.", [(EIGHT, "best"), (EIGHT, "random-best"), (EIGHT, "gda-best")]),
        (
            "both digits are there at cycle 1,000 in {}, {} and {}.",
            [(DIGITS, "best"), (DIGITS, "random-best"), (DIGITS, "gda-best")],
        ),
        *[
            ("they do worse: both digits in {} runs, where one step has them in {}.", counted)
            for counted in both("gda-6-tuned", "gda-1-tuned")
        ],
        ("has both digits at cycle 500 in {} runs", [(DIGITS, "gda-1", None, 500)]),
        (
            "The practical rule has them at cycle 1,000 in {}, at 1,250 in {} and at 2,000 in {}.",
            [(DIGITS, "practical", None, cycle) for cycle in (EARLY, 1250, LATE)],
        ),
        ("in {} each at 1,000.", [(DIGITS, "released")]),
        ("in {} each at 1,000.", [(DIGITS, "random-released")]),
        ("At 1,500 it is {} against {},", [(FOUR, "released", EYE), (FOUR, "random-released", EYE)]),
        ("On eight Gaussians it does no worse ({} against {})", [(EIGHT, "random-released"), (EIGHT, "released")]),
        ("as many ascent steps as survive that rule has {} by eye", [(FOUR, "gda-matched", EYE)]),
        ("It has {} after 1,000 cycles", [(FOUR, "gda-matched", EYE, 1000)]),
        (
            "Strictly it is {} with the rule, {} with random acceptance, {} with as much ascent and {} with plain",
            [(FOUR, name) for name in ("released", "random-released", "gda-matched", "gda-6")],
        ),
        (
            "descent-ascent with k = 6 has all modes in {} runs at the published rates. It has them in {} with",
            [(FOUR, "gda-6"), (FOUR, "gda-6-tuned")],
        ),
        ("It has them in {} with MinMax's rates as well", [(FOUR, "gda-best")]),
        ("is enough for {} at cycle 1,500", [(FOUR, "gda-1-tuned", None, 1500)]),
        ("It is enough on eight Gaussians for {} after as many gradients", [(EIGHT, "gda-1-tuned")]),
        (
            "on four Gaussians by eye ({} against {}) and on eight ({} against {}).",
            [(FOUR, "gda-matched", EYE), (FOUR, "gda-6", EYE), (EIGHT, "gda-matched"), (EIGHT, "gda-6")],
        ),
        ("Twelve steps at our rates end with one mode ({})", [(EXPLORATORY, "exploratory-ascent")]),
        ("Lookahead-Minmax has {} ({} by eye), at", [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)]),
        (
            "(92 %). Descent-ascent with one ascent step has {}, and OMD {}.",
            [(FOUR, "gda-1-tuned"), (FOUR, "omd-tuned")],
        ),
        ("Over as many gradients extragradient has {} and puts", [(FOUR, "extragradient-tuned")]),
        *[
            ("at both times, OMD has {} and extragradient {}.", counted)
            for counted in both("omd-tuned", "extragradient-tuned")
        ],
        (
            "Lookahead-Minmax has {}, then {}. None of these",
            [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, LATE)],
        ),
        (
            "extragradient's setting has {} on eight Gaussians, Lookahead-Minmax {}.",
            [(EIGHT, "extragradient-tuned"), (EIGHT, "lookahead-tuned")],
        ),
        (
            "(unrolled steps) all four modes are there in {}, {} and {},",
            [(FOUR, "best-unrolled"), (FOUR, "random-unrolled"), (FOUR, "unrolled-tuned")],
        ),
        ("its search found it has all modes in {} runs without any test.", [(FOUR, "unrolled-tuned")]),
        ("MinMax's proposals it has them in {}, all of", [(FOUR, "best-unrolled")]),
        ("MinMax's proposals it has them in {}, all of", [(FOUR, "best-unrolled", "modes_3sigma")]),
        (
            "before its rate is annealed, it has {} and {}.",
            [(FOUR, "unrolled-tuned", None, EQUAL), (FOUR, "best-unrolled", None, EQUAL)],
        ),
        ("On eight Gaussians it is {} and {}. At", [(EIGHT, "unrolled-tuned"), (EIGHT, "best-unrolled")]),
        ("published rates it has them in {}, on four.", [(FOUR, "unrolled")]),
        (
            "these rates give all modes in {} runs. Unrolled steps that are not annealed give them in {},",
            [(EXPLORATORY, "exploratory-not-unrolled"), (EXPLORATORY, "exploratory-unrolled-steady")],
        ),
        ("is reached with unrolled steps as the proposals**: {}.", [(FOUR, "best-unrolled")]),
        (
            "with random acceptance it is {}, and without either {}.",
            [(FOUR, "random-unrolled"), (FOUR, "unrolled-tuned")],
        ),
        ("the test does not reach it**: {} at our best setting, and {} if", [(FOUR, "best"), (FOUR, "gda-best")]),
        (
            "rates half as high again all four modes were there in {} runs, and then in {} on the reported seeds",
            [(EXPLORATORY, "exploratory-faster"), (EXPLORATORY, "exploratory-again")],
        ),
        ("With p = 0.8, nearer to descent-ascent, it was {}.", [(EXPLORATORY, "exploratory-kept")]),
        (
            "which keeps nearly everything at first, it was {} too, and at faster rates {}.",
            [(EXPLORATORY, "exploratory-theory"), (EXPLORATORY, "exploratory-theory-faster")],
        ),
        ("(at faster rates) {} has all,", [(EXPLORATORY, "exploratory-late")]),
        ("with a discriminator that starts slowly {},", [(EXPLORATORY, "exploratory-early")]),
        ("and with rates further apart {}.", [(EXPLORATORY, "exploratory-apart")]),
        ("None in the discriminator alone gave {}.", [(EXPLORATORY, "exploratory-half")]),
        (
            "(β₂ = 0.99) gave {}, over 10 steps {}. The last run was with unrolled steps, {}.",
            [
                (EXPLORATORY, "exploratory-memory"),
                (EXPLORATORY, "exploratory-short-memory"),
                (EXPLORATORY, "exploratory-unrolled"),
            ],
        ),
        ("aim is reached**: both digits at cycle 1,000 in {} runs", [(DIGITS, "best")]),
    ],
}
READINGS = ("last", "fresh", "paired")


def ablated(which):
    return "+".join(f"on-{which}-{value}-k6" for value in READINGS)


MEANS = [
    (
        "readme",
        "{} of GDA's lie within three standard deviations of a mode, and {} with the test or",
        [(FOUR, "gda-best", "hq_3sigma"), (FOUR, "best", "hq_3sigma")],
    ),
    (
        "readme",
        "KID is {} with the test, {} with random acceptance and {} without either.",
        [("cifar10", name, "kid") for name in ("best", "random-best", "gda-best")],
    ),
    ("readme", "{} with the test or random acceptance", [(FOUR, "random-best", "hq_3sigma")]),
    (
        "readme",
        "has more samples near a mode ({} against {})",
        [(FOUR, "unrolled-tuned", "hq"), (FOUR, "best-unrolled", "hq")],
    ),
    (
        "accept",
        "and {}, {} and {} of the samples near one.",
        [(FOUR, name, "hq") for name in ("best-unrolled", "random-unrolled", "unrolled-tuned")],
    ),
    ("accept", "but {} of the samples near one.", [(EXPLORATORY, "exploratory-unrolled-steady", "hq")]),
    (
        "accept",
        "{} of them lie within three standard deviations of a mode; with the test {}, and with random",
        [(FOUR, "gda-best", "hq_3sigma"), (FOUR, "best", "hq_3sigma")],
    ),
    ("accept", "and with random acceptance {}.", [(FOUR, "random-best", "hq_3sigma")]),
    (
        "accept",
        "{} against {} of the four. Fewer of them lie near any, {} against {}.",
        [(FOUR, method, measure) for measure in ("modes", "hq") for method in ("practical", "gda-6")],
    ),
    (
        "accept",
        "it has {} modes and {} of the samples near one, the test {} and {}.",
        [
            ("ablation", method, measure)
            for method in ("random-both-k6", "on-both-fresh-k6")
            for measure in ("modes", "hq")
        ],
    ),
    (
        "accept",
        "{} modes against {}, strictly counted.",
        [(FOUR, "released", "modes"), (FOUR, "random-released", "modes")],
    ),
    ("accept", "near a mode by then** ({} against {})", [(FOUR, "random-released", "hq"), (FOUR, "released", "hq")]),
    (
        "accept",
        "({} against {}, over all ways to read f). It gives more samples near one ({} against {}).",
        [("ablation", ablated(which), measure) for measure in ("modes", "hq") for which in ("generator", "both")],
    ),
    (
        "accept",
        "it is the same ({} against {}, {} against {}).",
        [("ablation", f"random-{which}-k6", measure) for measure in ("modes", "hq") for which in ("generator", "both")],
    ),
]
# Counts of other tables: of an earlier commit, and of two methods together.
OTHERS = (
    "14 of 20 with the test, 7 of 8 with random acceptance and 0 of 7",
    "14 of 15 (two lines of the table)",
)


@pytest.mark.parametrize(
    ("page", "phrase", "counted"), [(page, *claim) for page, claims in CLAIMS.items() for claim in claims], ids=str
)
def test_a_claim_is_what_was_measured(page, phrase, counted):
    assert phrase.format(*(count(*what) for what in counted)) in PAGES[page]


@pytest.mark.parametrize(("page", "phrase", "counted"), MEANS, ids=str)
def test_a_mean_is_what_was_measured(page, phrase, counted):
    assert phrase.format(*(mean(*what) for what in counted)) in PAGES[page]


def test_the_digits_are_what_was_measured():
    frame, _ = read_results(RESULTS, "mnist")
    digits = at_cycle(frame, LATE).groupby("method")["digits"]
    most = digits.get_group(best := "extragradient-tuned")
    assert f"extragradient has {most.min():.0f} in each of two runs" in PAGES["readme"]
    assert (most.min(), len(most)) == (most.max(), 2)
    assert f"no other method has more than {digits.mean().drop(best).max():g} on average" in PAGES["readme"]


def test_costs_and_the_most_modes_are_what_was_measured():
    ratios = read_costs(RESULTS, FOUR)["ratio"]
    test, random, without = (f"{ratios[name]:.1f}" for name in ("best-unrolled", "random-unrolled", "unrolled-tuned"))
    low, *_, high = sorted((test, random, without))
    assert f"A cycle takes {low} to {high} times as long as of GDA with k = 6." in PAGES["readme"]
    assert f"A cycle of it takes {without} times as long as one of" in PAGES["accept"]
    assert f"with six ascent steps ({test} with the test)." in PAGES["accept"]
    most = at_cycle(read_results(RESULTS, GRID)[0], 1500)["modes"].max()
    assert f"has all 25 modes, and no run more than {most:.0f}." in PAGES["readme"]


@pytest.mark.parametrize("page", PAGES)
def test_every_count_is_claimed_here(page):
    text = PAGES[page]
    for phrase, _ in CLAIMS[page]:
        text = re.sub(re.escape(phrase).replace(r"\{\}", COUNT.pattern), "", text)
    for phrase in OTHERS:
        text = text.replace(phrase, "")
    assert not COUNT.search(text), text
