"""From posteriors to a dataset to train on: relabel, drop, soften, weigh or flag rows, and undo it."""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, overload

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict  # both: checks of types read the one out of the other
from jaxtyping import Bool, Float32, Integer, Shaped

from hf_noisy.core.columns import (
    LABEL,
    LABEL_CHANGED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
)
from hf_noisy.data.records import class_labels
from hf_noisy.purify.base import Purifier, check_posterior, check_purifier

Policy = Literal["relabel", "drop", "soft", "weight", "flag"]
DROPPED = "dropped"  # the split of the rows that were dropped
_ADDED = (LABEL_GIVEN, LABEL_POSTERIOR, LABEL_CONFIDENCE, LABEL_CHANGED, PURIFIER, LABEL_WEIGHT, ROW_GIVEN)
_OTHER = "label_before_it_is_renamed"
_RECORD_KEY = "purification_record"


@overload
def purify(
    dataset: Dataset,
    purifier: Purifier,
    policy: Literal["relabel", "soft", "weight", "flag"] = "relabel",
    *,
    min_confidence: float = 0.0,
    split: str = "train",
) -> Dataset: ...


@overload
def purify(
    dataset: Dataset | DatasetDict,
    purifier: Purifier,
    policy: Policy = "relabel",
    *,
    min_confidence: float = 0.0,
    split: str = "train",
) -> Dataset | DatasetDict: ...


def purify(
    dataset: Dataset | DatasetDict,
    purifier: Purifier,
    policy: Policy = "relabel",
    *,
    min_confidence: float = 0.0,
    split: str = "train",
) -> Dataset | DatasetDict:
    """A copy of the dataset in which the labels are what a purifier believes, and nothing of the given ones is lost.

    Columns are added: `label_given`, `label_posterior` (float32 `[classes]`), `label_confidence` (its largest entry),
    `label_changed` (whether the posterior overrules the given label: its most probable class is another one, with a
    confidence of at least `min_confidence`) and `purifier`. A row whose confidence is below `min_confidence` stays as
    it was given, whatever the policy. Format, features, other columns and the record of the noise are kept.

    | policy | what it does |
    |---|---|
    | `relabel` | `label` becomes the most probable class |
    | `drop` | rows whose label is overruled move to a split of their own, `dropped` |
    | `soft` | `label` becomes the posterior, a soft label |
    | `weight` | `label` stays, `label_weight` is the posterior of the given label; `NoisyTrainer` multiplies by it |
    | `flag` | `label` stays |

    Args:
        dataset: A dataset with given labels in `label`. Of a `DatasetDict` one split is purified and the others stay
            as they are: labels that are there to evaluate on are nobody's to change.
        purifier: Such as `KNNPurifier()`.
        policy: See above.
        min_confidence: In [0, 1].
        split: The split of a `DatasetDict` to purify.

    Returns:
        The dataset; under `drop` always a `DatasetDict`, `{"train": ..., "dropped": ...}` for a single dataset. Where
        no label was overruled there is no `dropped`.

    Raises:
        TypeError: If `dataset` or `purifier` is something else.
        ValueError: If an argument is out of range, labels or columns are missing, the dataset is purified already, or
            no row would be left.

    Example:
        >>> from hf_noisy.purify.knn import KNNPurifier
        >>> rows = {"features": [[0.0, 1], [0, 2], [0, 3], [1, 0], [2, 0], [3, 0]], "label": [0, 0, 1, 1, 1, 1]}
        >>> purified = purify(Dataset.from_dict(rows), KNNPurifier(k=2), min_confidence=0.9)
        >>> list(purified["label"]), list(purified["label_given"])
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1])
    """
    if policy not in get_args(Policy):
        raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, got {policy!r}")
    if not 0.0 <= min_confidence <= 1.0:
        raise ValueError(f"min_confidence must be in [0, 1], got {min_confidence}; 0.8 acts on sure rows only")
    check_purifier(purifier)
    if isinstance(dataset, DatasetDict):
        return _purify_split(dataset, purifier, policy, min_confidence, split)
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset must be a datasets.Dataset or DatasetDict, got {type(dataset).__name__}; load it without "
            "streaming"
        )
    _check_dataset(dataset, purifier)
    purified = _purified(dataset, purifier, policy, min_confidence, alone=True)
    return _separate(purified, str(dataset.split or "train")) if policy == "drop" else purified


