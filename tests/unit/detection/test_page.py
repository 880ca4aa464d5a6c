"""The code of docs/detection.md runs, and its tables are those of the result file."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(capsys):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert " rows found" in capsys.readouterr().out
    wrong = names["given"] != names["true"]
    found = names["issues"].is_wrong  # the last one, of the dynamics
    assert (found & wrong).sum() > 0.9 * wrong.sum()
    assert found.sum() < 1.2 * wrong.sum()


def test_tables_are_those_of_the_result_file():
    result = json.loads((ROOT / "benchmarks" / "results" / "detection.json").read_text(encoding="utf-8"))
    for row in result["accuracy"]:
        figures = [*row["f1"].values(), *row["auprc"].values()]
        figures = [f"{figure:.3f}" for figure in figures]
        rates = [row["noise_rate"], *row["noise_rate_estimated"].values()]
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| {row['file'].removesuffix('.npz')} "))
        assert re.findall(r"\d\.\d{3}", line) == figures
        assert all(f" {100 * rate:.1f} " in line for rate in rates)
    for median in result["speed"]["median"].values():
        assert f"| {median['wall_s']:.2f} | {median['cpu_s']:.2f} | {median['memory_mb']:.0f} |" in PAGE
