"""What the docs say of the code is what the code says."""

import re
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_settings_is_the_code_s():
    made = runpy.run_path(str(DOCS / "make_settings.py"))
    assert made["PAGE"].read_text() == made["page"](), "run python docs/make_settings.py"


def test_the_messages_in_troubleshooting_are_the_code_s():
    text = (DOCS / "troubleshooting.md").read_text()
    code = "".join(
        path.read_text() for part in ("minmax_plugin", "tune") for path in (DOCS.parent / part).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # strings over several lines
    messages = re.findall(r"^\*\*`(.+?)`\*\*", text, re.MULTILINE)
    assert len(messages) > 20
    missing = [m for m in messages if not re.search(re.escape(m).replace("'MinMax", ".*"), code)]
    assert not missing
