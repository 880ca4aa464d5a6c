"""The table of docs/architectures.md holds for every text and image classifier of transformers."""

import json
from collections import Counter

import pytest
import transformers
from transformers.utils import logging

from benchmarks.architectures import CHECKS, FILE, YES, checked
from benchmarks.tiny_architectures import IMAGE, TEXT, architectures

RESULTS = json.loads(FILE.read_text())
ROWS = {row["class"]: row for row in RESULTS["architectures"]}
ALL = list(architectures())
IS_SAME_VERSION = RESULTS["versions"]["transformers"] == transformers.__version__
# PEFT itself asks a model for what transformers calls by another name now; the rest is of the architectures.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.skipif(not IS_SAME_VERSION, reason="the table is of another version of transformers")
def test_every_architecture_has_a_row():
    assert ROWS.keys() == {architecture.name for architecture in ALL}


def test_most_architectures_pass_and_the_others_have_a_reason():
    for row in ROWS.values():
        assert all(row[name] for name in CHECKS), row
    for modality in (TEXT, IMAGE):
        rows = [row for row in ROWS.values() if row["modality"] == modality]
        failed = Counter(name for row in rows for name in CHECKS if row[name] != YES)
        assert max(failed.values()) <= len(rows) // 7, failed


@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_a_row_is_measured(kind, monkeypatch):
    (architecture,) = [one for one in ALL if one.model_type == kind]
    assert checked(architecture) == ROWS[architecture.name]
    broken = "hf_noisy.losses.cross_entropy.CrossEntropy.forward"
    monkeypatch.setattr(broken, lambda self, logits, labels, progress=0.0: 2.0 * logits.square().mean(-1))
    assert checked(architecture)["cross_entropy"].startswith("weights differ from Trainer's by")


@pytest.mark.slow
@pytest.mark.skipif(not IS_SAME_VERSION, reason="the table is of another version of transformers")
@pytest.mark.parametrize("architecture", ALL, ids=lambda one: one.name)
def test_the_table_holds(architecture):
    logging.set_verbosity_error()
    assert checked(architecture) == ROWS[architecture.name]
