"""Rows with tags or sets of classes to check, as a file to correct."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hf_noisy.cli.commands import Job
from hf_noisy.cli.list_commands import audited
from hf_noisy.cli.outputs import CHECKED_CSV, NEXT_ROWS, SUMMARY
from hf_noisy.cli.page import ROWS_TO_CHECK
from hf_noisy.core.columns import CHECKED_LABEL
from hf_noisy.core.files import clear_os_errors
from hf_noisy.core.phases import phase, phases_so_far
from hf_noisy.data.checked import RANDOM
from hf_noisy.data.checked_list_file import LOOKED_AT, rows_to_check_csv
from hf_noisy.data.checked_lists import CheckedLists, checked_lists
from hf_noisy.data.labelled_rows import LabelledRows
from hf_noisy.detection.lists_to_check import lists_to_check


def check_lists(
    job: Job, labelled: LabelledRows, rows: int | None, checked: Path | None, file_format: str, seed: int
) -> None:
    """`hf-noisy check`: random rows."""
    _refuse_formats(file_format)
    known = checked_lists(labelled.whole, checked)
    drawn = _random_rows(labelled, known, ROWS_TO_CHECK if rows is None else rows, "--rows", seed, rows is None)
    _write(job, labelled, known, drawn, CHECKED_CSV, RANDOM, {"command": "check", "split": job.split, "seed": seed})


def next_lists(
    job: Job,
    labelled: LabelledRows,
    budget: int,
    checked: Path | None,
    strategy: str,
    model: str | None,
    dtype: str,
    file_format: str,
    seed: int,
) -> None:
    """`hf-noisy next`: the rows that most likely have wrong labels, given those that are checked already."""
    _refuse_formats(file_format)
    known = checked_lists(labelled.whole, checked)
    summary = {"command": "next", "split": job.split, "seed": seed}
    if strategy == RANDOM:
        drawn = _random_rows(labelled, known, budget, "--budget", seed)
    else:
        found = None if known is None else known.among(labelled)
        if found is None or (whole := found.whole(labelled.rows)) is None:
            raise ValueError(
                "--strategy informative needs rows that are checked as a whole; draw the first ones, such as 50, with "
                "hf-noisy check"
            )
        left = len(labelled.rows) - len(whole)
        if not 1 <= budget <= left:
            raise ValueError(f"--budget must be from 1 to {left:,}, the rows that are not checked, got {budget}")
        audit, features, facts = audited(labelled.rows, model, dtype, job.trust_remote_code, seed, found)
        with phase("rows to check"):
            drawn = labelled.index[lists_to_check(labelled.rows, features, audit, whole.index, budget)]
        summary |= facts
    _write(job, labelled, known, drawn, NEXT_ROWS, strategy, summary)


def _refuse_formats(file_format: str) -> None:
    if file_format != "page":
        raise ValueError("--format is about rows of one class each; tags and sets are corrected in a CSV")


def _random_rows(
    labelled: LabelledRows, known: CheckedLists | None, count: int, option: str, seed: int, at_most: bool = False
) -> np.ndarray:
    """Rows that no random draw had: all draws together are a random sample of all rows, whatever else was checked."""
    before = None if known is None else known.random()
    left = np.setdiff1d(labelled.index, [] if before is None else before.index)
    if not len(left):
        raise ValueError("there is no row to check: all are checked")
    count = min(count, len(left)) if at_most else count
    if not 1 <= count <= len(left):
        raise ValueError(f"{option} must be from 1 to {len(left):,}, the rows that no random draw had, got {count}")
    return np.sort(np.random.default_rng(seed).permutation(left)[:count])


def _write(
    job: Job,
    labelled: LabelledRows,
    known: CheckedLists | None,
    drawn: np.ndarray,
    name: str,
    strategy: str,
    summary: dict[str, Any],
) -> None:
    text = rows_to_check_csv(labelled.whole, drawn.tolist(), known, strategy)
    summary |= {"rows": len(drawn), "strategy": strategy}
    with job.output.new() as folder, clear_os_errors(job.output.path):
        (folder / name).write_text(text, encoding="utf-8")
        versions = {"versions": {"hf-noisy": version("hf-noisy")}, "phases": phases_so_far()}
        (folder / SUMMARY).write_text(json.dumps(summary | versions, indent=2), encoding="utf-8")
    print(
        f"{len(drawn)} rows to check ({strategy}); in {job.output}/{name}, correct the column {CHECKED_LABEL}, put x "
        f"into the column {LOOKED_AT} of each row that you have looked at, and pass the file with --checked"
    )
