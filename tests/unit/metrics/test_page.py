"""The code of the page of the metrics runs as it stands, one block after the other."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    assert (tmp_path / "reliability.png").stat().st_size > 0
    assert names["calibration"].name == "calibration"
