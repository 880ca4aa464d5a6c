"""From a file to checked rows, as a person does it: a page, a key for each row, the download, read again."""

import numpy as np
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data import read_checked

CLASSES = ["cat", "dog", "bird"]


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.stderr)


def test_rows_checked_on_the_page_come_back(tmp_path, browser, downloaded):
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 120)
    given = np.where(draw.random(120) < 0.3, (true + 1) % 3, true)
    lines = [f'"{row}: this, ""truly"", is a {CLASSES[true[row]]}",{CLASSES[given[row]]}' for row in range(120)]
    (tmp_path / "animals.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    run("check", tmp_path / "animals.csv", "--rows", 20, "--output", tmp_path / "check")

    browser.get((tmp_path / "check" / "check.html").as_uri())
    names = [button.text for button in browser.find_elements("css selector", "#check-classes span")]
    for _ in range(20):
        text = browser.find_element("css selector", "#check-text").text
        browser.switch_to.active_element.send_keys(str(1 + names.index(text.split()[-1])))
    browser.find_element("css selector", "#check-download").click()
    file = downloaded("checked.csv", tmp_path / "checked.csv")

    rows = load_dataset("csv", data_files=str(tmp_path / "animals.csv"), split="train", cache_dir=str(tmp_path / "c"))
    rows = rows.class_encode_column("label")
    moved = rows.shuffle(seed=1)
    checked = read_checked(file, moved)
    assert len(checked) == 20
    assert [moved.features["label"].names[label] for label in checked.labels] == [
        moved[int(row)]["text"].split()[-1] for row in checked.index
    ]
