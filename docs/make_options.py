"""Write the reference of options in docs/searching.md, from the parser itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.tables import between
from minmax_tune.cli import build_parser

DOCUMENT = Path(__file__).parent / "searching.md"


def options_table(parser: argparse.ArgumentParser) -> str:
    """A Markdown table for each group of a parser's options.

    Examples:
        >>> parser = argparse.ArgumentParser(add_help=False)
        >>> _ = parser.add_argument_group("speed").add_argument("--fast", action="store_true", help="go faster")
        >>> print(options_table(parser))
        **Speed**
        <BLANKLINE>
        | option | meaning |
        |---|---|
        | `--fast` | go faster |
    """
    parts = []
    for group in parser._action_groups:
        rows = [f"| `{_usage(action)}` | {action.help} |" for action in group._group_actions if action.dest != "help"]
        if rows:
            title = (group.title or "").capitalize()
            parts.append("\n".join([f"**{title}**\n", "| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def with_table(text: str) -> str:
    """A document with its table of options written again."""
    return between(text, "options", f"\n{options_table(build_parser())}\n\n")


def _usage(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return f"{action.option_strings[-1]} {' '.join(action.metavar)}"
    value = "|".join(map(str, action.choices or [action.metavar])).replace("|", "\\|")
    if not action.option_strings:
        return f"{value} ..."
    if action.nargs == 0:
        return "`, `".join(action.option_strings)
    return f"{action.option_strings[-1]} {value}" + (" ..." if action.nargs == "+" else "")


def main(path: Path = DOCUMENT) -> int:
    path.write_text(with_table(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
