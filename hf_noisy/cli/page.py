"""The HTML report of `audit` and `purify`, and the page to check rows."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from jaxtyping import Int64

from hf_noisy.cli.checked_figures import checked_notes, checked_tables, rate_facts
from hf_noisy.cli.findings import finding_tables
from hf_noisy.cli.votes_of_rows import disagreement_tables, with_votes
from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, TEXT
from hf_noisy.core.phases import phase
from hf_noisy.data.checked import CheckedRows, checked_csv, class_names
from hf_noisy.data.labelled_rows import LabelledRows, label_values, true_noise
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.texts import shown_texts
from hf_noisy.data.weak.vote_table import Votes
from hf_noisy.detection.audit import Audit
from hf_noisy.detection.rows_to_check import RowSample, rows_to_check
from hf_noisy.reports.check_page import CheckPage, make_check_page
from hf_noisy.reports.figures import data_map_figure, reliability_diagram
from hf_noisy.reports.html import Picture, Report, SuspiciousRow
from hf_noisy.reports.page_parts import thumbnail

MAX_ROWS = 1000  # more would make the page slow
ROWS_TO_CHECK = 100


@phase("report")
def make_report(
    title: str,
    labelled: LabelledRows,
    audit: Audit,
    *,
    lead: str,
    facts: Mapping[str, str],
    notes: list[str],
    check: CheckPage | None = None,
    votes: Votes | None = None,
) -> Report:
    """The report of an audit, with the lead, facts and notes of the command."""
    rows, numbers = labelled.rows, labelled.index
    found = {
        "rows": f"{len(rows):,}",
        **rate_facts(audit),
        "rows under suspicion": f"{int(audit.issues.is_wrong.sum()):,}",
    }
    if len(labelled.missing):
        found["rows without a label"] = f"{len(labelled.missing):,}"
    if (rate_known := true_noise(rows, audit.labels)) is not None:
        found["true noise rate"] = f"{rate_known:.1%}"
    return Report(
        title=title,
        lead=lead,
        facts=found | dict(facts),
        class_names=audit.class_names,
        transition_matrix=audit.transition_matrix,
        pictures=_pictures(rows, audit),
        tables=[
            *checked_tables(audit),
            *disagreement_tables(rows, audit, votes, numbers),
            *finding_tables(rows, audit, numbers),
        ],
        rows=_suspicious(rows, audit, votes, numbers),
        num_rows=len(rows),
        notes=[*checked_notes(audit), *notes],
        check=check,
    )


@phase("rows to check")
def random_rows_page(
    title: str, labelled: LabelledRows, checked: CheckedRows | None = None, count: int | None = None, seed: int = 0
) -> CheckPage | None:
    """The page of random rows that nobody has checked, by default 100 or all; None where no row can be shown."""
    rows, known = labelled.rows, labelled.among(checked)
    left = len(rows) - (0 if known is None else len(known))
    if left == 0 or not {TEXT, IMAGE} & set(rows.column_names):
        return None
    sample = rows_to_check(rows, min(ROWS_TO_CHECK, left) if count is None else count, checked=known, seed=seed)
    return make_check_page(labelled.whole, in_whole(sample, labelled, checked), title, checked)


def in_whole(sample: RowSample, labelled: LabelledRows, checked: CheckedRows | None) -> RowSample:
    """A sample of the labelled rows as one of all rows, with their numbers there."""
    whole, earlier = labelled.whole, ""
    if checked is not None:
        digests = row_digests(whole.select(checked.index))
        earlier = checked_csv(checked, digests, class_names(whole)).partition("\n")[2]
    return replace(sample, index=labelled.index[sample.index], num_rows=len(whole), earlier=earlier)


def _suspicious(
    rows: Dataset, audit: Audit, votes: Votes | None, numbers: Int64[np.ndarray, " rows"]
) -> list[SuspiciousRow]:
    """The worst rows first, at most `MAX_ROWS`."""
    worst = np.argsort(audit.issues.quality, kind="stable")[: min(MAX_ROWS, len(rows))]
    shown = rows.select(worst).with_format(None)
    digests = row_digests(shown)
    texts: Sequence[str | None] = shown_texts(shown) or [None] * len(worst)
    if votes is not None:
        counts = votes.counts()[worst]
        texts = [with_votes(text, of, audit.class_names) for text, of in zip(texts, counts, strict=True)]
    differ = None if audit.issues.opinions is None else audit.issues.opinions.disagreement
    images = map(thumbnail, shown[IMAGE]) if IMAGE in rows.column_names else [None] * len(worst)
    return [
        SuspiciousRow(
            row=int(numbers[row]),
            given=int(audit.labels[row]),
            suggested=int(audit.issues.suggested[row]),
            scores={
                "quality": float(audit.issues.quality[row]),
                "given p": float(audit.probabilities[row, audit.labels[row]]),
                "suggested p": float(audit.probabilities[row, audit.issues.suggested[row]]),
                "learned": float(audit.dynamics.correctness[row]),
            }
            | ({} if differ is None else {"disagreement": float(differ[row])}),
            text=text,
            image=image,
            digest=digest,
        )
        for row, text, image, digest in zip(worst, texts, images, digests, strict=True)
    ]


def _pictures(rows: Dataset, audit: Audit) -> list[Picture]:
    clean = label_values(rows, CLEAN_LABEL)
    known = clean >= 0
    labels, probabilities, against = audit.labels, audit.probabilities, "given"
    if known.any():
        labels, probabilities, against = clean[known], audit.probabilities[known], "true"
    dynamics, predictions = audit.dynamics, {"held-out predictions": (labels, probabilities)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        data_map = data_map_figure(dynamics.confidence, dynamics.variability, audit.issues.is_wrong, path).read_bytes()
        reliability = reliability_diagram(predictions, path).read_bytes()
    map_caption = (
        "Each row by the model's confidence in its given label during training: the mean, and how much it changed. "
        "Rows at the lower left were never learned."
    )
    reliability_caption = f"How often a prediction of that confidence agrees with the {against} label"
    reliability_caption += "." if against == "true" else ", which is wrong in some rows, so the line lies low."
    return [
        Picture("Data map", map_caption, data_map),
        Picture("Reliability", reliability_caption, reliability),
    ]
