import csv
import io

import pytest

from hf_noisy.core.cells import plain_text, printable, safe_cell

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x", "-", "--flag", "+49 30"]
FORMULAS += ["\n=1", "\uff1d1+1", "\uff20x"]
PLAIN = ["", "cat", "a=b", "-1", "+1", "-0.5", "'quoted'", "it's", "1e5", "é"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text_and_comes_back(text):
    written = safe_cell(text)
    assert written == "'" + text
    assert plain_text(written) == text
    file = io.StringIO(newline="")
    csv.writer(file).writerow([written])
    assert plain_text(next(csv.reader(io.StringIO(file.getvalue(), newline="")))[0]) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_stay(text):
    assert safe_cell(text) == plain_text(text) == text
    assert safe_cell(-0.5) == -0.5


def test_control_characters_are_shown():
    assert printable("a\x1b[31mred\x07\n\u202eb") == "a\\x1b[31mred\\x07\n\\u202eb"
