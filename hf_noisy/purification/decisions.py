"""Manual decisions for single rows, applied like any purification."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import LABEL, ROW_GIVEN
from hf_noisy.data.checked import UNCHECKED, class_names
from hf_noisy.data.decision_lines import Decision
from hf_noisy.data.records import class_labels
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.row_digest import row_digests
from hf_noisy.purification.policies import purify
from hf_noisy.purification.restore import DROPPED

DECISIONS = "decisions"  # in the column `purifier`
_FAULTS_SHOWN = 5


def apply_decisions(
    dataset: Dataset, decisions: list[Decision], positions: Sequence[int] | np.ndarray | None = None
) -> Dataset | DatasetDict:
    """The dataset as after `purify` with policy `relabel`, or as with policy `drop` if rows are dropped.

    `positions` are the row numbers in the data of the report, where `dataset` is a part of it.
    """
    labels, num_classes = class_labels(dataset, LABEL)
    rows, classes = _rows_and_classes(
        dataset, labels, decisions, range(len(labels)) if positions is None else positions
    )
    drops = [found for found, one in zip(rows, decisions, strict=True) if one.decision == "drop"]
    dropped = sorted({row for found in drops for row in found})
    if len(dropped) == len(labels):
        raise ValueError("decisions drop every row, which would leave none; keep some")
    decided = labels.copy()
    for found, label, decision in zip(rows, classes, decisions, strict=True):
        if decision.decision == "relabel":
            decided[found] = label
    # A posterior that is certain of the decisions, and of the given label everywhere else, checked or not.
    certain, nowhere = np.eye(num_classes, dtype=np.float32)[decided], np.full(len(labels), UNCHECKED)
    purified = purify(dataset, certain, "relabel", checked=nowhere, name=DECISIONS)
    if not dropped:
        return purified
    kept = np.setdiff1d(np.arange(len(labels)), dropped)
    numbered = with_column(purified, ROW_GIVEN, np.arange(len(labels)), datasets.Value("int64"))
    split = str(dataset.split or "train")
    return DatasetDict({split: numbered.select(kept), DROPPED: numbered.select(dropped)})


def _rows_and_classes(
    dataset: Dataset, labels: np.ndarray, decisions: list[Decision], positions: Any
) -> tuple[list[list[int]], list[int]]:
    """The rows and the new class of each decision; all faults are raised together."""
    names, digests = class_names(dataset), row_digests(dataset)
    wanted, places = {one.digest for one in decisions}, defaultdict(list)
    for row, digest in enumerate(digests):
        if digest in wanted:
            places[digest].append(row)
    alike = defaultdict(list)  # identical rows cannot be told apart, so their decisions belong together
    for decision in decisions:
        alike[decision.digest, decision.label_given].append(decision)
    rows, classes, faults = [], [], []
    for decision in decisions:
        if unknown := next((one for one in (decision.label_given, decision.label) if one not in names), None):
            faults.append(f"row {decision.row} names class '{unknown}', but the classes are {', '.join(names)}")
            continue
        same = places[decision.digest]
        found = [row for row in same if names[labels[row]] == decision.label_given]
        if not same:
            faults.append(f"row {decision.row} (digest {decision.digest}) is not in the data")
        elif not found:
            now = " and ".join(sorted({f"'{names[labels[row]]}'" for row in same}))
            faults.append(f"row {decision.row} had the label '{decision.label_given}', but now has {now}")
        elif (chosen := _chosen(decision, alike[decision.digest, decision.label_given], found, positions)) is None:
            where = "rows " + ", ".join(str(positions[row]) for row in found)
            faults.append(f"row {decision.row} has {len(found)} identical copies ({where}), not all decided alike")
        else:
            rows.append(chosen)
            classes.append(names.index(decision.label))
    if faults:
        shown = faults[:_FAULTS_SHOWN]
        if more := faults[_FAULTS_SHOWN:]:
            shown.append(f"and {len(more)} more")
        raise ValueError(
            f"{len(faults)} of {len(decisions)} decisions cannot be applied: {'; '.join(shown)}. Pass the data of "
            "the report, read with the same columns, or delete these lines"
        )
    return rows, classes


def _chosen(decision: Decision, alike: list[Decision], found: list[int], positions: Any) -> list[int] | None:
    """The rows of a decision among the identical rows found, or None where it could be either of several."""
    if len({(one.label, one.decision) for one in alike}) == 1 and len(alike) >= len(found):
        return found
    # Some copies stay as they are, or are decided otherwise: each must be where it was.
    there = [row for row in found if positions[row] == decision.row]
    return there or None
