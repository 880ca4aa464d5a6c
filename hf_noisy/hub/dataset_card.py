"""Cards of noisy, audited and purified datasets: what is noisy, how that is known, and how to undo a correction."""

import json
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard

from hf_noisy.core.columns import (
    CLEAN_LABEL,
    LABEL,
    LABEL_DISAGREEMENT,
    LABEL_QUALITY,
    LABEL_SUGGESTED,
    LABEL_SUSPECTED,
)
from hf_noisy.data.labelled_rows import has_values
from hf_noisy.data.records import noise_record
from hf_noisy.detection.audit import Audit
from hf_noisy.hub.card_builder import build_card, configurations, matrix_section, pairs_table, percent
from hf_noisy.hub.text import REPOSITORY, code, escape, named_values
from hf_noisy.purification.decisions import DECISIONS
from hf_noisy.purification.restore import DROPPED, purification_record
from hf_noisy.purification.summary import FIGURES, PurificationSummary

_POLICIES = {
    "relabel": "`label` is the most probable class.",
    "drop": f"Rows whose label was overruled are in the split `{DROPPED}`.",
    "soft": "`label` is the posterior, a soft label.",
    "weight": "`label` is unchanged; `label_weight` is the probability of the given label.",
    "flag": "`label` is unchanged; `label_changed` marks the rows.",
}
_AUDIT_CITATIONS = (
    "Vinh, N., Epps, J., Bailey, J. (2010). Information Theoretic Measures for Clusterings Comparison. Journal of "
    "Machine Learning Research 11. (weights of the predictors, with Cohen's kappa)",
)


_RANGE = (
    "The range covers sampling error and errors that follow rules or habits, which only true labels show: have a "
    "hundred rows checked."
)
_VALID_RANGE = (
    "Estimated from rows that were drawn at random and checked by a person. Each range holds the true share with a "
    "probability of 95 %."
)
_AUDIT_METHOD = (
    "Class means, logistic regressions and a ridge regression on frozen features predict each row without its own "
    "label; the noise rate and the suspected rows follow from them. No true labels were used."
)
_CHECKED_METHOD = (
    "Class means, logistic regressions and a ridge regression on frozen features predict each row without its own "
    "label, and the checked rows correct these predictions; the suspected rows follow from them. Checked rows are "
    "suspected if their given label is not the one that was found."
)
_WITH_VOTES = (
    " Labels are suspected by the votes of several annotators together with these predictions; `label_disagreement` "
    "is high where people legitimately differ."
)
_CLASSES_SHOWN = 20


def dataset_card(splits: DatasetDict, *, name: str, **metadata: Any) -> DatasetCard:
    """The card of a dataset with noisy labels: source, licence, citation, columns, and the noise as measured.

    Args:
        splits: The result of `load_noisy_dataset`, with or without noise.
        name: Name of the dataset; for a path, its last part is shown.
        **metadata: Further fields of `huggingface_hub.DatasetCardData`, such as `language`.

    Returns:
        The card; `card.save(path)` and `card.push_to_hub(repo_id)` publish it.

    Raises:
        ValueError: If there is no split.

    Example:
        >>> rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "clean_label": [0, 0]})
        >>> card = dataset_card(DatasetDict({"train": rows}), name="Letters")
        >>> "| `train` | `default` | 2 | 50.00 % | not recorded |" in card.text
        True
    """
    configurations(splits)  # refuses to describe nothing
    first = next(iter(splits.values()))
    return build_card(
        splits,
        name,
        first,
        # The licences of the sources are rarely among the Hub's; the text of the card states them.
        metadata={"license": "other", **metadata},
        label_meaning="the given label, possibly wrong",
        # The other lines of the description are records, such as that of the noise.
        description=[line for line in first.info.description.splitlines() if not line.startswith("{")],
        lead=" ".join(["The given labels, some of which may be wrong, are in `label`.", *_injected(splits)]),
        splits_head=["wrong given labels", "source of the given labels"],
        splits_cells={split: _measured(rows) for split, rows in splits.items()},
        splits_note="Computed from `clean_label` and `label`, on the rows with both.",
        source={"homepage": first.info.homepage, "licence": first.info.license, "citation": first.info.citation},
    )


