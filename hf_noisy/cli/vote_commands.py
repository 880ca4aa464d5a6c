"""`hf-noisy aggregate`: one label a row from the votes of several annotators."""

import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, List, Value

from hf_noisy.cli.commands import Job as Job  # the runner of commands builds it
from hf_noisy.cli.outputs import REPORT
from hf_noisy.cli.source import add_features
from hf_noisy.cli.votes_of_rows import with_votes
from hf_noisy.core.columns import (
    CHECKED_LABEL,
    FEATURES,
    LABEL,
    LABEL_CONFIDENCE,
    LABEL_POSTERIOR,
    TEXT,
    VOTES,
)
from hf_noisy.data.checked import checked_rows
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.weak.vote_files import VoteFile, read_votes
from hf_noisy.detection.aggregate import Aggregation, aggregate
from hf_noisy.detection.annotator_table import AnnotatorRow
from hf_noisy.hub.votes_card import aggregated_card
from hf_noisy.reports.annotators import annotator_figure
from hf_noisy.reports.html import DECISIONS, Picture, Report, SuspiciousRow, Table

_DOUBT = 0.05  # a class of a lower probability is not suggested
_MOST_SHOWN = 200  # disputed rows in the report
_VOTES_KEPT = 100  # annotators up to which the votes are a column of the output


def aggregate_votes(
    job: Job,
    vote_columns: Sequence[str],
    annotator_column: str | None,
    row_column: str | None,
    classes: Sequence[str] | None,
    vote_method: str,
    use_texts: bool,
    checked: Path | None,
    model: str | None,
    dtype: str,
) -> None:
    """The aggregated labels with their posterior, the table of annotators and the report."""
    given = job.reading.given()
    text = given.pop("text_column", [None])[0]
    file = read_votes(
        job.source,
        vote_columns=vote_columns,
        annotator_column=annotator_column,
        row_column=row_column,
        classes=classes or None,
        text_column=text,
        **given,
    )
    rows = _rows(file)
    looked_at = checked_rows(rows, checked, names=file.votes.classes)
    made_from, features = "the votes alone", None
    if vote_method == "model" and use_texts and file.texts is not None:
        made = add_features(rows.select_columns([TEXT]), model, job.trust_remote_code, dtype)
        made_from, features = made.made_from, np.asarray(made.rows.with_format("numpy")[FEATURES][:])
    elif model is not None:
        raise ValueError(
            "--model is not used without texts and --method model; leave it out, or add a column of texts"
        )
    found = aggregate(file.votes, features, looked_at, method=vote_method)
    labelled = _with_labels(rows, found)
    table = found.annotators
    summary = {
        "command": "aggregate",
        "rows": len(rows),
        "rows_without_vote": int((~found.covered).sum()),
        "answers": len(file.votes),
        "method": vote_method,
        "encoder": made_from,
        "checked_rows": 0 if looked_at is None else len(looked_at),
        "annotators": [
            dict(zip(AnnotatorRow.__dataclass_fields__, map(_finite, astuple(r)), strict=True)) for r in table
        ],
    }
    splits = DatasetDict({job.split: labelled})
    card = aggregated_card(splits, job.split, found, name=job.name, made_from=made_from)
    job.finish(splits, card, summary, _report(job.name, labelled, file, found, made_from))
    print(f"{len(file.votes):,} answers of {len(table)} annotators on {len(rows):,} rows; written to {job.output}")
    for row in sorted(table, key=lambda one: one.weight)[:5]:
        if row.note:
            print(f"{row.annotator}: {row.note}")
    print(f"look at {job.output.path / REPORT}")


def _rows(file: VoteFile) -> Dataset:
    """The rows of the file, before they have labels."""
    columns: dict[str, Any] = {"id": file.rows}
    if file.texts is not None:
        columns[TEXT] = [text or "" for text in file.texts]
    if file.checked is not None:
        columns[CHECKED_LABEL] = [None if value in (None, "") else str(value) for value in file.checked]
    return Dataset.from_dict(columns)


def _with_labels(rows: Dataset, found: Aggregation) -> Dataset:
    """The rows with label, confidence, posterior and votes."""
    names = list(found.votes.classes)
    values = {name: rows[name][:] for name in rows.column_names}
    values[LABEL] = [None if label < 0 else int(label) for label in found.labels]
    values[LABEL_CONFIDENCE] = found.posterior.max(axis=1).astype(np.float32)
    values[LABEL_POSTERIOR] = found.posterior.astype(np.float32).tolist()
    features = dict(rows.features) | {
        LABEL: ClassLabel(names=names),
        LABEL_CONFIDENCE: Value("float32"),
        LABEL_POSTERIOR: List(Value("float32"), length=len(names)),
    }
    if len(found.votes.annotators) <= _VOTES_KEPT:
        values[VOTES], features[VOTES] = found.votes.matrix().tolist(), List(Value("int64"))
    from datasets import Features

    return Dataset.from_dict(values, features=Features(features))


def _report(name: str, labelled: Dataset, file: VoteFile, found: Aggregation, made_from: str) -> Report:
    counts = found.votes.counts()
    entropy = -(found.posterior * np.log(np.maximum(found.posterior, 1e-12))).sum(axis=1)
    disputed = np.argsort(-np.where(found.covered, entropy, -1), kind="stable")[:_MOST_SHOWN]
    disputed = disputed[found.labels[disputed] >= 0]
    # Rows without a text cannot be found again, so there is nothing to tick.
    digests = [""] * len(disputed) if file.texts is None else row_digests(labelled.select(disputed))
    others = np.where(np.arange(counts.shape[1]) == found.labels[disputed, None], -1, found.posterior[disputed])
    second = np.where(others.max(axis=1) < _DOUBT, found.labels[disputed], others.argmax(axis=1))
    shown = [
        SuspiciousRow(
            row=int(row),
            given=int(found.labels[row]),
            suggested=int(other),
            scores={"confidence": float(found.posterior[row].max())},
            text=with_votes(None if file.texts is None else file.texts[row], counts[row], found.votes.classes),
            digest=digest,
        )
        for row, other, digest in zip(disputed, second, digests, strict=True)
    ]
    lines = [[_cell(value) for value in astuple(row)] for row in found.annotators]
    columns = list(AnnotatorRow.__dataclass_fields__)
    caption = "Accuracy is by the aggregated labels. A weight below 1: the annotator agrees too much with others."
    with tempfile.TemporaryDirectory() as folder:
        content = annotator_figure(found, Path(folder) / "annotators.png").read_bytes()
    return Report(
        title=name,
        lead="One label a row from several annotators; below are the rows on which the answers leave the most doubt.",
        facts={
            "rows": f"{len(counts):,}",
            "annotators": str(len(found.annotators)),
            "answers": f"{len(found.votes):,}",
            "mean confidence": f"{found.posterior.max(axis=1).mean():.1%}",
        },
        class_names=found.votes.classes,
        rows=shown,
        num_rows=len(counts),
        decisions=() if file.texts is None else DECISIONS,
        relabels_all=False,  # the suggestions are less probable than the labels
        pictures=[Picture("Annotators", "Accuracy with an interval, and agreement beyond the labels.", content)],
        tables=[Table("Annotators", caption, columns, lines)],
        notes=[f"Method: {found.method}, from {made_from}. The given label of a row is the aggregated one."],
    )


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """NaN as null, which JSON has."""
    return None if isinstance(value, float) and value != value else value
