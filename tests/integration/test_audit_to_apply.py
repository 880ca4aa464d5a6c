"""From a file to a corrected file, as a person does it: audit, look at the page, decide, download, apply."""

import json

import numpy as np
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.stderr)


def decide(browser, page):
    browser.get(page.as_uri())
    browser.find_element("css selector", 'button[data-column="quality"]').click()
    for line in browser.find_elements("css selector", "#rows tbody tr")[:10]:
        line.find_element("css selector", 'input[data-decision="relabel"]').click()
    browser.find_element("css selector", "#download").click()


def test_ten_decisions_mend_labels(tmp_path, browser, downloaded):
    rows = load_dataset("csv", data_files=write_rows(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    run("audit", tmp_path / "animals.jsonl", "--output", tmp_path / "audit")
    decide(browser, tmp_path / "audit" / "report.html")
    decisions = downloaded("decisions.csv", tmp_path / "decisions.csv")
    run("apply", decisions, tmp_path / "animals.jsonl", "--output", tmp_path / "mended")
    mended = load_dataset(
        "parquet",
        data_files=str(tmp_path / "mended" / "data" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    wrong_before = np.array(rows["label"]) != np.array(rows["clean_label"])
    wrong_after = np.array(mended["label"]) != np.array(mended["clean_label"])
    assert sum(mended["label_changed"]) == 10
    assert wrong_after.sum() <= wrong_before.sum() - 8


def write_rows(folder) -> str:
    """JSON lines for the commands, and the same labels as CSV for the comparison."""

    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 240)
    given = np.where(draw.random(240) < 0.2, (true + 1) % 3, true)
    vectors = np.eye(3)[true] * 4 + draw.normal(size=(240, 3))
    with open(folder / "animals.jsonl", "w") as file:
        for row in range(240):
            values = {"text": f"<i>row {row}</i>", "label": int(given[row]), "clean_label": int(true[row])}
            file.write(json.dumps({**values, "features": vectors[row].tolist()}) + "\n")
    lines = [f"{a},{b}" for a, b in zip(given, true, strict=True)]
    (folder / "labels.csv").write_text("label,clean_label\n" + "\n".join(lines) + "\n")
    return str(folder / "labels.csv")
