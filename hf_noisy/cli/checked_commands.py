"""The commands about checked rows: a page or tasks to check rows on."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from hf_noisy.cli.commands import Job
from hf_noisy.cli.lists_to_check_commands import check_lists, next_lists
from hf_noisy.cli.outputs import ARGILLA, CHECK_PAGE, LABEL_STUDIO, NEXT_ROWS, SUMMARY
from hf_noisy.cli.page import in_whole, random_rows_page
from hf_noisy.cli.source import add_features
from hf_noisy.core.columns import IMAGE, TEXT
from hf_noisy.core.files import clear_os_errors
from hf_noisy.core.phases import phase, phases_so_far
from hf_noisy.data.annotation_tools import (
    argilla_records,
    argilla_settings,
    label_studio_interface,
    label_studio_tasks,
)
from hf_noisy.data.checked import RANDOM, checked_rows
from hf_noisy.data.flat_labels import task_of_labels
from hf_noisy.detection.rows_to_check import RowSample, rows_to_check
from hf_noisy.reports.check_page import CheckPage, make_check_page, write_check_page

_HERE = "OUTPUT"  # in an advice: the folder, which has another name while it is written


def check(job: Job, rows: int | None, checked: Path | None, file_format: str, seed: int) -> None:
    """`hf-noisy check`: random rows to check, as a page or as files for an annotation tool."""
    labelled = job.labelled(job.load())
    if task_of_labels(labelled.rows) != "one-label":
        return check_lists(job, labelled, rows, checked, file_format, seed)
    page = random_rows_page(job.name, labelled, checked_rows(labelled.whole, checked), rows, seed)
    if page is None:
        raise ValueError(f"there is no row to check: all are checked, or the data has no column '{TEXT}' or '{IMAGE}'")
    write_rows_to_check(job, page, file_format, {"command": "check", "split": job.split, "seed": seed})


def next_rows(
    job: Job,
    budget: int,
    checked: Path | None,
    strategy: str,
    model: str | None,
    dtype: str,
    file_format: str,
    seed: int,
) -> None:
    """`hf-noisy next`: the rows to check next, as `next.csv` and as a page or as files for an annotation tool."""
    labelled = job.labelled(job.load())
    if task_of_labels(labelled.rows) != "one-label":
        return next_lists(job, labelled, budget, checked, strategy, model, dtype, file_format, seed)
    every_checked = checked_rows(labelled.whole, checked)
    found, rows = labelled.among(every_checked), labelled.rows
    summary = {"command": "next", "split": job.split, "seed": seed}
    if strategy != RANDOM and found is None:
        raise ValueError(
            f"--strategy {strategy} needs rows that are checked already, as --checked; draw the first ones, such as "
            "50, with hf-noisy check"
        )
    if strategy != RANDOM:
        made = add_features(rows, model, job.trust_remote_code, dtype)
        rows = made.rows
        summary |= made.to_dict()
    with phase("rows to check"):
        sample = rows_to_check(rows, budget, strategy=strategy, checked=found, seed=seed)
    sample = in_whole(sample, labelled, every_checked)
    page = make_check_page(labelled.whole, sample, job.name, every_checked)
    write_rows_to_check(job, page, file_format, summary, sample)


def write_rows_to_check(
    job: Job, page: CheckPage, file_format: str, summary: dict[str, object], sample: RowSample | None = None
) -> None:
    """The output folder: the page or the files of the tool, and `summary.json`; and what to do with it."""
    first = page.rows[0]
    summary |= {"rows": len(page.rows), "strategy": first.strategy, "batch": first.batch, "format": file_format}
    with job.output.new() as folder, clear_os_errors(job.output.path):
        advice = WRITERS[file_format](folder, page)
        if sample is not None:
            sample.to_csv(folder / NEXT_ROWS)
        versions = {"versions": {"hf-noisy": version("hf-noisy")}, "phases": phases_so_far()}
        (folder / SUMMARY).write_text(json.dumps(summary | versions, indent=2), encoding="utf-8")
    print(f"{len(page.rows)} rows to check ({first.strategy}); {advice.replace(_HERE, str(job.output))}")


def _write_page(folder: Path, page: CheckPage) -> str:
    write_check_page(page, folder / CHECK_PAGE)
    return f"open {_HERE}/{CHECK_PAGE} in a browser"


def _write_label_studio(folder: Path, page: CheckPage) -> str:
    tasks, interface = LABEL_STUDIO
    (folder / tasks).write_text(json.dumps(label_studio_tasks(list(map(vars, page.rows))), indent=1), encoding="utf-8")
    (folder / interface).write_text(label_studio_interface(page.class_names, _columns(page)), encoding="utf-8")
    return f"in Label Studio, import {_HERE}/{tasks} into a project with the labelling interface {_HERE}/{interface}"


def _write_argilla(folder: Path, page: CheckPage) -> str:
    records, settings = ARGILLA
    contents = {
        records: argilla_records(list(map(vars, page.rows))),
        f"{settings}/settings.json": argilla_settings(page.class_names, _columns(page)),
        f"{settings}/dataset.json": {"name": page.title},
    }
    (folder / settings).mkdir()
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return f"in Python, argilla.Dataset.from_disk('{_HERE}') makes the dataset"


def _columns(page: CheckPage) -> list[str]:
    return [name for name in (TEXT, IMAGE) if any(getattr(row, name) is not None for row in page.rows)]


WRITERS: dict[str, Callable[[Path, CheckPage], str]] = {
    "page": _write_page,
    "label-studio": _write_label_studio,
    "argilla": _write_argilla,
}
