"""Shared settings: one thread, fixed seeds; and the table of the families, written from their tests."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

# helpers, imported by the tests
collect_ignore = ["exact.py", "families.py", "lightning_runs.py", "lossy_proxy.py", "mmagic_runs.py"]
collect_ignore += ["mmengine_runs.py", "mmgen_runs.py"]
collect_ignore += ["oracle.py", "postgresql.py", "search_runs.py", "search_trouble.py", "spaces.py"]
collect_ignore += ["stock_configs.py", "studies.py"]

FACTS = ("family", "opts in", "trains", "always is stock", "resumes", "averages see", "note")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pytest_addoption(parser):
    parser.addoption("--families-table", metavar="FILE", help="write what the families' tests found into this file")


def pytest_collection_modifyitems(items):
    for item in items:  # searches take as long as the machine is busy: a limit is against what hangs
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


def pytest_sessionfinish(session):
    path = session.config.getoption("--families-table")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not path or hasattr(session.config, "workerinput"):  # a worker of pytest-xdist has no report of its own
        return
    done = [r for outcome in ("passed", "failed") for r in reporter.stats.get(outcome, [])]
    rows = {}  # several tests may find the facts of one row
    for report in done:
        found = dict(report.user_properties)
        if "row" in found:
            note = {"note": "**its test failed**"} if report.failed else {}
            rows[found["row"]] = rows.get(found["row"], {}) | found | note
    lines = ["| " + " | ".join(FACTS) + " |", "|" + "---|" * len(FACTS)]
    for _, found in sorted(rows.items()):
        facts = dict.fromkeys(FACTS, "–") | found
        lines.append("| " + " | ".join(str(facts[fact]) for fact in FACTS) + " |")
    from benchmarks.tables import between  # not at each start, for pandas

    table = Path(path)
    table.write_text(between(table.read_text(), "table", "\n".join(lines) + "\n"))
