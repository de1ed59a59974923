"""What README and docs/accept-test.md say of runs in words is what was measured."""

import re
from pathlib import Path

import pytest

from benchmarks.evidence.__main__ import RESULTS
from benchmarks.evidence.collect import read_results
from benchmarks.evidence.experiments import EXPERIMENTS
from benchmarks.evidence.page import at_cycle, at_end, succeeded

ROOT = Path(__file__).parents[1]
COUNT = re.compile(r"\b\d+ of \d+\b")


def prose(page, begin, end):
    text = (ROOT / page).read_text()
    text = " ".join(text[text.index(begin) : text.index(end)].split())
    return text.replace("none of", "0 of").replace("of three", "of 3")


PAGES = {
    "readme": prose("README.md", "Read it as it stands", "## Searching"),
    "accept": prose("docs/accept-test.md", "## What can be said so far", "<!-- ablation -->"),
}


def count(experiment, method, measure=None, cycle=None):
    """``hits of runs``, counted by a measure, or what the experiment wants, at a cycle, or where the page shows it."""
    row = EXPERIMENTS[experiment]
    frame, batches = read_results(RESULTS, experiment)
    frame = frame[frame["method"] == method]
    runs = at_cycle(frame, cycle) if cycle else at_end(row, frame, row.reported[0])
    had = succeeded(row, runs, batches, measure)
    return f"{had.sum()} of {len(had)}"


