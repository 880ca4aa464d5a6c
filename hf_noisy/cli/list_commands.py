"""`audit`, `purify` and `apply` on tags of words and on sets of classes."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.cli.checked_figures import NOT_RANDOM
from hf_noisy.cli.list_findings import list_rows
from hf_noisy.cli.outputs import REPORT
from hf_noisy.cli.source import add_features
from hf_noisy.core.columns import CLEAN_LABEL, FEATURES, LABEL, LABEL_QUALITY, LABEL_SUGGESTED, LABEL_SUSPECTED
from hf_noisy.core.phases import phase
from hf_noisy.data.checked_lists import CheckedLists, checked_lists
from hf_noisy.data.decided_lists import decided_lists
from hf_noisy.data.decision_lines import read_decisions
from hf_noisy.data.flat_labels import (
    as_arrow_lists,
    as_label_lists,
    flat_tags,
    label_sets,
    list_names,
    task_of_labels,
)
from hf_noisy.data.labelled_rows import LabelledRows
from hf_noisy.data.replace_column import with_column
from hf_noisy.detection.list_audit import ListAudit, audit_lists
from hf_noisy.hub.list_card import list_card
from hf_noisy.purification.decisions import DECISIONS
from hf_noisy.purification.list_labels import check_list_purifiable, purify_lists
from hf_noisy.purification.restore import purification_record
from hf_noisy.purification.unchanged_rows import put_back, same_columns
from hf_noisy.reports.html import Report

_UNITS = {"token": "tags", "cell": "cells (row, class)"}
PURIFIER_OF_LISTS = "label_model"


def counted(rows: Dataset) -> str:
    """How many labels rows of any kind have, in words."""
    if not has_lists(rows):
        return f"{len(rows):,} labels"
    return f"{int((_given(rows) >= 0).sum()):,} {_UNITS['token' if task_of_labels(rows) == 'tokens' else 'cell']}"


def has_lists(rows: Dataset) -> bool:
    """Whether the labels are tags or sets, on which these commands work."""
    return task_of_labels(rows) != "one-label"


def audit(job: Any, splits: DatasetDict, checked: Path | None, model: str | None, dtype: str, seed: int) -> None:
    """`hf-noisy audit`."""
    split, labelled = job.split, job.labelled(splits)
    looked_at = _checked(labelled, checked)
    for name in (LABEL_QUALITY, LABEL_SUSPECTED, LABEL_SUGGESTED):
        if name in labelled.rows.column_names:
            raise ValueError(f"the data already has a column '{name}', which an audit adds; rename or remove it")
    found, _, encoder = audited(labelled.rows, model, dtype, job.trust_remote_code, seed, looked_at)
    page = _page(job, labelled, found, encoder, {}, "How noisy the given labels are.")
    splits[split] = put_back(_with_issues(labelled.rows, found), labelled)
    splits = same_columns(splits, split)
    numbers, summary = _figures(found), _summary("audit", split, labelled, found, encoder, seed)
    lead = f"The labels of the split `{split}` were audited; they are unchanged."
    job.finish(splits, list_card(splits, split, name=job.name, lead=lead, numbers=numbers), summary, page)
    rate = found.issues.noise_rate
    if found.shares is not None and (missing := found.shares.missing) is not None:
        kind = "entity tags" if found.unit == "token" else "true classes"
        print(f"{missing.rate:.1%} of the {kind} are missing ({missing.low:.1%} to {missing.high:.1%})")
    print(
        f"about {rate.rate:.2%} of {found.given.size:,} {_UNITS[found.unit]} are wrong ({rate.low:.2%} to "
        f"{rate.high:.2%}); {int(found.issues.is_wrong.sum()):,} are under suspicion"
    )
    print(f"look at {job.output.path / REPORT}")


def purify(
    job: Any,
    splits: DatasetDict,
    purifier: str | None,
    policy: str,
    min_confidence: float | None,
    model: str | None,
    dtype: str,
    seed: int,
    **refused: Any,
) -> None:
    """`hf-noisy purify`."""
    checked = refused.pop("checked")
    if given := [name for name, value in refused.items() if value]:
        raise ValueError(f"{given[0]} has no meaning for tags and sets of classes; leave it out")
    if purifier is not None:
        raise ValueError(
            f"purifier '{purifier}' corrects one label a row, which tags and sets of classes are not; leave it out"
        )
    split, labelled = job.split, job.labelled(splits)
    least = 0.5 if min_confidence is None else min_confidence
    check_list_purifiable(labelled.rows, policy, least)  # before anything is embedded
    looked_at = _checked(labelled, checked)
    found, _, encoder = audited(labelled.rows, model, dtype, job.trust_remote_code, seed, looked_at)
    wrong, quality = found.changes(least), found.issues.quality
    suggested = np.where(wrong, found.issues.suggested, found.given)
    confidence = np.where(wrong, 1 - quality, quality if found.safe is None else found.safe.quality)
    purified = purify_lists(
        labelled.rows,
        suggested,
        confidence,
        policy=policy,
        min_confidence=least,
        name=PURIFIER_OF_LISTS,
    )
    changed = int((purification_record(purified) or {})["labels_changed"])
    facts = {f"{_UNITS[found.unit]} changed": f"{changed:,}"}
    if (after := _true_rate(purified)) is not None and found.true_rate is not None:
        facts["true noise, before and after"] = f"{found.true_rate:.2%}, {after:.2%}"
    page = _page(job, labelled, found, encoder, facts, f"The given labels as corrected, policy '{policy}'.")
    splits[split] = put_back(purified, labelled)
    splits = same_columns(splits, split)
    summary = _summary("purify", split, labelled, found, encoder, seed)
    summary |= {"policy": policy, "min_confidence": least, "labels_changed": changed, "true_rate_after": after}
    lead = f"The labels of the split `{split}` were corrected; `label_given` holds the given ones."
    numbers = [*_figures(found), ["changed", f"{changed:,}"]]
    card = list_card(splits, split, name=job.name, lead=lead, numbers=numbers, purified=True)
    job.finish(splits, card, summary, page)
    print(f"{changed:,} of {found.given.size:,} {_UNITS[found.unit]} overruled, policy {policy}")
    if after is not None and found.true_rate is not None:
        print(f"true noise before {found.true_rate:.2%}, after {after:.2%}")
    print(f"written to {job.output}")


def apply(job: Any, splits: DatasetDict, decisions: Path) -> None:
    """`hf-noisy apply`."""
    decided, split, labelled = read_decisions(decisions), job.split, job.labelled(splits)
    new, _ = decided_lists(labelled.rows, decided)
    purified = purify_lists(labelled.rows, new, np.ones(new.shape), name=DECISIONS)
    changed = int((new != _given(labelled.rows)).sum())
    splits[split] = put_back(purified, labelled)
    splits = same_columns(splits, split)
    counts = {kind: sum(one.decision == kind for one in decided) for kind in ("relabel", "keep")}
    lead = f"Labels of the split `{split}` were reviewed by a person; `label_given` holds the given ones."
    numbers = [["decisions", f"{len(decided):,}"], ["labels changed", f"{changed:,}"]]
    card = list_card(splits, split, name=job.name, lead=lead, numbers=numbers, purified=True)
    job.finish(splits, card, {"command": "apply", "split": split, "decisions": counts, "labels_changed": changed})
    print(f"{changed:,} labels changed by {counts['relabel']:,} decisions, {counts['keep']:,} kept")
    print(f"written to {job.output}")


def _checked(labelled: LabelledRows, checked: Path | None) -> CheckedLists | None:
    """The checked rows among the labelled ones."""
    found = checked_lists(labelled.whole, checked)
    return None if found is None else found.among(labelled)


def audited(
    rows: Dataset, model: str | None, dtype: str, trust_remote_code: bool, seed: int, checked: CheckedLists | None
) -> tuple[ListAudit, np.ndarray, dict[str, str]]:
    """The audit, the features of all words or rows, and what they are of."""
    made = add_features(rows, model, trust_remote_code, dtype)
    vectors = np.asarray(made.rows.select_columns([FEATURES]).with_format("numpy")[:][FEATURES])
    with phase("audit"):
        return audit_lists(rows, vectors, seed, checked), vectors, made.to_dict()


def _with_issues(rows: Dataset, found: ListAudit) -> Dataset:
    """The rows with a quality for each token or class, and the suggested labels."""
    quality, issues = found.issues.quality.astype(np.float32), found.issues
    feature, numbers = rows.features[LABEL], datasets.List(datasets.Value("float32"))
    if found.unit == "token":
        flat = flat_tags(rows)
        suspected = np.asarray(np.bincount(flat.rows, weights=issues.is_wrong, minlength=len(rows)) > 0)
        listed, suggested = as_arrow_lists(quality, flat.offsets), as_arrow_lists(issues.suggested, flat.offsets)
    else:
        suspected, suggested = np.asarray(issues.is_wrong.any(axis=1)), as_label_lists(issues.suggested.astype(bool))
        listed = as_arrow_lists(quality.ravel(), np.arange(len(rows) + 1) * quality.shape[1])
    rows = with_column(rows, LABEL_QUALITY, listed, numbers)
    rows = with_column(rows, LABEL_SUSPECTED, suspected, datasets.Value("bool"))
    return with_column(rows, LABEL_SUGGESTED, suggested, feature)


def _page(
    job: Any, labelled: LabelledRows, found: ListAudit, encoder: dict[str, str], facts: dict[str, str], lead: str
) -> Report:
    rows, classes = list_rows(labelled.rows, found)
    shown = dict(_figures(found)) | facts
    notes = [f"Features: {encoder['encoder']}.", "Suspicion is no proof: look before you change a label."]
    if found.checked_rows and found.shares is None:
        notes.append(NOT_RANDOM)
    decisions = ("relabel", "keep")
    listed = "spans" if found.unit == "token" else "cells"
    options: dict[str, Any] = {"notes": notes, "decisions": decisions, "listed": listed}
    return Report(job.name, lead, shown, classes, rows, len(labelled.rows), **options)


def _figures(found: ListAudit) -> list[list[str]]:
    rate, unit = found.issues.noise_rate, _UNITS[found.unit]
    figures = [
        [unit, f"{found.given.size:,}"],
        ["estimated noise rate", f"{rate.rate:.2%}"],
        ["interval", f"{rate.low:.2%} to {rate.high:.2%}"],
        [f"{unit} under suspicion", f"{int(found.issues.is_wrong.sum()):,}"],
    ]
    if found.checked_rows:
        figures.append(["rows checked", f"{found.checked_rows:,}"])
    if found.shares is not None and (missing := found.shares.missing) is not None:
        kind = "entity tags" if found.unit == "token" else "classes"
        figures.append([f"{kind} that are missing", f"{missing.rate:.1%} ({missing.low:.1%} to {missing.high:.1%})"])
    return figures + ([["true noise rate", f"{found.true_rate:.2%}"]] if found.true_rate is not None else [])


def _summary(
    command: str, split: str, labelled: LabelledRows, found: ListAudit, encoder: dict[str, str], seed: int
) -> dict[str, Any]:
    rate = found.issues.noise_rate
    summary: dict[str, Any] = {
        "command": command,
        "split": split,
        "rows": len(labelled.rows),
        "rows_without_label": len(labelled.missing),
        "unit": found.unit,
        "units": int(found.given.size),
        **encoder,
        "seed": seed,
        "noise_rate": rate.rate,
        "noise_rate_interval": [rate.low, rate.high],
        "suspected": int(found.issues.is_wrong.sum()),
        "classes": list_names(labelled.rows),
    }
    if found.checked_rows:
        summary["checked_rows"] = found.checked_rows
    if found.shares is not None:
        summary["missing_rate"] = None if found.shares.missing is None else found.shares.missing._asdict()
        summary["missing_rate_of"] = {name: share._asdict() for name, share in found.shares.missing_of.items()}
    return summary if found.true_rate is None else {**summary, "true_noise_rate": found.true_rate}


def _given(rows: Dataset, column: str = LABEL) -> np.ndarray:
    if task_of_labels(rows) == "tokens":
        return flat_tags(rows, column).labels
    return label_sets(rows, column)[0].astype(np.int64)


def _true_rate(rows: Dataset) -> float | None:
    """The share of labels that differ from the true ones, where the rows have these."""
    if CLEAN_LABEL not in rows.column_names:
        return None
    now, true = _given(rows), _given(rows, CLEAN_LABEL)
    known = (now >= 0) & (true >= 0)
    return float((now != true)[known].mean()) if known.any() else None
