"""Runs the scenarios of a file against a local Hub, in a process of its own: the clients read HF_ENDPOINT once.

python tests/hub/child.py push_datasets FOLDER
"""

import importlib
import inspect
import json
import os
import sys
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from server import WRITER, LocalHub


def environment(hub: LocalHub, folder: Path) -> dict[str, str]:
    """Where the clients look, and what they may not touch."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": WRITER,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    with LocalHub() as hub:
        os.environ.pop("HF_HUB_OFFLINE", None)
        os.environ.update(environment(hub, folder))
        from jaxtyping import install_import_hook

        with install_import_hook("hf_noisy", "beartype.beartype"):
            scenarios = importlib.import_module(name)
        # The clients wait between their own attempts: seconds on the internet, milliseconds here.
        sleep = time.sleep
        time.sleep = lambda seconds: sleep(seconds / 100)
        outcomes = {}
        for scenario, run in inspect.getmembers(scenarios, inspect.isfunction):
            if run.__module__ != name or next(iter(inspect.signature(run).parameters), "") != "hub":
                continue
            place = folder / scenario
            place.mkdir()
            try:
                run(hub, place)
                outcomes[scenario] = "passed"
            except Exception:
                outcomes[scenario] = traceback.format_exc()
            hub.faults.clear()
            hub.meanwhile.clear()
    (folder / "outcomes.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
