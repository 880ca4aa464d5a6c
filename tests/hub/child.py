"""Runs the scenarios of a file against a local Hub, in a process of its own: the clients read HF_ENDPOINT once.

python tests/hub/child.py FOLDER push_datasets a_branch_is_pushed_to
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

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
    folder, group, *names = Path(sys.argv[1]), *sys.argv[2:]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    with LocalHub() as hub:
        os.environ.pop("HF_HUB_OFFLINE", None)
        os.environ.update(environment(hub, folder))
        from jaxtyping import install_import_hook

        with install_import_hook("hf_noisy", "beartype.beartype"):
            scenarios = importlib.import_module(group)
        # The clients wait between their own attempts: seconds on the internet, milliseconds here.
        sleep = time.sleep
        time.sleep = lambda seconds: sleep(seconds / 100)
        outcomes = {}
        for name in names:
            (folder / name).mkdir()
            try:
                getattr(scenarios, name)(hub, folder / name)
                outcomes[name] = "passed"
            except Exception:
                outcomes[name] = traceback.format_exc()
            hub.faults.clear()
            hub.meanwhile.clear()
    (folder / "outcomes.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
