"""From a file to a corrected file, as a person does it: audit, look at the page, decide, download, apply."""

import json
import shutil
import time

import numpy as np
import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("chromium and chromium-driver are not installed", allow_module_level=True)


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.stderr)


def download_decisions(page, folder):
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(page.as_uri())
        driver.find_element("css selector", 'button[data-column="quality"]').click()
        for line in driver.find_elements("css selector", "#rows tbody tr")[:10]:
            line.find_element("css selector", 'input[data-decision="relabel"]').click()
        driver.find_element("css selector", "#download").click()
        for _ in range(600):
            if (folder / "decisions.csv").is_file():
                return folder / "decisions.csv"
            time.sleep(0.1)
    finally:
        driver.quit()
    raise AssertionError("nothing was downloaded within a minute")


def test_ten_decisions_mend_labels(tmp_path):
    rows = load_dataset("csv", data_files=write_rows(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    run("audit", tmp_path / "animals.jsonl", "--output", tmp_path / "audit")
    decisions = download_decisions(tmp_path / "audit" / "report.html", tmp_path)
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
