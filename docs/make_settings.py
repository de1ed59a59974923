"""Write docs/settings.md, the table of MinMaxHook's settings, from its signature and docstring."""

import inspect
import re
import sys
from pathlib import Path

import griffe

from minmax_plugin.acceptance import POLICIES
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.presets import PRESETS

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings of MinMaxHook

An entry of `custom_hooks`: `dict(type="MinMaxHook", ...)`. Both optimizers take the prefix `MinMax`, which changes none
of their own settings. k, the number of ascent steps, is the toolkit's own `train_cfg.disc_steps`. An unknown or
contradictory setting is one error before training. `None` for `acceptance` to `track` is the preset's value, below;
what f and the policies' numbers are is said in [the algorithm](algorithm.md). (Made from the code by `python
docs/make_settings.py`.)

"""


def page() -> str:
    """The page's text."""
    parsed = griffe.Docstring(inspect.getdoc(MinMaxHook) or "", lineno=1).parse("google", warnings=False)
    arguments = next(s for s in parsed if s.kind is griffe.DocstringSectionKind.parameters)
    meaning = {a.name: " ".join(a.description.split()).replace("``", "`") for a in arguments.value}
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, parameter in list(inspect.signature(MinMaxHook.__init__).parameters.items())[1:]:
        kind = str(parameter.annotation).replace("|", "\\|")
        text = meaning[name].replace("|", "\\|").replace(":class:", "").replace(":mod:", "")
        lines.append(f"| `{name}` | `{kind}` | `{parameter.default!r}` | {text} |")
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
