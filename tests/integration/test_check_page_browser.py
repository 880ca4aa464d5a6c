"""The page to check rows in a browser: headless Chromium answers by key and by touch, and downloads the labels."""

import csv
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hf_noisy.reports.check_page import CheckPage, RowToCheck, write_check_page
from hf_noisy.reports.html import Report, SuspiciousRow, write_report
from hf_noisy.reports.page_parts import thumbnail

HOSTILE = "</script><script>document.title='owned'</script><b>bold</b>"
ODD = '<i>"bird", the\nbig one</i>'
CLASSES = ["cat", "dog", ODD]
ROWS = [
    RowToCheck(
        10 * place, f"digest{place}", f"text number {place}", given=place % 3, strategy="random", probability=0.1
    )
    for place in range(6)
]
EARLIER = [["99", "digest99", "dog", "random", "0.5", "0"]]
LEFT, RIGHT, UP, DOWN, ENTER, ESCAPE, SHIFT = "\ue012", "\ue014", "\ue013", "\ue015", "\ue007", "\ue00c", "\ue008"


@pytest.fixture
def show(browser, tmp_path):
    """Open a page with an empty storage."""

    def open_page(classes=CLASSES, rows=ROWS, **options):
        path = write_check_page(CheckPage("demo", classes, rows, **options), tmp_path / "check.html")
        browser.get(path.as_uri())
        browser.execute_script("localStorage.clear()")
        browser.get(path.as_uri())
        return browser

    yield open_page
    browser.get("about:blank")


def find(page, name):
    return page.find_element("css selector", f"#check-{name}")


def press(page, *keys):
    page.switch_to.active_element.send_keys(*keys)


def place(page):
    return find(page, "place").text


def count(page):
    return find(page, "count").text


def load(page, path):
    """What the page says of a file, once it has read it."""
    page.execute_script("document.querySelector('#check-notice').textContent = ''")
    find(page, "file").send_keys(str(path))
    for _ in range(600):
        if said := find(page, "notice").text:
            return said
        time.sleep(0.1)
    raise AssertionError("the page says nothing of the file")


def labels(path):
    with open(path, newline="", encoding="utf-8") as lines:
        return {line["digest"]: line["checked_label"] for line in csv.DictReader(lines)}


def test_text_stays_text_and_the_console_silent(show):
    page = show(rows=[replace(ROWS[0], text=HOSTILE)])
    assert page.title == "demo: check rows"
    assert find(page, "text").text == HOSTILE
    assert not page.find_elements("css selector", "#check b, #check i")
    assert [button.text for button in page.find_elements("css selector", "#check-classes span")][2] == ODD
    assert page.get_log("browser") == []


def test_digits_choose_s_skips_u_undoes_and_arrows_move(show):
    page = show()
    press(page, "1")
    press(page, "s")
    press(page, "3")
    assert place(page) == "4 of 6 (row 30)"
    assert count(page) == "2 checked, 1 skipped, 3 open"
    press(page, "u")
    assert place(page) == "3 of 6 (row 20)"
    press(page, "9")  # no class
    press(page, LEFT)
    assert place(page) == "2 of 6 (row 10), skipped"
    press(page, LEFT)
    chosen = page.find_elements("css selector", "#check-classes button[aria-pressed=true]")
    assert [button.text.split()[1] for button in chosen] == ["cat"]
    press(page, "2")  # a mended answer, then the first row that is still open
    assert place(page) == "3 of 6 (row 20)"
    press(page, RIGHT)
    assert count(page) == "1 checked, 1 skipped, 4 open"
    find(page, "shortcuts").find_element("xpath", "./ancestor::details/summary").click()
    find(page, "shortcuts").click()
    press(page, "1")
    assert count(page) == "1 checked, 1 skipped, 4 open"


def test_a_key_held_down_answers_one_row(show):
    page = show()
    page.execute_script(
        "for (let i = 0; i < 5; i++) document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { key: '1', repeat: i > 0, bubbles: true }))"
    )
    assert count(page) == "1 checked, 0 skipped, 5 open"


