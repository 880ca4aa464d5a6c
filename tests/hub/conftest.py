import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc):
    if "scenario" in metafunc.fixturenames:
        group = metafunc.function.__name__.removeprefix("test_")
        names = re.findall(r"^def (\w+)\(hub\b", (HERE / f"{group}.py").read_text(), flags=re.MULTILINE)
        metafunc.parametrize("scenario", [(group, name) for name in names], ids=names)


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory):
    """What became of every scenario of a file: one process runs them all, since importing the clients is slow."""

    @cache
    def run(group: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp(group)
        done = subprocess.run(
            [sys.executable, str(HERE / "child.py"), group, str(folder)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "outcomes.json").read_text())

    return run
