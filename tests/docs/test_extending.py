"""docs/extending.md: a toy of each kind, added to a copy of the package in exactly the files that the page lists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
MOST = {"loss": 6, "method": 6, "purifier": 4, "metric": 3}
SECTION = "\n## `{name}`\n\nA toy.\n\n"
LOSS = '''
from hf_noisy.losses.loss import Loss, at_least_float32


class ToyLoss(Loss):
    """A toy."""

    citation = "A toy."

    def forward(self, logits, labels, progress):
        return 2 - at_least_float32(logits).softmax(-1).gather(1, labels[:, None])[:, 0]
'''
METHOD = '''
from hf_noisy.methods.method import Method, Step


class ToyMethod(Method):
    """A toy."""

    citation = "A toy."

    def forward(self, model, batch):
        outputs = model(**batch.inputs)
        return Step(outputs.logits.float().logsumexp(-1), outputs, {})
'''
PURIFIER = """
import numpy as np


def toy_posterior(features, labels, *, num_classes):
    return np.full((len(labels), num_classes), 1 / num_classes)
"""
METRIC = """
def toy_share(predictions, references, given_labels):
    return {"toy": float((predictions == references).mean())}
"""
UNIT_TEST = "def test_toy():\n    pass\n"
# File to its whole text where it is new, or to a line of it and what follows that line.
ADDED: dict[str, dict[str, str | tuple[str, str]]] = {
    "loss": {
        "hf_noisy/losses/toy_loss.py": LOSS,
        "hf_noisy/losses/__init__.py": (
            '    "tce": TCE,\n}\n',
            '\nfrom hf_noisy.losses.toy_loss import ToyLoss\n\nLOSSES["toy_loss"] = ToyLoss\n',
        ),
        "tests/unit/losses/test_toy_loss.py": UNIT_TEST,
        "docs/methods/losses.md": ("\n", SECTION.format(name="toy_loss")),
        "docs/methods/README.md": ("|---|---|--:|---|\n", "| [toy_loss](losses.md#toy_loss) | a toy | 1 | |\n"),
        "CHANGELOG.md": ("\n", "- A toy.\n"),
    },
    "method": {
        "hf_noisy/methods/toy_method.py": METHOD,
        "hf_noisy/methods/__init__.py": (
            '    "volume_minimization": VolumeMinimization,\n}\n',
            '\nfrom hf_noisy.methods.toy_method import ToyMethod\n\n_OWN["toy_method"] = ToyMethod\n',
        ),
        "tests/unit/methods/test_toy_method.py": UNIT_TEST,
        "docs/methods/one_network.md": ("\n", SECTION.format(name="toy_method")),
        "docs/methods/README.md": (
            "|---|---|--:|---|\n",
            "| [toy_method](one_network.md#toy_method) | a toy | 1 | |\n",
        ),
        "CHANGELOG.md": ("\n", "- A toy.\n"),
    },
    "purifier": {
        "hf_noisy/purification/toy_purifier.py": PURIFIER,
        "hf_noisy/purification/registry.py": (
            '    "knn": Purifier(knn.knn_posterior, knn.CITATION),\n}\n',
            "\nfrom hf_noisy.purification.toy_purifier import toy_posterior\n\n"
            'PURIFIERS["toy_purifier"] = Purifier(toy_posterior)\n',
        ),
        "tests/unit/purification/test_toy_purifier.py": UNIT_TEST,
        "docs/purify.md": ("\n", "The toy purifier.\n"),
    },
    "metric": {
        "hf_noisy/metrics/toy_metric.py": METRIC,
        "hf_noisy/metrics/modules.py": (
            "# Metric -> names of its settings.\n",
            "from hf_noisy.metrics.toy_metric import toy_share\n\n"
            '_SPECS["toy_metric"] = _Spec(toy_share, _LABELS, (), "A toy.")\n',
        ),
        "tests/unit/metrics/test_toy_metric.py": UNIT_TEST,
    },
}
USED = """
import json, sys
import numpy as np
from datasets import ClassLabel, Dataset
from typer.testing import CliRunner
import hf_noisy
from hf_noisy import metrics, purify
from hf_noisy.cli.app import app
from hf_noisy.methods import list_methods
from tests.contract.runs import make_trainer, METHODS