def restore_labels(dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
    """Undo [`purify`]: the given labels, the dropped rows in their places, and no column more.

    The columns alone are needed, so it works after saving, publishing and loading too. Rows that were removed by hand
    after the purification stay removed.

    Args:
        dataset: What `purify` returned.

    Returns:
        The dataset as it was before. Of rows that were dropped from a single dataset a single dataset again, unless
        its info was lost on the way (as on the Hub): then a `DatasetDict`.

    Raises:
        ValueError: If the dataset was not purified, or the dropped rows are missing.
    """
    if isinstance(dataset, DatasetDict):
        names = [name for name, part in dataset.items() if LABEL_GIVEN in part.column_names and name != DROPPED]
        if not names:
            raise ValueError(f"no split of the dataset has a column '{LABEL_GIVEN}', so none was purified")
        alone = bool((purification_record(dataset[names[0]]) or {}).get("alone"))
        restored = {
            name: _restored(part, dataset.get(DROPPED)) if name in names else part
            for name, part in dataset.items()
            if name != DROPPED or ROW_GIVEN not in part.column_names
        }
        return restored[names[0]] if alone and len(restored) == 1 else DatasetDict(restored)
    if LABEL_GIVEN not in dataset.column_names:
        raise ValueError(f"dataset has no column '{LABEL_GIVEN}', so it was not purified; use it as it is")
    return _restored(dataset, None)


def purification_record(dataset: Dataset) -> dict[str, Any] | None:
    """How a dataset was purified: purifier, citation, policy, `min_confidence`, rows.

    Args:
        dataset: A dataset, purified or not.

    Returns:
        The record, or None where there is none.

    Example:
        >>> purification_record(Dataset.from_dict({"label": [0]})) is None
        True
    """
    _, mark, line = _split_description(dataset)
    record: dict[str, Any] | None = json.loads(line)[_RECORD_KEY] if mark else None
    return record


def _purify_split(
    splits: DatasetDict, purifier: Purifier, policy: Policy, min_confidence: float, split: str
) -> DatasetDict:
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(splits)}, got '{split}'")
    if policy == "drop" and DROPPED in splits:
        raise ValueError(f"dataset already has a split '{DROPPED}', which policy 'drop' makes; rename it")
    _check_dataset(splits[split], purifier)
    purified = _purified(splits[split], purifier, policy, min_confidence, alone=False)
    parts = _separate(purified, split) if policy == "drop" else {split: purified}
    return DatasetDict({**splits, **parts})


def _check_dataset(dataset: Dataset, purifier: Purifier) -> None:
    columns = dataset.column_names
    if LABEL not in columns:
        raise ValueError(
            f"dataset has no column '{LABEL}', only {', '.join(columns)}; name yours so with dataset.rename_column"
        )
    if LABEL_GIVEN in columns:
        raise ValueError(
            f"dataset has a column '{LABEL_GIVEN}', so it was purified before; call restore_labels first, since a "
            "purifier judges the labels as they were given"
        )
    if taken := [name for name in _ADDED if name in columns]:
        raise ValueError(f"dataset already has a column '{taken[0]}', which purify adds; rename or remove it")
    if missing := [name for name in purifier.columns if name not in columns]:
        raise ValueError(
            f"purifier '{purifier.name}' needs a column '{missing[0]}', but dataset has only {', '.join(columns)}; "
            "add it with dataset.map or tell the purifier another column"
        )
    if len(dataset) == 0:
        raise ValueError("dataset has no rows, so there is nothing to purify")


def _purified(dataset: Dataset, purifier: Purifier, policy: Policy, min_confidence: float, *, alone: bool) -> Dataset:
    labels, num_classes = class_labels(dataset, LABEL)
    feature = dataset.features[LABEL]
    posterior = check_posterior(_posterior(dataset, purifier), len(labels), num_classes, purifier.name)
    if isinstance(feature, datasets.ClassLabel) and posterior.shape[1] != num_classes:
        raise ValueError(
            f"purifier '{purifier.name}' knows {posterior.shape[1]} classes, but column '{LABEL}' has {num_classes}; "
            "use one that was fitted on this dataset"
        )
    confidence, best = posterior.max(1), posterior.argmax(1)
    sure = confidence >= min_confidence
    soft = datasets.List(datasets.Value("float32"), length=posterior.shape[1])
    added: dict[str, tuple[Any, Any]] = {
        LABEL_GIVEN: (_stored_labels(dataset), feature),
        LABEL_POSTERIOR: (_lists(posterior), soft),
        LABEL_CONFIDENCE: (confidence, datasets.Value("float32")),
        LABEL_CHANGED: (sure & (best != labels), datasets.Value("bool")),
        PURIFIER: ([purifier.name] * len(labels), datasets.Value("string")),
    }
    if policy == "weight":
        added[LABEL_WEIGHT] = (_weights(posterior, labels, sure), datasets.Value("float32"))
    changed = added[LABEL_CHANGED][0]
    if policy == "drop" and changed.all():
        raise ValueError(
            f"purifier '{purifier.name}' overrules the label of every row, so policy 'drop' would leave none; raise "
            "min_confidence or choose another policy"
        )
    if policy == "drop" and changed.any():
        added[ROW_GIVEN] = (np.arange(len(labels)), datasets.Value("int64"))
    # Stored rows, not formatted ones: copying selected rows would run a lazy transform and keep its result.
    purified = dataset.with_format(None)
    if policy == "relabel":
        purified = _with_column(purified, LABEL, np.where(sure, best, labels), feature)
    elif policy == "soft":
        given = np.eye(posterior.shape[1], dtype=np.float32)[labels]
        purified = _with_column(purified, LABEL, _lists(np.where(sure[:, None], posterior, given)), soft)
    for name, (values, kind) in added.items():
        purified = purified.add_column(name, values, feature=kind)
    record = {
        "purifier": purifier.name,
        "citation": purifier.citation,
        "policy": policy,
        "min_confidence": min_confidence,
        "rows": len(labels),
        "alone": alone,
    }
    lines = [purified.info.description, json.dumps({_RECORD_KEY: record})]
    purified.info.description = "\n".join(filter(None, lines))
    return _with_format_of(dataset, purified)


