"""The code of docs/publish.md, run against the local Hub. Run by `child.py`."""

import json
import os
from pathlib import Path

from server import LocalHub

from tests.docs import surroundings
from tests.docs.test_code_blocks import blocks


def the_page_runs(hub: LocalHub, folder: Path) -> None:
    os.chdir(folder)
    names = surroundings.names(folder) | {"json": json, "Path": Path}
    names |= {
        split: names[split].add_column("features", [[float(i % 3), 1.0] for i in range(len(names[split]))])
        for split in ("train", "test")
    }
    (folder / "output" / "robust_text").mkdir(parents=True)
    results = {"method": "GCE", "test_accuracy_last": 0.5, "seed": 0}
    (folder / "output" / "robust_text" / "results.json").write_text(json.dumps(results))
    code = [block.replace("owner/", "tester/") for block in blocks("docs/publish.md", "python")]
    assert len(code) >= 3
    for number, block in enumerate(code):
        exec(compile(block, f"docs/publish.md, block {number + 1}", "exec"), names)
    assert names["given"]["train"]["label"] == names["train"]["label"]
    assert "README.md" in hub.files("models", "tester/my-model", "main")