def rows():
    labels = np.arange(24) % 3
    data = {"text": [f"row {n}" for n in range(24)], "label": labels, "features": np.eye(3, dtype=np.float32)[labels]}
    return Dataset.from_dict(data).cast_column("label", ClassLabel(names=["a", "b", "c"]))

found = {"package": hf_noisy.__file__, "listed": [name for name in list_methods() if name.startswith("toy")]}
found["contract"] = [name for name in METHODS if name.startswith("toy")]
for name in ("toy_loss", "toy_method"):
    trainer = make_trainer(sys.argv[1], name, "plain")
    trainer.train()
    found[name] = trainer.state.log_history[-1]["train_loss"]
found["posterior"] = purify(rows(), "toy_purifier", "soft")[0]["label_posterior"]
rows().to_parquet(sys.argv[1] + "/rows.parquet")
words = ["purify", sys.argv[1] + "/rows.parquet", "--purifier", "toy_purifier", "--output", sys.argv[1] + "/out"]
result = CliRunner().invoke(app, words)
found["command"] = result.exit_code
labels = {"predictions": [0, 1], "references": [0, 0], "given_labels": [0, 1]}
found["metric"] = metrics.load("toy_metric").compute(**labels)["toy"]
print(json.dumps(found))
"""


def listed(kind: str) -> set[str]:
    section = PAGE.split(f"\n## A {kind}\n")[1].split("\n## ")[0]
    return {file.replace("<name>", f"toy_{kind}") for file in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)}


@pytest.mark.parametrize("kind", ADDED)
def test_the_page_lists_the_files_that_a_toy_needs(kind):
    assert listed(kind) == ADDED[kind].keys()
    assert len(listed(kind)) <= MOST[kind]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The package, its tests and documents, with a toy of each kind."""
    folder = tmp_path_factory.mktemp("copy")
    left_out = shutil.ignore_patterns("__pycache__", "images")
    for name in ("hf_noisy", "tests", "docs", "benchmarks", "model_cards", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in ("CHANGELOG.md", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for files in ADDED.values():
        for name, change in files.items():
            if isinstance(change, str):
                assert not (folder / name).exists()
                (folder / name).write_text(change)
                continue
            before, (line, addition) = (folder / name).read_text(), change
            assert line in before
            (folder / name).write_text(before.replace(line, line + addition, 1))
    return folder


def run(copy: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(copy), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *words], env=environment, cwd=copy, capture_output=True, text=True)


@pytest.mark.slow
def test_each_toy_is_found_by_its_name(copy, tmp_path):
    done = run(copy, "-c", USED, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(copy / "hf_noisy" / "__init__.py")
    assert found["listed"] == found["contract"] == ["toy_loss", "toy_method"]
    assert 1 < found["toy_loss"] < 2
    assert found["toy_method"] > 0
    assert found["posterior"] == pytest.approx([1 / 3] * 3)
    assert found["command"] == 0
    assert found["metric"] == 0.5


@pytest.mark.slow
def test_the_tests_of_every_method_run_over_the_toys(copy):
    tests = ["tests/contract/test_contract.py", "tests/unit/losses/test_every_loss.py", "tests/test_documents.py"]
    done = run(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "toy or section_is_of_a_method", *tests)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.findall(r"::(\S+) PASSED", done.stdout)
    for toy in ("toy_loss", "toy_method"):
        assert f"test_gradient_accumulation_is_one_batch[{toy}-plain]" in passed
    assert "test_names_of_the_classes_do_not_matter[toy_loss]" in passed
    assert "test_every_section_is_of_a_method" in passed
