"""The lines of a small CSV that this package wrote and that another program may have saved again."""

import csv
import io

from hf_noisy.data.reading.text_encoding import decode

_DELIMITERS = ",;\t"  # Excel saves with semicolons where numbers have decimal commas


def saved_text(data: bytes, name: object) -> str:
    """The text of the file, in UTF-8 or in an encoding that is guessed and reported."""
    return decode(data, str(name), remedy="save it as UTF-8")


def csv_lines(text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and each line with its number; the delimiter is the most frequent one of the header."""
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return list(reader.fieldnames or []), [(reader.line_num, line) for line in reader]
