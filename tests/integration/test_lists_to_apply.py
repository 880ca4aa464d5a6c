"""Tags of words and sets of classes in the report: ticked in a browser, downloaded and applied."""

import json

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app

pytestmark = pytest.mark.slow


def conll(folder):
    """Sentences, of which every sixth lacks the tag of its name."""
    names, places, lines = ["Anna", "Bob", "Carl", "Dora"], ["Oslo", "Rome", "Paris", "Lima"], []
    for row in range(48):
        tag = "O" if row % 6 == 0 else "B-PER"
        lines += [f"{names[row % 4]} {tag}", "lives O", "in O", f"{places[(row // 4) % 4]} B-LOC", ""]
    (folder / "people.conll").write_text("\n".join(lines))
    return folder / "people.conll"


def sets(folder):
    """Texts, of which every fifth lacks a class."""
    texts = {"the dog sleeps": ["animal"], "it rains": ["weather"], "the cat hates rain": ["animal", "weather"]}
    rows = [list(texts.items())[row % 3] for row in range(60)]
    lines = [
        json.dumps({"text": f"{text} {row}", "label": own[row % 5 == 0 :]}) for row, (text, own) in enumerate(rows)
    ]
    (folder / "topics.jsonl").write_text("\n".join(lines))
    return folder / "topics.jsonl"


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.stderr)
    return result.output


@pytest.mark.parametrize("make", [conll, sets])
def test_what_is_ticked_is_applied(make, tmp_path, browser, downloaded):
    source = make(tmp_path)
    run("audit", source, "--output", tmp_path / "audit")
    browser.get((tmp_path / "audit" / "report.html").as_uri())
    assert not browser.find_elements("css selector", 'input[data-decision="drop"]')
    lines = browser.find_elements("css selector", "#rows tbody tr")
    suggested = [line.find_element("css selector", 'td[data-name="suggested"]').text for line in lines[:2]]
    for line in lines[:2]:
        line.find_element("css selector", 'input[data-decision="relabel"]').click()
    lines[2].find_element("css selector", 'input[data-decision="keep"]').click()
    browser.find_element("css selector", "#download").click()
    done = downloaded("decisions.csv", tmp_path / "decisions.csv")
    output = run("apply", done, source, "--output", tmp_path / "applied")
    assert "2 labels changed by 2 decisions, 1 kept" in output
    files = str(tmp_path / "applied" / "data" / "*.parquet")
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert sum(rows["label_changed"]) == 2
    names = rows.features["label"].feature.names
    new = [" ".join(names[one] for one in row["label"]) for row in rows if row["label_changed"]]
    given = [" ".join(names[one] for one in row["label_given"]) for row in rows if row["label_changed"]]
    assert all(before != after for before, after in zip(given, new, strict=True))
    assert all(any(text.removeprefix("not ") in one for one in [*new, *given]) for text in suggested)
    assert browser.get_log("browser") == []