@pytest.mark.parametrize(("key", "code", "text"), [("&", "Digit1", "“cat”"), ("ы", "KeyS", "skipped")])
def test_keys_of_other_layouts(show, key, code, text):
    page = show()
    event = f"new KeyboardEvent('keydown', {{ key: '{key}', code: '{code}', bubbles: true }})"
    page.execute_script(f"document.body.dispatchEvent({event})")
    assert find(page, "last").text == f"Row 0: {text}"


def test_progress_survives_a_reload_but_is_not_that_of_another_sample(show):
    page = show()
    press(page, "2")
    page.refresh()
    assert place(page) == "2 of 6 (row 10)"
    press(page, "u")
    assert count(page) == "0 checked, 0 skipped, 6 open"
    press(page, "1")
    assert count(show(rows=ROWS[:5])) == "0 checked, 0 skipped, 5 open"


def test_without_local_storage_it_says_so_and_goes_on(show, browser, downloaded, tmp_path):
    broken = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })"
    show()
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    try:
        browser.refresh()
        press(browser, "1")
        assert "does not keep the progress" in find(browser, "notice").text
        assert count(browser) == "1 checked, 0 skipped, 5 open"
        find(browser, "download").click()  # else the browser asks before it leaves
        assert labels(downloaded("checked.csv", tmp_path / "checked.csv"))["digest0"] == "cat"
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_answers_are_downloaded_and_loaded_again(show, downloaded, tmp_path):
    page = show(earlier=EARLIER)
    for key in "13s2":
        press(page, key)
    find(page, "download").click()
    first = downloaded("checked.csv", tmp_path / "first.csv")
    with open(first, newline="", encoding="utf-8") as lines:
        table = list(csv.reader(lines))
    assert table[:3] == [
        ["row", "digest", "checked_label", "strategy", "probability", "batch"],
        *EARLIER,
        ["0", "digest0", "cat", "random", "0.1", "0"],
    ]
    expected = {"digest99": "dog", "digest0": "cat", "digest1": ODD, "digest2": "", "digest3": "dog"}
    assert labels(first) == expected | {"digest4": "", "digest5": ""}

    page = show(earlier=EARLIER)
    assert load(page, first) == "Loaded the labels of 3 rows."
    assert count(page) == "3 checked, 0 skipped, 3 open"
    find(page, "download").click()
    second = downloaded("checked.csv", tmp_path / "second.csv")
    assert second.read_bytes() == first.read_bytes()
    press(page, "u")
    assert count(page) == "0 checked, 0 skipped, 6 open"


def test_what_a_file_cannot_say_is_told(show, tmp_path):
    page = show()
    head = "row,digest,checked_label\n"
    for text, sentence, checked in [
        ("a,b\n1,2\n", "This file is no checked.csv", 0),
        (head + "0,digest0,cat\n1,digest0,dog\n", "two labels for row 1", 0),
        (head + "3,digest0,cat\n5,elsewhere,dog\n10,digest1,fish\n", "such as row 5", 1),
    ]:
        (tmp_path / "labels.csv").write_text(text)
        assert sentence in load(page, tmp_path / "labels.csv")
        assert count(page).startswith(f"{checked} checked")
    assert "“fish”" in find(page, "notice").text


def test_the_given_label_is_hidden_until_asked_for(show):
    page = show()
    assert not find(page, "given").is_displayed()
    find(page, "show").click()
    assert find(page, "given").text == "Given label: cat"
    page.refresh()
    assert not find(page, "given").is_displayed()


