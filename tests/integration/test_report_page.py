"""The report in a browser: headless Chromium filters, sorts, decides and downloads."""

import csv

import pytest

from hf_noisy.reports.html import Report, SuspiciousRow, write_report

HOSTILE = "</script><script>document.title='owned'</script><b>bold</b>"
CLASSES = ["cat", 'a "dog", big', "<i>bird</i>"]


@pytest.fixture
def page(browser, tmp_path):
    rows = [
        SuspiciousRow(
            10 * place,
            place % 3,
            (place + 1) % 3,
            {"quality": place / 120},
            f"text number {place}",
            digest=f"d{place}",
        )
        for place in range(120)
    ]
    rows[5] = SuspiciousRow(50, 2, 0, {"quality": 0.9}, HOSTILE, digest="d5")
    report = Report("demo", "Three classes.", {"rows": "1200"}, CLASSES, rows, num_rows=1200)
    browser.get(write_report(report, tmp_path / "report.html").as_uri())
    browser.execute_script("localStorage.clear()")  # all local files share one
    browser.refresh()
    return browser


def css(page, selector):
    return page.find_elements("css selector", selector)


def texts(page, name):
    return [cell.text for cell in css(page, f'#rows td[data-name="{name}"]')]


def test_text_stays_text_and_the_console_silent(page):
    assert page.title == "demo: labels"
    assert HOSTILE in texts(page, "text")
    assert not css(page, "#rows b, #rows i")
    assert CLASSES[2] in texts(page, "given")
    assert page.get_log("browser") == []


def test_sort(page):
    page.find_element("css selector", 'button[data-column="quality"]').click()
    upwards = [float(value) for value in texts(page, "quality")]
    assert upwards == sorted(upwards)
    page.find_element("css selector", 'button[data-column="quality"]').click()
    downwards = [float(value) for value in texts(page, "quality")]
    assert downwards == sorted(downwards, reverse=True)
    assert downwards[0] > upwards[-1]


def test_filter_and_pages(page):
    from selenium.webdriver.support.ui import Select

    assert len(css(page, "#rows tbody tr")) == 50
    css(page, "#next")[0].click()
    assert texts(page, "#")[0] == "500"
    Select(css(page, "#given")[0]).select_by_visible_text(CLASSES[1])
    assert set(texts(page, "given")) == {CLASSES[1]}
    assert css(page, "#count")[0].text.startswith("40 rows")
    css(page, "#search")[0].send_keys("NUMBER 11")
    assert texts(page, "text") == ["text number 112", "text number 115", "text number 118"]


def test_decisions_survive_a_reload(page):
    css(page, 'tr[data-row="50"] input[data-decision="drop"]')[0].click()
    page.refresh()
    assert css(page, 'tr[data-row="50"] input[data-decision="drop"]')[0].is_selected()
    assert css(page, "#count")[0].text == "120 rows, 1 decided"
    css(page, 'tr[data-row="50"] input[data-decision="drop"]')[0].click()
    page.refresh()
    assert css(page, "#count")[0].text == "120 rows, 0 decided"


def test_decisions_are_downloaded(page, downloaded, tmp_path):
    for row, decision in ((0, "relabel"), (50, "drop"), (20, "keep")):
        css(page, f'tr[data-row="{row}"] input[data-decision="{decision}"]')[0].click()
    # One decision a row: the later box wins, and a box that is ticked twice is none.
    css(page, 'tr[data-row="0"] input[data-decision="keep"]')[0].click()
    css(page, 'tr[data-row="0"] input[data-decision="relabel"]')[0].click()
    for _ in range(2):
        css(page, 'tr[data-row="30"] input[data-decision="drop"]')[0].click()
    assert css(page, "#count")[0].text == "120 rows, 3 decided"
    css(page, "#download")[0].click()
    with open(downloaded("decisions.csv", tmp_path), newline="") as lines:
        assert list(csv.DictReader(lines)) == [
            {"row": "0", "digest": "d0", "label_given": "cat", "label": CLASSES[1], "decision": "relabel"},
            {"row": "20", "digest": "d2", "label_given": CLASSES[2], "label": CLASSES[2], "decision": "keep"},
            {"row": "50", "digest": "d5", "label_given": CLASSES[2], "label": CLASSES[2], "decision": "drop"},
        ]
    css(page, "#open")[0].click()
    assert css(page, "#count")[0].text == "117 rows, 3 decided"


def test_relabel_all_leaves_what_was_decided(page):
    css(page, 'tr[data-row="0"] input[data-decision="drop"]')[0].click()
    css(page, "#all")[0].click()
    decided = {box.get_attribute("data-decision") for box in css(page, 'tr[data-row="0"] input:checked')}
    assert decided == {"drop"}
    assert len(css(page, 'input[data-decision="relabel"]:checked')) == 49
    assert css(page, "#count")[0].text == "120 rows, 120 decided"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_on_a_phone_in_light_and_dark(page, scheme):
    preference = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        colours = page.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map("
            "c => c.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
        )
        assert (colours[0] < colours[1]) == (scheme == "light")
        assert abs(colours[0] - colours[1]) > 450
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
