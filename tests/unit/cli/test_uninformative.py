import json

import numpy as np
from datasets import ClassLabel, Dataset, load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def uninformative(folder):
    draw = np.random.default_rng(0)
    columns = {"text": [f"row {i}" for i in range(300)], "features": np.ones((300, 4), np.float32)}
    rows = Dataset.from_dict({**columns, "label": draw.integers(0, 3, 300)})
    path = folder / "rows.parquet"
    rows.cast_column("label", ClassLabel(names=["a", "b", "c"])).to_parquet(path)
    return path, np.array(rows["label"])


def test_an_audit_says_that_it_cannot_tell(tmp_path):
    path, _ = uninformative(tmp_path)
    result = run("audit", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "unknown: the features predict the given labels no better than chance" in result.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text("utf-8"))
    assert summary["noise_rate"] == {"estimate": None, "low": 0.0, "high": 1.0}
    assert summary["suspected_rows"] == 0
    assert "An unknown share of the labels" in (tmp_path / "out/README.md").read_text("utf-8")
    assert "The features predict the given labels no better" in (tmp_path / "out/report.html").read_text("utf-8")


def test_purify_keeps_every_label(tmp_path, caplog):
    path, given = uninformative(tmp_path)
    result = run("purify", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "no better than chance" in caplog.text
    np.testing.assert_array_equal(load_dataset(str(tmp_path / "out"))["train"]["label"], given)