def test_the_summary_and_the_skipped_rows(show):
    page = show()
    for key in "1s11s1":
        press(page, key)
    assert find(page, "result").text == "4 of 6 rows are checked, 2 skipped."
    find(page, "reopen").click()
    assert place(page) == "2 of 6 (row 10)"
    press(page, "1")
    press(page, "1")
    assert find(page, "result").text == "6 of 6 rows are checked, 0 skipped."
    assert not find(page, "reopen").is_displayed()
    find(page, "clear").click()
    assert count(page) == "0 checked, 0 skipped, 6 open"
    press(page, "u")
    assert count(page) == "6 checked, 0 skipped, 0 open"


def test_hundreds_of_classes_are_found_by_name_or_number(show):
    names = [f"class {chr(97 + label % 26)}{label}" for label in range(298)] + ["sport", "water sport"]
    page = show(classes=names, rows=[replace(row, given=None) for row in ROWS])
    press(page, "/")
    press(page, "sport")
    assert find(page, "found").text == "2 of 300 classes; Enter chooses “sport”"
    press(page, DOWN, ENTER)
    assert find(page, "last").text == "Row 0: “water sport”"
    press(page, "12", ENTER)  # the box keeps the focus
    assert find(page, "last").text == "Row 10: “class l11”"
    press(page, SHIFT, ENTER)
    press(page, "\ue000")
    assert count(page) == "2 checked, 1 skipped, 3 open"
    press(page, LEFT)
    assert place(page).startswith("3 of 6")
    press(page, "nothing", ENTER)
    assert find(page, "found").text == "0 of 300 classes"
    press(page, ESCAPE, ESCAPE)
    press(page, "u")
    assert count(page) == "2 checked, 0 skipped, 4 open"
    press(page, "3")
    assert find(page, "search").get_attribute("value") == "3"
    press(page, "00", ENTER)
    assert find(page, "last").text == "Row 20: “water sport”"
    page.find_elements("css selector", "#check-classes button")[0].click()
    assert find(page, "last").text == "Row 30: “class a0”"


def test_classes_named_by_digits_have_these_as_keys(show):
    page = show(classes=[str(digit) for digit in range(10)])
    assert not find(page, "find").is_displayed()
    press(page, "0")
    assert find(page, "last").text == "Row 0: “0”"


def test_images_are_shown_large(show):
    images = [Image.fromarray(np.full((size, size, 3), 99, np.uint8)) for size in (8, 600)]
    page = show(rows=[replace(ROWS[0], text=None, image=thumbnail(image, 512)) for image in images])
    assert not find(page, "text").is_displayed()
    assert find(page, "image").size["height"] > 200
    assert find(page, "image").get_attribute("alt") == "Image of row 0"
    press(page, RIGHT)
    assert page.execute_script("return document.querySelector('#check-image').naturalWidth") == 512


def test_the_report_has_the_page_beside_its_findings(browser, tmp_path):
    rows = [SuspiciousRow(0, 0, 1, {"quality": 0.5}, "text")]
    report = Report("demo", "lead", {}, CLASSES, rows, num_rows=60, check=CheckPage("demo", CLASSES, ROWS))
    browser.get(write_report(report, tmp_path / "report.html").as_uri())
    assert browser.find_element("css selector", "#findings").is_displayed()
    press(browser, "1")  # the keys are for the other tab
    browser.find_element("css selector", '.tabs a[href="#check"]').click()
    assert not browser.find_element("css selector", "#findings").is_displayed()
    assert count(browser) == "0 checked, 0 skipped, 6 open"
    press(browser, "1")
    assert count(browser) == "1 checked, 0 skipped, 5 open"
    browser.execute_script("localStorage.clear()")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_usable_on_a_phone_in_light_and_dark(show, scheme):
    page = show(rows=[replace(row, text="A long text. " * 2000) for row in ROWS])
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        buttons = page.find_elements("css selector", "#check-classes button, #check .bar button")
        assert min(button.size["height"] for button in buttons if button.is_displayed()) >= 44
        assert find(page, "text").size["height"] <= 740 * 0.45 + 2
        page.execute_script("document.querySelector('#check-classes button').click()")
        assert count(page) == "1 checked, 0 skipped, 5 open"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
