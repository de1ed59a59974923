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
# A page, a phrase of it, and what is counted there.
CLAIMS = [
    ("readme", "The released rule has all four modes by eye in {} runs", [(FOUR, "released", EYE)]),
    ("readme", "its coin in {}, GDA at the same", [(FOUR, "random-released", EYE)]),
    ("readme", "learning rates in {}, but", [(FOUR, "gda-6", EYE)]),
    ("readme", "GDA with as many ascent steps as survive that rule in {}.", [(FOUR, "gda-matched", EYE)]),
    (
        "readme",
        "the test has all four, counted strictly, in {} runs, its coin in {}, plain GDA in {}:",
        [(FOUR, "best"), (FOUR, "random-best"), (FOUR, "gda-best")],
    ),
    ("readme", "Lookahead {} ({} by eye)", [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)]),
    (
        "readme",
        "extragradient {}, GDA with k = 6 {}, with k = 1 {}, OMD {}.",
        [(FOUR, f"{name}-tuned") for name in ("extragradient", "gda-6", "gda-1", "omd")],
    ),
    ("readme", "the released rule {},", [(EIGHT, "released")]),
    ("readme", "its coin and GDA with the ascent that survives it {} each", [(EIGHT, "random-released")]),
    ("readme", "its coin and GDA with the ascent that survives it {} each", [(EIGHT, "gda-matched")]),
    ("readme", "ours {} and so its coin,", [(EIGHT, "best")]),
    ("readme", "ours {} and so its coin,", [(EIGHT, "random-best")]),
    (
        "readme",
        "GDA at our settings {}, GDA as published {}.",
        [(EIGHT, "gda-best"), (EIGHT, "gda-6")],
    ),
    ("readme", "GDA with k = 1 has them in {}, after as many gradients", [(EIGHT, "gda-1-tuned")]),
    ("readme", "Lookahead has them in {}, Unrolled in {}.", [(EIGHT, "lookahead"), (EIGHT, "unrolled")]),
    *[
        ("readme", "{} runs each has all 25 modes", [(GRID, name)])
        for name in read_results(RESULTS, GRID)[0]["method"].unique()
    ],
    ("readme", "both digits are there in {} runs with the practical rule", [(DIGITS, "practical")]),
    ("readme", "in {} with the released one and with its coin", [(DIGITS, "released")]),
    ("readme", "in {} with the released one and with its coin", [(DIGITS, "random-released")]),
    ("readme", "both are there in {} runs, at 1,000 and at 2,000;", [(DIGITS, "best")]),
    ("readme", "both are there in {} runs, at 1,000 and at 2,000;", [(DIGITS, "best", None, 2000)]),
    (
        "readme",
        "has them in {} and the test's coin in {}, and then in all.",
        [(DIGITS, "gda-best"), (DIGITS, "random-best")],
    ),
    *[
        (page, phrase, [(DIGITS, "omd-tuned", None, cycle), (DIGITS, "extragradient-tuned", None, cycle)])
        for cycle in (1000, 2000)
        for page, phrase in (
            ("readme", "OMD has them in {}, extragradient in {}, at both,"),
            ("accept", "one for OMD to both digits in {} runs and one for extragradient in {}, at both times"),
        )
    ],
    (
        "accept",
        "Counted strictly it is {}, {} and {}, and",
        [(FOUR, n) for n in ("released", "random-released", "gda-matched")],
    ),
    ("accept", "plain descent-ascent at those rates has {}:", [(FOUR, "gda-6")]),
    (
        "readme",
        "Lookahead in {}, then in {}.",
        [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, 2000)],
    ),
    *[
        ("readme", "GDA with k = 6, Lookahead, extragradient and the theory's rule have them in {} each", [cell])
        for name in ("gda-6", "lookahead", "extragradient", "theory")
        for cell in ((DIGITS, name), (DIGITS, name, None, 2000))
    ],
    (
        "accept",
        "all four modes, counted strictly, in {} runs; with a coin of the same rate in {};",
        [(FOUR, "best"), (FOUR, "random-best")],
    ),
    ("accept", "plain descent-ascent at the same learning rates, in {} (", [(FOUR, "gda-best")]),
    ("accept", "that we had aimed at are {}, which only the runs without", [(FOUR, "gda-best")]),
    ("accept", "descent-ascent itself found other settings, and {};", [(FOUR, "gda-6-tuned")]),
    (
        "accept",
        "gave Lookahead-Minmax {} runs ({} by eye)",
        [(FOUR, "lookahead-tuned"), (FOUR, "lookahead-tuned", EYE)],
    ),
    (
        "accept",
        "extragradient {}, descent-ascent with one ascent step {}, and OMD {}.",
        [(FOUR, "extragradient-tuned"), (FOUR, "gda-1-tuned"), (FOUR, "omd-tuned")],
    ),
    (
        "accept",
        "rates half as high again all four modes were there in {} runs, and then in {} on the reported seeds",
        [(TRIED, "tried-faster"), (TRIED, "tried-again")],
    ),
    ("accept", "With p = 0.8, nearer to descent-ascent, it was {}.", [(TRIED, "tried-kept")]),
    ("accept", "twelve steps give {})", [(TRIED, "tried-gentle")]),
    ("accept", "with a discriminator that starts slowly it is {},", [(TRIED, "tried-early")]),
    ("accept", "with rates further apart {}.", [(TRIED, "tried-apart")]),
    ("accept", "none in the discriminator alone gave {}.", [(TRIED, "tried-half")]),
    (
        "accept",
        "all modes by eye in {} runs against {}.",
        [(FOUR, "released", EYE), (FOUR, "random-released", EYE)],
    ),
    ("accept", "does at least as well without a test ({})", [(FOUR, "gda-matched", EYE)]),
    ("accept", "GDA's samples at cycle 500 in {} runs", [(DIGITS, "gda-1", None, 500)]),
    (
        "accept",
        "at cycle 1,000 in {}, {} and {}.",
        [(DIGITS, "best"), (DIGITS, "random-best"), (DIGITS, "gda-best")],
    ),
    (
        "accept",
        "one for Lookahead-Minmax to both digits in {} runs, in {} at the end.",
        [(DIGITS, "lookahead-tuned"), (DIGITS, "lookahead-tuned", None, 2000)],
    ),
    (
        "accept",
        "descent-ascent has all eight modes in {} runs, the released rule in {}, its coin in {}, and",
        [(EIGHT, "gda-6"), (EIGHT, "released"), (EIGHT, "random-released")],
    ),
    ("accept", "as many ascent steps as survive that rule in {}. The practical", [(EIGHT, "gda-matched")]),
    ("accept", "takes the ascent back too, has them in {}, and so has", [(EIGHT, "practical")]),
    ("accept", "takes the ascent back too, has them in {}, and so has", [(EIGHT, "gda-1")]),
    ("accept", "has all four at the end of 5,200 cycles in {} runs", [(FOUR, "gda-1-tuned")]),
    ("accept", "on eight Gaussians all eight in {}, within", [(EIGHT, "gda-1-tuned")]),
    ("accept", "all eight in {}, within three standard deviations too", [(EIGHT, "gda-1-tuned", "modes_3sigma")]),
]
# Of other tables: docs/performance.md, and those of an earlier commit; and what is the complement of a count.
OTHERS = ("20 of 29", "37 of 40", "14 of 20 with the test, 7 of 8 with the coin, 0 of 7", "ones alone in 3 of 3")


@pytest.mark.parametrize(("page", "phrase", "cells"), CLAIMS, ids=str)
def test_a_claim_is_what_was_measured(page, phrase, cells):
    assert phrase.format(*(count(*cell) for cell in cells)) in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_count_is_claimed_here(page):
    text = PAGES[page]
    for phrase in [re.escape(phrase).replace(r"\{\}", COUNT.pattern) for where, phrase, _ in CLAIMS if where == page]:
        text = re.sub(phrase, "", text)
    for phrase in OTHERS:
        text = text.replace(phrase, "")
    assert not COUNT.search(text), text
