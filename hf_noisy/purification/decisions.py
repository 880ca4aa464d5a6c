"""Manual decisions for single rows: read from a file and applied like any purification."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import LABEL, ROW_GIVEN
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.data.records import class_labels
from hf_noisy.purification.policies import purify
from hf_noisy.purification.restore import DROPPED

DECISIONS = "decisions"  # in the column `purifier`
_COLUMNS = ["row", "label_given", "label", "decision"]
_DECISIONS = ("relabel", "drop", "keep")


@dataclass(frozen=True)
class Decision:
    """The decision for a row; the given label is used to check that the file belongs to the dataset."""

    row: int  # index in the dataset
    label_given: int
    label: int  # the new label
    decision: str  # "relabel", "drop" or "keep"


def read_decisions(path: str | Path) -> list[Decision]:
    """The decisions in a CSV that the report's page downloads; labels are class ids."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"file of decisions '{path}' is missing; download it from the report")
    try:
        text = Path(path).read_text("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns, lines = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"'{path}' is no CSV in UTF-8 ({error}); download it from the report again") from error
    if columns != _COLUMNS:
        raise ValueError(f"'{path}' must have the columns {', '.join(_COLUMNS)}, got {columns}")
    decisions = [_decision(line, number) for number, line in enumerate(lines, start=2)]
    rows = Counter(decision.row for decision in decisions)
    if twice := [row for row, count in rows.items() if count > 1]:
        raise ValueError(f"'{path}' decides row {twice[0]} more than once; keep one of the lines")
    return decisions


def apply_decisions(dataset: Dataset, decisions: list[Decision]) -> Dataset | DatasetDict:
    """The dataset as after `purify` with policy `relabel`, or as with policy `drop` if rows are dropped."""
    labels, num_classes = class_labels(dataset, LABEL)
    for decision in decisions:
        if not 0 <= decision.row < len(labels):
            raise ValueError(f"decisions name row {decision.row}, but the data has rows 0 to {len(labels) - 1}")
        if labels[decision.row] != decision.label_given:
            raise ValueError(
                f"decisions expect the given class {decision.label_given} in row {decision.row}, but the data has "
                f"{labels[decision.row]}; pass the data that the report was made from"
            )
        if not 0 <= decision.label < num_classes:
            raise ValueError(f"decisions name class {decision.label}, but the classes are 0 to {num_classes - 1}")
    dropped = sorted(decision.row for decision in decisions if decision.decision == "drop")
    if len(dropped) == len(labels):
        raise ValueError("decisions drop every row, which would leave none; keep some")
    decided = labels.copy()
    for decision in decisions:
        if decision.decision == "relabel":
            decided[decision.row] = decision.label
    # A posterior that is certain of the decisions, and of the given label everywhere else, checked or not.
    certain, nowhere = np.eye(num_classes, dtype=np.float32)[decided], np.full(len(labels), UNCHECKED)
    purified = purify(dataset, certain, "relabel", checked=nowhere, name=DECISIONS)
    if not dropped:
        return purified
    kept = np.setdiff1d(np.arange(len(labels)), dropped)
    numbered = purified.add_column(ROW_GIVEN, np.arange(len(labels)), feature=datasets.Value("int64"))
    split = str(dataset.split or "train")
    return DatasetDict({split: numbered.select(kept), DROPPED: numbered.select(dropped)})


def _decision(line: dict[str, str], number: int) -> Decision:
    try:
        row, given, label = (int(line[name]) for name in _COLUMNS[:3])
    except (TypeError, ValueError):
        raise ValueError(
            f"line {number} of the decisions must hold whole numbers, got {list(line.values())}"
        ) from None
    if None in line:  # values beyond the last column
        raise ValueError(f"line {number} of the decisions must hold {len(_COLUMNS)} values, got more")
    if line["decision"] not in _DECISIONS:
        raise ValueError(f"line {number} of the decisions must say {', '.join(_DECISIONS)}, got '{line['decision']}'")
    return Decision(row, given, label, line["decision"])
