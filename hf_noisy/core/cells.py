"""Text of other people in CSV cells and on the terminal: it starts no formula and moves no cursor."""

import re
from typing import Any

# What spreadsheets take for a formula; quotes before it, so that `plain_text` finds the text again. Numbers are none.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def safe_cell(value: Any) -> Any:
    """A value for a cell; a text that a spreadsheet would take for a formula begins with a quote (')."""
    starts_formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if starts_formula else value


def plain_text(cell: str) -> str:
    """The text of a cell that [`safe_cell`] wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def printable(text: str) -> str:
    """The text with control characters, such as those of a terminal, written as in Python."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)
