"""The code of the page of weak labels runs as it stands, one block after the other."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[4] / "docs" / "weak_labels.md"


@pytest.mark.slow
def test_the_page_runs(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("| rule | classes | votes | coverage")
    assert len(printed) == 2 + names["votes"].shape[1]
    assert names["result"].posterior.shape == (len(names["rows"]), names["num_classes"])
    assert (names["labels"] >= 0).all()
