"""Tags and sets of classes after decisions on spans and cells."""

from collections import defaultdict
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Bool, Int64

from hf_noisy.data.decision_lines import Decision
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names, task_of_labels
from hf_noisy.data.row_digest import row_digests

NOT = "not "  # before the name of a class that a row does not have


def decided_lists(
    rows: Dataset, decisions: list[Decision]
) -> tuple[Int64[np.ndarray, "*labels"], Bool[np.ndarray, "*labels"]]:
    """The labels after the decisions, ids of all tokens or zeros and ones of all cells, and which were decided."""
    if any(one.decision == "drop" for one in decisions):
        raise ValueError("decisions on tags and sets relabel or keep; drop rows with another tool")
    places = defaultdict(list)
    for row, digest in enumerate(row_digests(rows)):
        places[digest].append(row)
    names = list_names(rows)
    flat = flat_tags(rows) if task_of_labels(rows) == "tokens" else None
    given = flat.labels if flat is not None else label_sets(rows)[0].astype(np.int64)
    new, decided = given.copy(), np.zeros(given.shape, dtype=bool)
    faults: list[str] = []
    labels: Any
    for one in decisions:
        digest, _, where = one.digest.partition(":")
        found = places.get(digest, [])
        try:
            if not found:
                raise ValueError(f"row {one.row} (digest {one.digest}) is not in the data")
            if flat is not None:
                labels, chosen = _tags(one, found, where, flat.offsets, given, names)
            else:
                labels, chosen = _class(one, found, where, given, names)
        except ValueError as fault:
            faults.append(str(fault))
            continue
        for place in chosen:
            decided[place] = True
            if one.decision == "relabel":
                new[place] = labels
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ValueError(
            f"{len(faults)} of {len(decisions)} decisions cannot be applied: {shown}. Pass the data of the report, "
            "read with the same columns, or delete these lines"
        )
    return new, decided


def _tags(
    one: Decision, rows: list[int], where: str, offsets: np.ndarray, given: np.ndarray, names: list[str]
) -> tuple[list[int], list[Any]]:
    """The new tags of a span, and where it is among all tokens."""
    start, _, stop = where.partition("-")
    wanted, before = one.label.split(), one.label_given.split()
    if not (start.isdigit() and stop.isdigit()) or len(wanted) != int(stop) - int(start) or {*wanted} - {*names}:
        raise ValueError(f"row {one.row} has the tags '{one.label}', which do not fit its place '{where}' or the data")
    first = [int(offsets[row]) + int(start) for row in rows]
    length = len(wanted)
    alike = [at for at in first if [names[tag] if tag >= 0 else "" for tag in given[at : at + length]] == before]
    if not alike:
        raise ValueError(f"row {one.row} had the tags '{one.label_given}', but has others now")
    # Of identical sentences it is the one that stands where it stood in the report, if there is one.
    chosen = [one.row] if one.row in alike else alike
    return [names.index(tag) for tag in wanted], [slice(at, at + length) for at in chosen]


def _class(
    one: Decision, rows: list[int], where: str, given: np.ndarray, names: list[str]
) -> tuple[int, list[tuple[int, int]]]:
    """Whether a row has a class, and its cell."""
    if not (where.isdigit() and int(where) < len(names)):
        raise ValueError(f"row {one.row} names no class of the data")
    label = int(where)
    if {one.label, one.label_given} - {names[label], f"{NOT}{names[label]}"}:
        raise ValueError(f"row {one.row} is about the class '{one.label}', where the data has '{names[label]}'")
    alike = [row for row in rows if given[row, label] == (one.label_given == names[label])]
    if not alike:
        raise ValueError(f"row {one.row} had the label '{one.label_given}', but has it no more")
    there = one.row // len(names)
    return int(one.label == names[label]), [(row, label) for row in ([there] if there in alike else alike)]
