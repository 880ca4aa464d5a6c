"""The page to check rows as a file; tests/integration/test_check_page_browser.py has it in a browser."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hf_noisy.reports.check_page import CheckPage, RowToCheck, render_check_page, write_check_page
from hf_noisy.reports.html import Report, render_report
from hf_noisy.reports.page_parts import thumbnail

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> & \"quotes\" \u2028"
ROW = RowToCheck(7, digest="ab12", text=HOSTILE, given=1, strategy="random", probability=0.25, batch=2)
PAGE = CheckPage(HOSTILE, [HOSTILE, "yes"], [ROW], earlier=[["3", "cd34", HOSTILE, "random", "0.1", "0"]])
REPORT = Report("demo", "lead", {}, ["no", "yes"], [], num_rows=10)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="check-data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize(
    ("page", "scripts"), [(render_check_page(PAGE), 2), (render_report(replace(REPORT, check=PAGE)), 4)]
)
def test_text_of_users_never_becomes_markup(page, scripts):
    assert page.count("<script") == scripts
    assert "<img src=x" not in page
    data = data_of(page)
    assert data["rows"][0]["text"] == data["classes"][0] == data["earlier"][0][2] == HOSTILE


@pytest.mark.parametrize("page", [render_check_page(PAGE), render_report(replace(REPORT, check=PAGE))])
def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_the_page_holds_what_identifies_a_row_and_its_draw():
    row = data_of(render_check_page(PAGE))["rows"][0]
    assert row == vars(ROW) | {"image": None}
    assert (
        data_of(render_check_page(replace(PAGE, rows=[replace(ROW, probability=math.nan)])))["rows"][0]["probability"]
        is None
    )


def test_long_texts_are_whole():
    text = "word " * 20_000
    assert data_of(render_check_page(replace(PAGE, rows=[replace(ROW, text=text)])))["rows"][0]["text"] == text


def test_each_sample_keeps_its_progress_under_a_name_of_its_own():
    others = [
        replace(PAGE, class_names=["no", "yes"]),
        replace(PAGE, rows=[replace(ROW, digest="ab13")]),
        replace(PAGE, rows=[ROW, ROW]),
    ]
    keys = [data_of(render_check_page(page))["key"] for page in (PAGE, replace(PAGE, title="renamed"), *others)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_a_report_without_rows_to_check_has_no_such_page():
    page = render_report(REPORT)
    assert "check-data" not in page
    assert 'class="tabs"' not in page


def test_written_whole(tmp_path):
    path = write_check_page(PAGE, tmp_path / "check.html")
    assert path.read_text("utf-8").rstrip().endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["check.html"]


def test_large_photographs_stay_small_files():
    noise = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    source = thumbnail(Image.fromarray(noise), 512)
    assert source.startswith("data:image/jpeg;base64,")
    assert thumbnail(Image.new("RGB", (1024, 1024)), 512).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": []}, "rows must hold at least one row to check, got none"),
        ({"rows": [replace(ROW, text=None)]}, "row 7 has neither text nor image"),
        ({"rows": [replace(ROW, given=2)]}, "given of row 7 must be a class 0 to 1, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        write_check_page(replace(PAGE, **changes), tmp_path / "check.html")
    assert not list(tmp_path.iterdir())
