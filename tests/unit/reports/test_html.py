"""The report as a file; what a browser makes of it stands in tests/integration/test_report_page.py."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from hf_noisy.reports.html import Picture, Report, SuspiciousRow, render_report, write_report
from hf_noisy.reports.page_parts import thumbnail

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> & \"quotes\" \u2028"


def make_report(**changes) -> Report:
    row = SuspiciousRow(7, given=0, suggested=1, scores={"quality": 0.25}, text=HOSTILE)
    settings = {
        "title": HOSTILE,
        "lead": HOSTILE,
        "facts": {HOSTILE: HOSTILE},
        "class_names": [HOSTILE, "yes"],
        "rows": [row],
        "num_rows": 10,
        "transition_matrix": np.array([[0.75, 0.25], [0.0, 1.0]]),
        "pictures": [Picture("<b>", "<i>", b"\x89PNG")],
        "notes": [HOSTILE],
    }
    return Report(**(settings | changes))


def rows_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_text_of_users_never_becomes_markup():
    page = render_report(make_report())
    assert page.count("<script") == 2
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert rows_of(page)["rows"][0]["text"] == HOSTILE


def test_nothing_is_loaded_from_elsewhere():
    page = render_report(make_report())
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_the_page_holds_facts_matrix_and_scores():
    page = render_report(make_report(facts={"noise rate": "12.5 % (10 to 15)"}, class_names=["no", "yes"]))
    assert "12.5 % (10 to 15)" in page
    assert [float(cell) for cell in re.findall(r'#ffffff\)">([\d.]+)<', page)] == [75.0, 25.0, 0.0, 100.0]
    assert rows_of(page)["scores"] == ["quality"]


def test_long_text_is_cut():
    row = SuspiciousRow(0, given=0, suggested=1, scores={}, text="a" * 5000)
    assert len(rows_of(render_report(make_report(rows=[row])))["rows"][0]["text"]) < 700


def test_a_report_without_rows_or_matrix_is_a_page():
    assert rows_of(render_report(make_report(rows=[], transition_matrix=None, pictures=())))["rows"] == []


def test_written_whole(tmp_path):
    path = write_report(make_report(), tmp_path / "report.html")
    assert path.read_text("utf-8").endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_a_thumbnail_is_small_and_without_metadata(mode):
    source = thumbnail(Image.new(mode, (400, 100)))
    assert source.startswith("data:image/png;base64,")
    assert len(source) < 2000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": [SuspiciousRow(3, 2, 0, {})]}, "given of row 3 must be a class 0 to 1, got 2"),
        ({"rows": [SuspiciousRow(3, 0, -1, {})]}, "suggested of row 3 must be a class 0 to 1, got -1"),
        ({"transition_matrix": np.eye(3)}, r"transition_matrix must be \[2, 2\] as class_names, got \(3, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        write_report(make_report(**changes), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_of_many_classes_those_that_are_confused_are_shown():
    names = [f"class number {label}" for label in range(1000)]
    matrix = np.eye(1000)
    matrix[7, 7], matrix[7, 990] = 0.5, 0.5
    page = render_report(make_report(class_names=names, transition_matrix=matrix))
    assert len(page) < 300_000
    assert "the 40 of 1000 classes that are confused most" in page
    heads = re.findall(r'<th scope="row">(.*?)</th>', page)
    assert len(heads) == 40
    assert {"class number 7", "class number 990"} <= set(heads)
    few = render_report(make_report(transition_matrix=np.eye(2)))
    assert "confused most" not in few
