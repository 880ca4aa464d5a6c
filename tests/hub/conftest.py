import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
collect_ignore = [
    "child.py",
    "listing.py",
    "push_datasets.py",
    "push_documents.py",
    "push_models.py",
    "server.py",
]  # of the other process


def pytest_generate_tests(metafunc):
    if "scenario" in metafunc.fixturenames:
        group = metafunc.function.__name__.removeprefix("test_")
        names = re.findall(r"^def (\w+)\(hub\b", (HERE / f"{group}.py").read_text(), flags=re.MULTILINE)
        metafunc.parametrize("scenario", [pytest.param((group, name), id=name) for name in names])


@pytest.fixture(scope="session")
def outcomes(request, tmp_path_factory):
    """What became of every scenario of a file that this session is to run: one process runs them all."""
    wanted = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if "scenario" in getattr(item, "fixturenames", ())
    ]

    @cache
    def run(group: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp(group)
        command = [sys.executable, str(HERE / "child.py"), str(folder), group]
        command += [name for of, name in wanted if of == group]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "outcomes.json").read_text())

    return run