def purified_card(splits: DatasetDict, split: str, summary: PurificationSummary, *, name: str) -> DatasetCard:
    """The card of a dataset of which a split was purified.

    Args:
        splits: All splits, including the dropped rows.
        split: Name of the purified split.
        summary: The result of `summarise`.
        name: Name of the dataset; for a path, its last part is shown.

    Returns:
        The card; `push_dataset_to_hub` publishes it with the rows.

    Raises:
        ValueError: If `split` is not among the splits.
    """
    rows = _rows_of(splits, split)
    record = purification_record(rows) or {}
    if summary.purifier == DECISIONS:
        method = "Rows were reviewed by a person: relabelled, dropped or kept. All other rows keep their given label."
        limits = ["The decisions are assumed correct; the remaining noise was not estimated."]
    else:
        method = f"Purifier {code(summary.purifier)}" + named_values(record.get("options", {}))
        if policy := record.get("policy"):
            limit = f"confidence of at least {record['min_confidence']:g}"
            if (share := record.get("max_wrong")) is not None:
                limit = f"at most {percent(share)} of the changes wrong on average"
            method += f", policy {code(policy)}, {limit}"
        method = f"{method}. {_POLICIES.get(policy or '', '')}".rstrip()
        if summary.checked:
            method += f" A person has checked {summary.checked:,} rows, which have the class that was found."
        limits = ["The estimates assume that the purifier's probabilities are correct."]
        limits += [summary.note] if summary.note is not None else []
    if summary.unlabelled:
        method += f" {summary.unlabelled:,} rows have no given label"
        if summary.predicted:
            method += f", of which {summary.predicted:,} were labelled by prediction (`purifier` is `prediction`)"
        method += "."
    limits.append("An overruled label is not necessarily wrong, and other labels are not necessarily right.")
    if summary.true_noise_before is None and not summary.checked:
        limits.append("There are no true labels to verify the figures.")
    share = 100 * summary.changed / max(summary.rows, 1)
    return build_card(
        splits,
        name,
        rows,
        lead=f"The labels of the split {code(split)} were corrected. Overruled labels: {summary.changed:,} of "
        f"{summary.rows:,} ({share:.1f} %); dropped rows: {summary.dropped:,}.",
        numbers_head=["", "estimated", "true"],
        numbers=[
            [title, *(percent(getattr(summary, f"{kind}_{key}")) for kind in ("estimated", "true"))]
            for title, key in FIGURES.items()
        ],
        numbers_note="True figures are computed from the column `clean_label`, if present.",
        pairs_title="Overruled labels",
        pairs_head="most probable",
        pairs=pairs_table(summary.pairs, summary.class_names),
        method=method,
        citations=[escape(record["citation"])] if record.get("citation") else [],
        undo="The column `label_given` keeps the given label of every row. This restores it, dropped rows included:",
        undo_code="from datasets import load_dataset\nfrom hf_noisy import restore_labels\n\n"
        f"given = restore_labels(load_dataset({REPOSITORY}))",
        limits=limits,
    )


