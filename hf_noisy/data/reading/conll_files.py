"""CoNLL files: a token and its columns on each line, and an empty line after each sentence."""

import logging
import re
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from hf_noisy.core.columns import LABEL, TOKENS
from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows, numbers_array
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)

_DOCUMENT = "-DOCSTART-"  # begins a document; it is no token


def read_conll(text: str, name: str, wanted: Wanted) -> RawRows:
    """A row for each sentence, with its tokens and a list for each further column; columns are counted from 1."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # other line ends may be part of a token
    tokens, others = _token_lines(lines, _separator(lines, wanted.delimiter))
    width = Counter(len(fields) for fields in tokens.values()).most_common(1)[0][0] if tokens else 0
    if width < 2:
        raise ValueError(
            f"'{name}' is no CoNLL file: each line must hold a token and its tag, separated by a tab or spaces"
        )
    names = [str(number + 1) for number in range(width)]
    asked = {"text_column": (*wanted.text_columns, None)[0]}
    asked |= {"label_column": wanted.label_column, "clean_column": wanted.clean_column}
    for argument, column in asked.items():
        if column is not None and column not in names:
            raise ValueError(f"{argument} must be the number of a column of '{name}', 1 to {width}, got '{column}'")
    label = names.index(wanted.label_column or names[-1])
    if not wanted.text_columns:
        names[0] = TOKENS
    if not wanted.label_column:
        names[-1] = LABEL
    # The token `#` (or `#word`) at the beginning of a sentence has as many columns as others, and one of their tags.
    tags = {fields[label] for fields in tokens.values() if len(fields) == width}
    tokens |= {line: fields for line, fields in others.items() if len(fields) == width and fields[label] in tags}
    _refuse_odd_lines(tokens, width, name)
    sentences = list(_sentences(lines, tokens))
    comments = len(others.keys() - tokens.keys())
    documents = sum(fields[0] == _DOCUMENT for fields in tokens.values())
    if not sentences:
        raise ValueError(f"'{name}' holds no sentences")
    if comments or documents:
        logger.warning(f"left out of '{name}': {comments:,} comment lines and {documents:,} lines {_DOCUMENT}")
    table = {
        column: pa.array([[tokens[line][place] for line in sentence] for sentence in sentences], pa.list_(pa.string()))
        for place, column in enumerate(names)
    }
    return RawRows(pa.table(table), Places([Part(name, "line", numbers_array(one[0] + 1 for one in sentences))]))


def _separator(lines: list[str], delimiter: str | None) -> re.Pattern[str]:
    if delimiter:
        return re.compile(re.escape({"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)))
    with_tokens = [line for line in lines if line.strip() and not line.startswith(("#", _DOCUMENT))]
    # Tokens between tabs may hold spaces.
    return re.compile("\t" if with_tokens and all("\t" in line for line in with_tokens) else "[ \t]+")


def _token_lines(lines: list[str], separator: re.Pattern[str]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The fields of each line with a token, and of those that may be comments: `#` at the beginning of a sentence."""
    tokens: dict[int, list[str]] = {}
    others: dict[int, list[str]] = {}
    inside = False  # a sentence
    for number, line in enumerate(lines):
        if not line.strip():
            inside = False
            continue
        fields = separator.split(line.rstrip(" ") if separator.pattern == "\t" else line.strip(" \t"))
        if line.startswith("#") and not inside:
            others[number] = fields
        else:
            tokens[number] = fields
            inside = fields[0] != _DOCUMENT
    return tokens, others


def _refuse_odd_lines(tokens: dict[int, list[str]], width: int, name: str) -> None:
    words = {line: fields for line, fields in tokens.items() if fields[0] != _DOCUMENT}
    odd = [line for line, fields in words.items() if len(fields) != width]
    if odd:
        raise ValueError(
            f"{_lines(odd, name)}: {len(tokens[odd[0]])} columns, where other lines have {width}; separate each token "
            "from its tag, or name the separator with delimiter="
        )
    if empty := [line for line, fields in words.items() if not fields[0].strip(" ")]:
        raise ValueError(f"{_lines(empty, name)}: no token before the tag; write the token, or leave the line out")


def _lines(numbers: list[int], name: str) -> str:
    return Places([Part(name, "line", numbers_array(one + 1 for one in numbers))]).of(range(len(numbers)))


def _sentences(lines: list[str], tokens: dict[int, list[str]]) -> Iterator[list[int]]:
    """The numbers of the lines of each sentence."""
    sentence: list[int] = []
    for number, line in enumerate([*lines, ""]):
        if number in tokens and tokens[number][0] != _DOCUMENT:
            sentence.append(number)
        elif sentence and (not line.strip() or number in tokens):
            yield sentence
            sentence = []
