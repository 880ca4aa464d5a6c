"""transformers' own trainer tests under `NoisyTrainer`, beside `Trainer` itself.

    python -m benchmarks.upstream_tests ../transformers --select "test_trainer_data test_trainer_callback"

Reads the tests from a folder with the sources of the installed version of transformers; nothing of them is stored.
Both runs use toys that classify (see `benchmarks.upstream_toys`). A test that `Trainer` fails says nothing, as it
compares values of the regressions or needs something that is not there, such as a GPU or the Hub.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.upstream_toys import TRAINER

ROOT = Path(__file__).parents[1]
OUTCOMES = PASSED, REFUSED, FAILED, SKIPPED = "passed", "refused", "failed", "skipped"


class Result(NamedTuple):
    outcome: str
    message: str = ""


def run(sources: Path, files: list[Path], trainer: str) -> dict[str, Result]:
    """Outcome of every test in some files of the sources."""
    paths = os.pathsep.join([str(sources), str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": paths, TRAINER: trainer, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-c", os.devnull),
                *("-p", "benchmarks.upstream_toys", "-p", "no:cacheprovider", "--rootdir", str(sources)),
                *map(str, files),
            ],
            cwd=folder,
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if not report.is_file():
            raise RuntimeError(f"pytest gave no report of the tests in {sources}; run it there to see why")
        return results(report.read_text("utf-8"))


def results(report: str) -> dict[str, Result]:
    """Outcomes by test in a JUnit report; an error that our package raises on purpose is a refusal."""
    found = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = f"{case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name')}"
        fault = next((part for kind in ("failure", "error") if (part := case.find(kind)) is not None), None)
        if fault is None:
            found[name] = Result(SKIPPED if case.find("skipped") is not None else PASSED)
            continue
        message, lines = fault.get("message") or "", [line for line in (fault.text or "").splitlines() if line.strip()]
        raised = lines[-1] if lines else ""  # "file:line: kind of error"
        ours = "hf_noisy/" in raised and raised.endswith(("ValueError", "TypeError"))
        found[name] = Result(REFUSED if ours else FAILED, message.splitlines()[0] if message else raised)
    return found


def compared(stock: dict[str, Result], noisy: dict[str, Result]) -> str:
    """The report: counts, and every test that only `Trainer` passes."""
    passed = [name for name, result in stock.items() if result.outcome == PASSED]
    counts = Counter(noisy.get(name, Result(FAILED)).outcome for name in passed)
    lines = [
        f"{len(stock)} tests; with toys that classify, Trainer passes {len(passed)}",
        "of these, NoisyTrainer: "
        + ", ".join(f"{kind} {counts[kind]}" for kind in (PASSED, REFUSED, FAILED, SKIPPED)),
    ]
    for name in passed:
        result = noisy.get(name, Result(FAILED, "not run"))
        if result.outcome != PASSED:
            lines.append(f"  {result.outcome:8} {name}: {result.message}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, help="folder with the sources of transformers")
    parser.add_argument("--select", default="", help="names of test files, without .py; by default all of Trainer")
    chosen = parser.parse_args()
    folder = chosen.sources / "tests" / "trainer"
    if not (folder / "trainer_test_utils.py").is_file():
        raise SystemExit(f"{folder} has no trainer_test_utils.py; give a folder with the sources of transformers")
    names = chosen.select.split()
    files = [folder / f"{name}.py" for name in names] or sorted(folder.glob("test_trainer*.py"))
    sources = chosen.sources.resolve()
    files = [file.resolve() for file in files]
    print(compared(*(run(sources, files, trainer) for trainer in ("stock", "noisy"))))


if __name__ == "__main__":
    main()
