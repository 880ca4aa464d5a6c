"""Corrected tags and sets of classes, with their provenance; `restore_labels` undoes them."""

from typing import Any

import datasets
import numpy as np
from datasets import Dataset
from jaxtyping import Bool, Float64, Int64

from hf_noisy.core.columns import LABEL, LABEL_CHANGED, LABEL_CONFIDENCE, LABEL_GIVEN, LABEL_WEIGHT, PURIFIER
from hf_noisy.data.flat_labels import as_arrow_lists, as_label_lists, flat_tags, label_sets, task_of_labels
from hf_noisy.data.labels import with_format_of
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.tags import has_spans, spans_of, tags_of_spans
from hf_noisy.purification.restore import ADDED, add_record

LIST_POLICIES = ("relabel", "soft", "weight", "flag")
_REFUSED = {"drop": "a row has many labels, most of them right"}


def check_list_purifiable(dataset: Dataset, policy: str, min_confidence: float) -> None:
    """Refuse a policy that has no meaning for lists of labels, a bad threshold, and data that was purified before."""
    if policy not in LIST_POLICIES:
        reason = _REFUSED.get(policy, "there is no such policy")
        raise ValueError(
            f"policy must be one of {', '.join(LIST_POLICIES)} for tags and sets, got '{policy}': {reason}"
        )
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be in [0, 1], got {min_confidence}; 0.8 acts on confident labels only")
    if taken := [column for column in ADDED if column in dataset.column_names]:
        raise ValueError(f"dataset already has a column '{taken[0]}', so it was purified before; call restore_labels")


def purify_lists(
    dataset: Dataset,
    decided: Int64[np.ndarray, "..."],
    confidence: Float64[np.ndarray, "..."],
    *,
    policy: str = "relabel",
    min_confidence: float = 0.5,
    name: str = "posterior",
) -> Dataset:
    """The dataset with other tags or sets of classes, and the given ones in `label_given`.

    Args:
        dataset: Rows with lists of classes in `label`, none of them missing.
        decided: The labels to be: class ids of all tokens `[tokens]`, or zeros and ones `[rows, classes]`.
        confidence: Probability that each of them is right, in the same shape.
        policy: `relabel` writes them; `soft` writes them and adds `label_weight`, for each token or class the
            probability that the label is right; `weight` keeps the given labels and adds `label_weight` for these;
            `flag` only adds the other columns. Tags that are written stay in the scheme of the given ones (no `I-PER`
            after `O`), unless a certain one would have to change.
        min_confidence: Labels below this confidence stay as they are given.
        name: Value of the column `purifier`.

    Returns:
        The dataset with `label_given`, `label_confidence` (a list for each row: of its tokens, or of all classes),
        `label_changed` (whether a label of the row was overruled) and `purifier`. `restore_labels` undoes it.

    Raises:
        ValueError: If the policy has no meaning for lists, the shapes differ, or the dataset was purified before.

    Example:
        >>> feature = datasets.List(datasets.ClassLabel(names=["x", "y"]))
        >>> features = datasets.Features({"text": datasets.Value("string"), "label": feature})
        >>> rows = Dataset.from_dict({"text": ["a", "b"], "label": [[0], []]}, features)
        >>> purified = purify_lists(rows, np.array([[1, 1], [0, 0]]), np.full((2, 2), 0.9))
        >>> purified["label"][:], purified["label_given"][:], purified["label_changed"][:]
        ([[0, 1], []], [[0], []], [True, False])
    """
    check_list_purifiable(dataset, policy, min_confidence)
    tokens = task_of_labels(dataset) == "tokens"
    flat = flat_tags(dataset) if tokens else None
    given: Any = flat.labels if flat is not None else label_sets(dataset)[0].astype(np.int64)
    if decided.shape != given.shape or confidence.shape != given.shape:
        raise ValueError(f"labels and confidences must have the shape {given.shape}, got {decided.shape}")
    changed: Bool[np.ndarray, ...] = (decided != given) & (confidence >= min_confidence)
    kept = np.where(changed, confidence, np.where(decided != given, 1 - confidence, confidence))
    of_given = np.where(decided != given, 1 - confidence, confidence)
    new = np.where(changed, decided, given)
    if flat is not None and policy in ("relabel", "soft"):
        new = _mended(new, given, flat.offsets, confidence == 1, dataset.features[LABEL].feature.names)
        changed = new != given
    if flat is not None:
        any_changed = np.asarray(np.bincount(flat.rows, weights=changed, minlength=len(dataset)) > 0)
        offsets, labels = flat.offsets, as_arrow_lists(new, flat.offsets)
    else:
        any_changed, labels = np.asarray(changed.any(axis=1)), as_label_lists(new.astype(bool))
        offsets = np.arange(len(dataset) + 1) * given.shape[1]
    numbers = datasets.List(datasets.Value("float32"))
    purified, feature = dataset.with_format(None), dataset.features[LABEL]
    purified = with_column(purified, LABEL_GIVEN, purified.with_format("arrow")[:].column(LABEL), feature)
    if policy in ("relabel", "soft"):
        purified = with_column(purified, LABEL, labels, feature)
    listed = as_arrow_lists(kept.astype(np.float32).ravel(), offsets)
    purified = with_column(purified, LABEL_CONFIDENCE, listed, numbers)
    purified = with_column(purified, LABEL_CHANGED, any_changed, datasets.Value("bool"))
    purified = with_column(purified, PURIFIER, [name] * len(dataset), datasets.Value("string"))
    if policy in ("soft", "weight"):
        weights = as_arrow_lists((kept if policy == "soft" else of_given).astype(np.float32).ravel(), offsets)
        purified = with_column(purified, LABEL_WEIGHT, weights, numbers)
    record = {"purifier": name, "citation": "", "options": {}, "policy": policy, "min_confidence": min_confidence}
    add_record(purified, {**record, "rows": len(dataset), "alone": True, "labels_changed": int(changed.sum())})
    return with_format_of(dataset, purified)


def _mended(
    new: Int64[np.ndarray, " tokens"],
    given: Int64[np.ndarray, " tokens"],
    offsets: Any,
    certain: Bool[np.ndarray, " tokens"],
    names: list[str],
) -> Int64[np.ndarray, " tokens"]:
    """Tags in the scheme of the given ones, in sentences that were in it; certain tags stay."""
    if not has_spans(names):
        return new
    number, mended = {name: place for place, name in enumerate(names)}, new.copy()
    for sentence in np.unique(np.searchsorted(offsets, np.flatnonzero(new != given), side="right") - 1):
        place = slice(offsets[sentence], offsets[sentence + 1])
        if min(new[place]) < 0 or min(given[place]) < 0:
            continue
        before, after = ([names[tag] for tag in tags[place]] for tags in (given, new))
        if tags_of_spans(spans_of(before), len(before), names) == before:
            tags = np.array([number.get(tag, -1) for tag in tags_of_spans(spans_of(after), len(after), names)])
            if min(tags) >= 0 and not (certain[place] & (tags != new[place])).any():
                mended[place] = tags
    return mended
