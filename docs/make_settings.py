"""Write docs/settings.md, the table of all settings, from MinMaxSettings and its docstring."""

import inspect
import re
import sys
from pathlib import Path

import griffe

from minmax_plugin.policies import POLICIES
from minmax_plugin.settings import PRESETS, EstimatorSettings, MinMaxSettings

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings of MinMaxHook

An entry of `custom_hooks`: `dict(type="MinMaxHook", ...)`. Both optimizers take the prefix `MinMax`, which changes none
of further settings. k, the number of ascent steps, is the toolkit's own `train_cfg.disc_steps`. An unknown or
contradictory setting is one error before training. `None` for `acceptance` to `update_reference_on_reject` is the
preset's value, below. [The algorithm](algorithm.md) says what f is. (Made from the code by `python
docs/make_settings.py`.)

"""


def _table(settings: type) -> list[str]:
    """A row for each setting of a class: its type, its default and what the docstring says of it."""
    parsed = griffe.Docstring(inspect.getdoc(settings) or "", lineno=1).parse("google", warnings=False)
    arguments = next(s for s in parsed if s.kind is griffe.DocstringSectionKind.parameters)
    meaning = {a.name: " ".join(a.description.split()).replace("``", "`") for a in arguments.value}
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, parameter in inspect.signature(settings).parameters.items():
        kind = str(parameter.annotation).replace("|", "\\|")
        text = meaning[name].replace("|", "\\|").replace(":class:", "").replace(":mod:", "")
        lines.append(f"| `{name}` | `{kind}` | `{parameter.default!r}` | {text} |")
    return lines


def page() -> str:
    """The page's text."""
    lines = _table(MinMaxSettings)
    lines += ["", "## Estimators", "", "The parts of `estimator`.", "", *_table(EstimatorSettings)]
    names = list(PRESETS)
    lines += ["", "## Presets", "", "| setting | " + " | ".join(f"`{n}`" for n in names) + " |", "|---" * 5 + "|"]
    for setting in PRESETS["practical"]:
        lines.append(f"| `{setting}` | " + " | ".join(f"`{PRESETS[n][setting]!r}`" for n in names) + " |")
    lines += ["", "## Acceptance policies", "", "| `acceptance` | arguments | |", "|---|---|---|"]
    for name, policy in POLICIES.items():
        signature = str(inspect.signature(policy, eval_str=True)).split(" -> ")[0].strip("()")
        arguments = re.sub(r"\b[a-z_.]+\.(?=[A-Z])", "", signature).replace("*, ", "").replace("|", "\\|")
        first = (inspect.getdoc(policy) or "").split("\n")[0].replace("``", "`")
        lines.append(f"| `{name}` | {f'`{arguments}`' if arguments else ''} | {first} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