FOUR, EIGHT, GRID, DIGITS, TRIED = "four_gaussians", "eight_gaussians", "gaussian_grid", "mnist01", "tried"
EYE = "modes_by_eye"
# By page: a phrase, and what is counted in it.
CLAIMS = {
    "readme": [
        ("The released rule has all four modes by eye in {} runs", [(FOUR, "released", EYE)]),
        ("its coin in {}, GDA at the same", [(FOUR, "random-released", EYE)]),
        ("learning rates in {}, but", [(FOUR, "gda-6", EYE)]),
        ("GDA with as many ascent steps as survive that rule in {}.", [(FOUR, "gda-matched", EYE)]),
        (
            "the test has all four, counted strictly, in {} runs, its coin in {}, plain GDA in {}:",
            [(FOUR, "best"), (FOUR, "random-best"), (FOUR, "gda-best")],
        ),
        ("Lookahead {} ({} by eye)", [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)]),
        (
            "extragradient {}, GDA with k = 6 {}, with k = 1 {}, OMD {}.",
            [(FOUR, f"{name}-tuned") for name in ("extragradient", "gda-6", "gda-1", "omd")],
        ),
        ("the released rule {},", [(EIGHT, "released")]),
        ("its coin and GDA with the ascent that survives it {} each", [(EIGHT, "random-released")]),
        ("its coin and GDA with the ascent that survives it {} each", [(EIGHT, "gda-matched")]),
        ("ours {} and so its coin,", [(EIGHT, "best")]),
        ("ours {} and so its coin,", [(EIGHT, "random-best")]),
        ("GDA at our settings {}, GDA as published {}.", [(EIGHT, "gda-best"), (EIGHT, "gda-6")]),
        ("GDA with k = 1 has them in {}, after as many gradients", [(EIGHT, "gda-1-tuned")]),
        ("Lookahead has them in {}, Unrolled in {}.", [(EIGHT, "lookahead"), (EIGHT, "unrolled")]),
        *[
            ("{} runs each has all 25 modes", [(GRID, name)])
            for name in read_results(RESULTS, GRID)[0]["method"].unique()
        ],
        ("both digits are there in {} runs with the practical rule", [(DIGITS, "practical")]),
        ("in {} with the released one and with its coin", [(DIGITS, "released")]),
        ("in {} with the released one and with its coin", [(DIGITS, "random-released")]),
        ("both are there in {} runs, at 1,000 and at 2,000;", [(DIGITS, "best")]),
        ("both are there in {} runs, at 1,000 and at 2,000;", [(DIGITS, "best", None, 2000)]),
        (
            "has them in {} and the test's coin in {}, and then in all.",
            [(DIGITS, "gda-best"), (DIGITS, "random-best")],
        ),
        *[
            (
                "OMD has them in {}, extragradient in {}, at both,",
                [(DIGITS, name, None, cycle) for name in ("omd-tuned", "extragradient-tuned")],
            )
            for cycle in (1000, 2000)
        ],
        (
            "Lookahead in {}, then in {}.",
            [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, 2000)],
        ),
        *[
            ("GDA with k = 6, Lookahead, extragradient and the theory's rule have them in {} each", [cell])
            for name in ("gda-6", "lookahead", "extragradient", "theory")
            for cell in ((DIGITS, name), (DIGITS, name, None, 2000))
        ],
    ],
    "accept": [
        (
            "all four modes, counted strictly, in {} runs; with a coin of the same rate in {};",
            [(FOUR, "best"), (FOUR, "random-best")],
        ),
        ("plain descent-ascent at the same learning rates, in {} (", [(FOUR, "gda-best")]),
        ("that we had aimed at are {}, which only the runs without", [(FOUR, "gda-best")]),
        ("descent-ascent itself found other settings, and {};", [(FOUR, "gda-6-tuned")]),
        ("gave Lookahead-Minmax {} runs ({} by eye)", [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)]),
        (
            "extragradient {}, descent-ascent with one ascent step {}, and OMD {}.",
            [(FOUR, "extragradient-tuned"), (FOUR, "gda-1-tuned"), (FOUR, "omd-tuned")],
        ),
        (
            "rates half as high again all four modes were there in {} runs, and then in {} on the reported seeds",
            [(TRIED, "tried-faster"), (TRIED, "tried-again")],
        ),
        ("With p = 0.8, nearer to descent-ascent, it was {}.", [(TRIED, "tried-kept")]),
        ("twelve steps give {})", [(TRIED, "tried-gentle")]),
        ("with a discriminator that starts slowly it is {},", [(TRIED, "tried-early")]),
        ("with rates further apart {}.", [(TRIED, "tried-apart")]),
        ("none in the discriminator alone gave {}.", [(TRIED, "tried-half")]),
        (
            "all modes by eye in {} runs against {}.",
            [(FOUR, "released", EYE), (FOUR, "random-released", EYE)],
        ),
        ("does at least as well without a test ({})", [(FOUR, "gda-matched", EYE)]),
        (
            "Counted strictly it is {}, {} and {}, and",
            [(FOUR, name) for name in ("released", "random-released", "gda-matched")],
        ),
        ("plain descent-ascent at those rates has {}:", [(FOUR, "gda-6")]),
        ("GDA's samples at cycle 500 in {} runs", [(DIGITS, "gda-1", None, 500)]),
        ("at cycle 1,000 in {}, {} and {}.", [(DIGITS, "best"), (DIGITS, "random-best"), (DIGITS, "gda-best")]),
        *[
            (
                "one for OMD to both digits in {} runs and one for extragradient in {}, at both times",
                [(DIGITS, name, None, cycle) for name in ("omd-tuned", "extragradient-tuned")],
            )
            for cycle in (1000, 2000)
        ],
        (
            "one for Lookahead-Minmax to both digits in {} runs, in {} at the end.",
            [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, 2000)],
        ),
        (
            "descent-ascent has all eight modes in {} runs, the released rule in {}, its coin in {}, and",
            [(EIGHT, "gda-6"), (EIGHT, "released"), (EIGHT, "random-released")],
        ),
        ("as many ascent steps as survive that rule in {}. The practical", [(EIGHT, "gda-matched")]),
        ("takes the ascent back too, has them in {}, and so has", [(EIGHT, "practical")]),
        ("takes the ascent back too, has them in {}, and so has", [(EIGHT, "gda-1")]),
        ("has all four at the end of 5,200 cycles in {} runs", [(FOUR, "gda-1-tuned")]),
        ("on eight Gaussians all eight in {}, within", [(EIGHT, "gda-1-tuned")]),
        ("all eight in {}, within three standard deviations too", [(EIGHT, "gda-1-tuned", "modes_3sigma")]),
    ],
}
# Counts of other tables: of docs/performance.md, and of an earlier commit; and what follows from a claim of README's.
OTHERS = ("20 of 29", "37 of 40", "14 of 20 with the test, 7 of 8 with the coin, 0 of 7", "ones alone in 3 of 3")


@pytest.mark.parametrize(
    ("page", "phrase", "cells"), [(page, *claim) for page, claims in CLAIMS.items() for claim in claims], ids=str
)
def test_a_claim_is_what_was_measured(page, phrase, cells):
    assert phrase.format(*(count(*cell) for cell in cells)) in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_count_is_claimed_here(page):
    text = PAGES[page]
    for phrase, _ in CLAIMS[page]:
        text = re.sub(re.escape(phrase).replace(r"\{\}", COUNT.pattern), "", text)
    for phrase in OTHERS:
        text = text.replace(phrase, "")
    assert not COUNT.search(text), text