def _posterior(dataset: Dataset, purifier: Purifier) -> Any:
    columns = list(dict.fromkeys(purifier.columns))
    # Only what the purifier reads: a change elsewhere in the dataset then costs no new run either.
    result = (
        dataset.with_format(None)
        .select_columns(columns)
        .with_format("numpy")
        .map(purifier, batched=True, batch_size=None, remove_columns=columns, desc=f"Purifying by {purifier.name}")
    )
    if LABEL_POSTERIOR not in result.column_names:
        raise ValueError(f"purifier '{purifier.name}' must return '{LABEL_POSTERIOR}', got {result.column_names}")
    return result.with_format("numpy")[:][LABEL_POSTERIOR]


def _weights(
    posterior: Float32[np.ndarray, "rows classes"],
    labels: Integer[np.ndarray, " rows"],
    sure: Bool[np.ndarray, " rows"],
) -> Float32[np.ndarray, " rows"]:
    return np.where(sure, posterior[np.arange(len(labels)), labels], np.float32(1))


def _lists(values: Float32[np.ndarray, "rows classes"]) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _stored_labels(dataset: Dataset) -> Shaped[np.ndarray, " rows"]:
    labels: np.ndarray = dataset.select_columns([LABEL]).with_format("arrow")[:].column(LABEL).to_numpy()
    return labels


def _with_column(dataset: Dataset, name: str, values: Any, feature: Any) -> Dataset:
    """The dataset with other values in a column, which stays in its place."""
    order = dataset.column_names
    # Added before the old one goes: a dataset without columns has no rows.
    other = dataset.add_column(_OTHER, values, feature=feature).remove_columns([name])
    return other.rename_column(_OTHER, name).select_columns(order)


def _with_format_of(original: Dataset, dataset: Dataset) -> Dataset:
    form: Mapping[str, Any] = original.format
    columns: list[str] | None = None
    if set(form["columns"]) != set(original.column_names):
        # A trainer that was shown the label must see its weight.
        weight = [LABEL_WEIGHT] if LABEL in form["columns"] else []
        columns = [name for name in [*form["columns"], *weight] if name in dataset.column_names]
    return dataset.with_format(form["type"], columns, form["output_all_columns"], **form["format_kwargs"])


def _separate(purified: Dataset, split: str) -> DatasetDict:
    if ROW_GIVEN not in purified.column_names:  # a split without rows could be saved, but not loaded
        return DatasetDict({split: purified})
    changed = np.asarray(purified.select_columns([LABEL_CHANGED]).with_format("numpy")[:][LABEL_CHANGED])
    parts = {split: purified.select(np.flatnonzero(~changed)), DROPPED: purified.select(np.flatnonzero(changed))}
    return DatasetDict(parts)


def _restored(dataset: Dataset, dropped: Dataset | None) -> Dataset:
    form = dataset
    whole = dataset.with_format(None)
    if ROW_GIVEN in dataset.column_names:
        if dropped is None or ROW_GIVEN not in dropped.column_names:
            raise ValueError(
                f"dataset lacks the rows that were dropped; pass the DatasetDict that purify returned, with its split "
                f"'{DROPPED}'"
            )
        whole = datasets.concatenate_datasets([whole, dropped.with_format(None)])
        whole.info.update(dataset.info)  # merging keeps a few of the fields only
        position = np.asarray(whole.select_columns([ROW_GIVEN]).with_format("numpy")[:][ROW_GIVEN])
        whole = whole.select(np.argsort(position, kind="stable"))
    given = _stored_labels(whole.select_columns([LABEL_GIVEN]).rename_column(LABEL_GIVEN, LABEL))
    whole = _with_column(whole, LABEL, given, dataset.features[LABEL_GIVEN])
    whole = whole.remove_columns([name for name in _ADDED if name in whole.column_names])
    whole.info.description, _, _ = _split_description(whole)
    return _with_format_of(form, whole)


def _split_description(dataset: Dataset) -> tuple[str, str, str]:
    """What the description was before, and the line of the record."""
    head, mark, tail = f"\n{dataset.info.description}".rpartition(f'\n{{"{_RECORD_KEY}": ')
    if not mark:
        return dataset.info.description, "", ""
    return head.removeprefix("\n"), mark, (mark + tail).strip().splitlines()[0]