def audit_card(splits: DatasetDict, split: str, audit: Audit, *, name: str) -> DatasetCard:
    """The card of a dataset of which a split was audited: an estimate of the noise, and no label changed.

    Args:
        splits: All splits.
        split: Name of the audited split.
        audit: The result of [`hf_noisy.detection.audit.audit`].
        name: Name of the dataset; for a path, its last part is shown.

    Returns:
        The card.

    Raises:
        ValueError: If `split` is not among the splits.
    """
    rows, issues = _rows_of(splits, split), audit.issues
    suspected = issues.is_wrong
    numbers = [
        ["wrong labels, estimated", _estimated(audit)],
        *_class_noise(audit),
        ["suspected rows", f"{int(suspected.sum()):,} of {len(audit.labels):,}"],
        *_duplicates(audit),
    ]
    if audit.checked is not None:
        numbers.append(["rows checked by a person", f"{len(audit.checked):,}"])
    if has_values(rows, CLEAN_LABEL):
        numbers.append(["wrong labels, true", _measured(rows)[0]])
    if unlabelled := len(rows) - len(audit.labels):
        numbers.append(["rows without a label", f"{unlabelled:,}"])
    classes = len(audit.class_names)
    counts = np.bincount(audit.labels[suspected] * classes + issues.suggested[suspected], minlength=classes**2)
    order = [pair for pair in np.argsort(-counts, kind="stable").tolist() if counts[pair]]
    added = [LABEL_QUALITY, LABEL_SUSPECTED, LABEL_SUGGESTED]
    added += [] if issues.opinions is None else [LABEL_DISAGREEMENT]
    return build_card(
        splits,
        name,
        rows,
        lead=f"{_wrong_labels(audit, split)} None was changed.",
        numbers_head=["", ""],
        numbers=numbers,
        numbers_note=_RANGE if audit.estimates is None else _VALID_RANGE,
        pairs_title="Suspected labels",
        pairs_head="suggested",
        pairs=pairs_table([[pair // classes, pair % classes, int(counts[pair])] for pair in order], audit.class_names),
        **matrix_section(audit.transition_matrix, audit.class_names, "Estimated from held-out predictions."),
        method=(_AUDIT_METHOD if audit.checked is None else _CHECKED_METHOD)
        + ("" if issues.opinions is None else _WITH_VOTES),
        citations=[escape(citation) for citation in _AUDIT_CITATIONS],
        undo="No label was changed. This removes the columns that were added:",
        undo_code="from datasets import load_dataset\n\n"
        f'rows = load_dataset({REPOSITORY}, split="{split}")\n'
        f"rows = rows.remove_columns({json.dumps(added)})",
        limits=[
            "A suspected label is not necessarily wrong: review it before changing it.",
            "Noise that the features explain as well as the true labels is not detected.",
        ],
    )


def injected_card(splits: DatasetDict, split: str, *, name: str) -> DatasetCard:
    """The card of a dataset with injected noise in one split.

    Args:
        splits: All splits.
        split: Name of the split with noise.
        name: Name of the dataset; for a path, its last part is shown.

    Returns:
        The card.

    Raises:
        ValueError: If `split` is not among the splits, or has no record of noise.

    Example:
        >>> from hf_noisy.data.noise import inject_noise, symmetric
        >>> rows = Dataset.from_dict({"text": list("abcd"), "label": [0, 1, 0, 1]})
        >>> card = injected_card(DatasetDict({"train": inject_noise(rows, symmetric(0.5))}), "train", name="letters")
        >>> "| wrong labels, measured | 50.00 % |" in card.text
        True
    """
    rows = _rows_of(splits, split)
    record = noise_record(rows)
    if record is None:
        raise ValueError(
            f"split '{split}' has no record of noise; put noise in with inject_noise, or purify or audit it"
        )
    matrix = np.asarray(record.get("transition_matrix", []), dtype=np.float64)
    shown = {"rate_measured", "rate_asked", "transition_matrix", "kind"}
    settings = [
        [escape(key), escape(value)]
        for key, value in record.items()
        if key not in shown and not isinstance(value, list | tuple | dict)
    ]
    feature = rows.features[LABEL]
    class_names = getattr(getattr(feature, "feature", feature), "names", None) or [
        str(number) for number in range(len(matrix))
    ]
    return build_card(
        splits,
        name,
        rows,
        lead=f"Noise was injected into the true labels of split {code(split)}, for testing methods: `label` is the "
        "given label, possibly wrong, and `clean_label` the true one.",
        numbers_head=["", ""],
        numbers=[
            ["wrong labels, measured", percent(record["rate_measured"])],
            ["wrong labels, requested", percent(record.get("rate_asked"))],
            *settings,
        ],
        numbers_note="Computed from `clean_label` and `label` when the noise was injected.",
        **(matrix_section(matrix, class_names, "Measured.") if len(matrix) else {}),
        method=f"Noise type {code(record['kind'])}, drawn per row from the seed; the options are explained in the "
        "documentation of `hf_noisy.data.noise`.",
        undo="The true labels are in the column `clean_label`:",
        undo_code="from datasets import load_dataset\n\n"
        f'rows = load_dataset({REPOSITORY}, split="{split}")\n'
        f'clean = rows.remove_columns("{LABEL}").rename_column("{CLEAN_LABEL}", "{LABEL}")',
        limits=[
            "Injected noise differs from annotator or rule noise; results may not transfer.",
            "`clean_label` is only as correct as the original labels.",
        ],
    )


def _wrong_labels(audit: Audit, split: str) -> str:
    """How many labels are wrong; without checked rows, as far as errors are random."""
    rate, labels = audit.issues.noise_rate, f"of the labels of the split {code(split)}"
    if not audit.rate_is_known:
        return f"An unknown share {labels} is wrong."
    if audit.estimates is not None:
        return f"About {percent(rate.rate)} {labels} are wrong."
    return f"About {percent(rate.rate)} {labels} are wrong if errors are random."


def _estimated(audit: Audit) -> str:
    rate = audit.issues.noise_rate
    interval = f"{percent(rate.low)} to {percent(rate.high)}"
    if not audit.rate_is_known:
        return f"unknown ({interval})"
    if audit.estimates is not None:
        return f"about {percent(rate.rate)} ({interval})"
    return f"about {percent(rate.rate)} if errors are random, {interval} if they may follow rules"


def _class_noise(audit: Audit) -> list[list[str]]:
    """A line for each of the first classes, where rows were checked at random."""
    if audit.estimates is None:
        return []
    shares = zip(audit.class_names, audit.estimates.class_noise(), strict=True)
    return [
        [
            f"wrong labels among {escape(name)}",
            f"{percent(None if np.isnan(share.rate) else share.rate)} ({percent(share.low)} to {percent(share.high)})",
        ]
        for name, share in [*shares][:_CLASSES_SHOWN]
    ]


def _duplicates(audit: Audit) -> list[list[str]]:
    """The groups of equal rows, those with different labels first: at least one of these labels is wrong."""
    differ, same = (
        [group for group in audit.duplicates if group.exact and group.labels_differ == other]
        for other in (True, False)
    )
    return [
        [title, f"{len(groups):,} group{'s' * (len(groups) > 1)} of {sum(len(group.rows) for group in groups):,} rows"]
        for title, groups in (("equal rows with different labels", differ), ("equal rows with one label", same))
        if groups
    ]


def _rows_of(splits: DatasetDict, split: str) -> Dataset:
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(map(str, splits))}, got '{split}'")
    return splits[split]


def _injected(splits: DatasetDict) -> list[str]:
    """A sentence on injected noise, since the description of the source may call the labels true."""
    records = {name: noise_record(rows) for name, rows in splits.items()}
    # Only records of injected noise have a requested rate, which may be None.
    parts = [
        f"`{name}` ({', '.join(f'{key} {record[key]}' for key in ('kind', 'rate_asked', 'seed') if key in record)})"
        for name, record in records.items()
        if record and "rate_asked" in record
    ]
    return [f"Noise was injected into the labels of {', '.join(parts)}."] if parts else []


def _measured(rows: Dataset) -> list[str]:
    """The share of wrong given labels of a split, and the source of its given labels."""
    if CLEAN_LABEL not in rows.column_names:
        return ["not known", "not recorded"]
    table = rows.select_columns([LABEL, CLEAN_LABEL]).with_format("arrow")[:]
    given, true = (table.column(column).to_pandas().fillna(-1).to_numpy() for column in (LABEL, CLEAN_LABEL))
    known = (given >= 0) & (true >= 0)
    wrong = percent(float(np.mean(given[known] != true[known]))) if known.any() else "not known"
    if known.all() and (given == true).all():
        return [wrong, "true labels"]
    record = noise_record(rows)
    return [wrong, record["kind"] if record else "not recorded"]
