"""What the docs say of the code is what the code says."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_settings_is_the_code_s():
    made = runpy.run_path(str(DOCS / "make_settings.py"))
    assert made["PAGE"].read_text() == made["page"](), "run python docs/make_settings.py"
