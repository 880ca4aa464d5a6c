"""From a posterior to a training set: relabel, drop, soften, weight or flag rows."""

import logging
from collections.abc import Callable
from inspect import signature
from typing import Any, Literal, get_args, overload

import datasets
import numpy as np
from datasets import Dataset, DatasetDict  # both: checks of types read the one out of the other
from jaxtyping import Bool, Float, Float32, Integer

from hf_noisy.core.checks import check_features
from hf_noisy.core.columns import (
    FEATURES,
    LABEL,
    LABEL_CHANGED,
    LABEL_CHECKED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
    column_vectors,
)
from hf_noisy.core.phases import phase
from hf_noisy.data.checked import CheckedRows, checked_rows
from hf_noisy.data.labels import column_values, with_format_of
from hf_noisy.data.records import class_labels
from hf_noisy.data.replace_column import with_column
from hf_noisy.detection.selection import guaranteed_changes
from hf_noisy.detection.share_intervals import random_samples
from hf_noisy.purification.registry import PURIFIERS, Purifier, as_purifier, check_posterior
from hf_noisy.purification.restore import ADDED, DROPPED, add_record

Policy = Literal["relabel", "drop", "soft", "weight", "flag"]
logger = logging.getLogger(__name__)
PurifierLike = str | Callable[..., Any] | np.ndarray


@overload
def purify(
    dataset: Dataset,
    purifier: PurifierLike | None = ...,
    policy: Literal["relabel", "soft", "weight", "flag"] = ...,
    **arguments: Any,
) -> Dataset: ...


@overload
def purify(
    dataset: Dataset | DatasetDict, purifier: PurifierLike | None = ..., policy: Policy = ..., **arguments: Any
) -> Dataset | DatasetDict: ...


def purify(
    dataset: Dataset | DatasetDict,
    purifier: PurifierLike | None = None,
    policy: Policy = "relabel",
    *,
    min_confidence: float | None = None,
    max_wrong: float | None = None,
    split: str = "train",
    features: str = FEATURES,
    probabilities: str | Float[np.ndarray, "rows classes"] | None = None,
    checked: Any = None,
    name: str | None = None,
    **options: Any,
) -> Dataset | DatasetDict:
    """A copy of the dataset with corrected labels, which can be undone.

    Columns are added: `label_given`, `label_posterior` (float32 `[classes]`), `label_confidence` (its largest entry),
    `label_changed` (whether the given label is overruled: the most probable class is another one, with a confidence of
    at least `min_confidence`) and `purifier`. Rows of a lower confidence keep their given label under every policy.
    Rows that a person has checked get their checked label, with confidence 1 under every purifier, and are marked in a
    column `label_checked`. Format, features, other columns and the record of the noise are kept.

    | policy | effect |
    |---|---|
    | `relabel` | `label` becomes the most probable class |
    | `drop` | rows whose label is overruled move to the split `dropped` |
    | `soft` | `label` becomes the posterior, a soft label |
    | `weight` | `label` stays, `label_weight` is the posterior of the given label; `NoisyTrainer` multiplies by it |
    | `flag` | `label` stays |

    Args:
        dataset: A dataset with given labels in `label`. Only one split of a `DatasetDict` is purified.
        purifier: A name of [`hf_noisy.purification.PURIFIERS`], a function of `(features, labels)` that returns a
            posterior of the true label `[rows, classes]`, or such a posterior. By default `checked` if there are
            checked rows and no `probabilities`, else `evidence`.
        policy: See above.
        min_confidence: In [0, 1]; by default 0.65 for `evidence` and 0 for other purifiers.
        max_wrong: Change only as many labels that the expected share of wrong changes is at most this, in (0, 1). Rows
            checked at random calibrate the choice, see [`~hf_noisy.detection.selection.guaranteed_changes`]. If they
            are too few to promise anything, no label is changed but those of checked rows, and a warning says so.
        split: The split of a `DatasetDict` to purify.
        features: Column of the row vectors.
        probabilities: Out-of-sample predictions of the given label, as an array `[rows, classes]` or a column. They
            replace the features for `evidence` and `confident_learning`; a function is called with
            `(labels, probabilities)`.
        checked: Rows that a person has checked, as for [`~hf_noisy.data.checked.checked_rows`]: the path of a
            `checked.csv`, or classes `[rows]` with -1 where nobody looked; by default the column `checked_label` if
            there is one.
        name: Value of the column `purifier`; by default the name of the purifier.
        **options: Options of the purifier, such as `k=5` for `knn`.

    Returns:
        The dataset; with policy `drop` always a `DatasetDict`, `{"train": ..., "dropped": ...}` for a single dataset,
        and without `dropped` if no label was overruled.

    Raises:
        TypeError: If `dataset` or `purifier` has another type.
        ValueError: If an argument is out of range, labels or columns are missing, the dataset is purified already, no
            row would be left, or `max_wrong` has no rows checked at random to rely on.

    Example:
        >>> rows = {"features": [[0.0, 1], [0, 2], [0, 3], [1, 0], [2, 0], [3, 0]], "label": [0, 0, 1, 1, 1, 1]}
        >>> purified = purify(Dataset.from_dict(rows), "knn", k=2, min_confidence=0.9)
        >>> list(purified["label"]), list(purified["label_given"])
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1])
    """
    _check_options(policy, min_confidence)
    given_purifier = None if purifier is None else as_purifier(purifier)
    rows = _rows_to_purify(dataset, policy, split)
    labels, _ = class_labels(rows, LABEL)
    found = checked_rows(rows, checked)
    default = "evidence" if found is None or probabilities is not None else "checked"
    own_name, chosen = given_purifier or as_purifier(default)
    name = name or own_name
    _check_checked(name, chosen, found, min_confidence, max_wrong)
    if min_confidence is None:
        min_confidence = chosen.min_confidence if max_wrong is None else 0.0
    if chosen.reads_checked and found is not None:
        options = {"checked": found.as_column(), **options}
    with phase("purification"):
        posterior = _posterior(rows, labels, name, chosen, features, probabilities, options)
    record = {
        "purifier": name,
        "citation": chosen.citation,
        "options": {key: value for key, value in options.items() if isinstance(value, str | int | float | bool)},
        "policy": policy,
        "min_confidence": min_confidence,
        "rows": len(labels),
        "alone": isinstance(dataset, Dataset),
    }
    allowed = np.ones(len(labels), dtype=bool)
    if max_wrong is not None:
        assert found is not None  # by check_max_wrong
        guaranteed = guaranteed_changes(labels, found, posterior, posterior[found.index], max_wrong, policy)
        allowed, record["max_wrong"], record["guarantee"] = guaranteed.changed, max_wrong, str(guaranteed)
        if not allowed.any():
            logger.warning(str(guaranteed))
    if found is not None:
        record["checked_rows"] = len(found)
        posterior[found.index] = np.eye(posterior.shape[1], dtype=np.float32)[found.labels]
        allowed[found.index] = True
    purified = _purified(rows, labels, posterior, record, allowed, found)
    if isinstance(dataset, DatasetDict):
        return DatasetDict({**dataset, **(_separate(purified, split) if policy == "drop" else {split: purified})})
    return _separate(purified, str(dataset.split or "train")) if policy == "drop" else purified


def check_purifiable(
    rows: Dataset,
    purifier: str,
    policy: str,
    checked: CheckedRows | None,
    min_confidence: float | None = None,
    max_wrong: float | None = None,
) -> None:
    """Refuse what `purify` would refuse, as far as that can be known before features are computed."""
    _check_options(policy, min_confidence)
    class_labels(_rows_to_purify(rows, policy, "train"), LABEL)
    _check_checked(purifier, PURIFIERS[purifier], checked, min_confidence, max_wrong)


def _check_options(policy: str, min_confidence: float | None) -> None:
    if policy not in get_args(Policy):
        raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, got {policy!r}")
    if min_confidence is not None and not 0.0 <= min_confidence <= 1.0:
        raise ValueError(f"min_confidence must be in [0, 1], got {min_confidence}; 0.8 acts on confident rows only")


def _check_checked(
    name: str, purifier: Purifier, checked: CheckedRows | None, min_confidence: float | None, max_wrong: float | None
) -> None:
    """Refuse a purifier or a promise that the checked rows cannot support."""
    if max_wrong is not None:
        check_max_wrong(max_wrong, min_confidence, checked, purifier, name)
    if purifier is PURIFIERS["checked"] and checked is None:
        raise ValueError("purifier 'checked' needs checked rows; pass checked=, or add a column 'checked_label'")
    if purifier is PURIFIERS["dmlp"] and checked is not None and len(checked) < 2:
        raise ValueError(f"purifier 'dmlp' needs at least 2 checked rows, got {len(checked)}; check more of them")


def _rows_to_purify(dataset: Any, policy: str, split: str) -> Dataset:
    """The rows to purify, refused if `purify` cannot add its columns."""
    if isinstance(dataset, DatasetDict):
        if split not in dataset:
            raise ValueError(f"split must be one of {', '.join(dataset)}, got '{split}'")
        if policy == "drop" and DROPPED in dataset:
            raise ValueError(f"dataset already has a split '{DROPPED}', which policy 'drop' makes; rename it")
        dataset = dataset[split]
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset must be a datasets.Dataset or DatasetDict, got {type(dataset).__name__}; load it without "
            "streaming"
        )
    columns = dataset.column_names
    if LABEL not in columns:
        raise ValueError(
            f"dataset has no column '{LABEL}', only {', '.join(columns)}; rename yours with dataset.rename_column"
        )
    if LABEL_GIVEN in columns:
        raise ValueError(
            f"dataset has a column '{LABEL_GIVEN}', so it was purified before; call restore_labels first, since a "
            "purifier needs the given labels"
        )
    if taken := [name for name in ADDED if name in columns]:
        raise ValueError(f"dataset already has a column '{taken[0]}', which purify adds; rename or remove it")
    if len(dataset) == 0:
        raise ValueError("dataset has no rows, so there is nothing to purify")
    return dataset


def _posterior(
    rows: Dataset,
    labels: Integer[np.ndarray, " rows"],
    name: str,
    purifier: Purifier,
    features: str,
    probabilities: Any,
    options: dict[str, Any],
) -> Float32[np.ndarray, "rows classes"]:
    function = purifier.function
    arrays: list[Any] = [labels]
    if probabilities is not None:
        if purifier.of_predictions is None:
            raise ValueError(f"purifier '{name}' does not read probabilities; leave them out")
        function = purifier.of_predictions
        arrays.append(_column(rows, probabilities, name) if isinstance(probabilities, str) else probabilities)
    elif purifier.needs_features:
        arrays.insert(0, _column(rows, features, name))
    feature = rows.features[LABEL]
    known = feature.num_classes if isinstance(feature, datasets.ClassLabel) else None
    accepted = signature(function).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in accepted.values()):
        own = [one for one in accepted if one not in ("features", "labels", "probabilities", "checked")]
        if unknown := sorted(options.keys() - {*own, "checked"}):
            raise ValueError(
                f"purifier '{name}' has no argument {', '.join(unknown)}; it takes {', '.join(own) or 'none'}"
            )
    if "num_classes" in accepted:
        options = {"num_classes": known, **options}
    posterior = check_posterior(function(*arrays, **options), len(labels), known or int(labels.max()) + 1, name)
    if known is not None and posterior.shape[1] != known:
        raise ValueError(
            f"purifier '{name}' knows {posterior.shape[1]} classes, but column '{LABEL}' has {known}; use one "
            "that was fitted on this dataset"
        )
    return posterior


def check_max_wrong(
    max_wrong: float, min_confidence: float | None, checked: CheckedRows | None, purifier: Purifier, name: str
) -> None:
    """Refuse a promise on wrong changes that no checked row can support."""
    if not 0 < max_wrong < 1:
        raise ValueError(f"max_wrong must be above 0 and below 1, got {max_wrong}; 0.1 means 10 % of the changes")
    if min_confidence is not None:
        raise ValueError("max_wrong chooses the confidence of the changes itself; leave out min_confidence")
    if checked is None:
        raise ValueError(
            "max_wrong needs rows that a person has checked; draw some with rows_to_check or hf-noisy check"
        )
    if purifier.reads_checked and not purifier.held_out:
        raise ValueError(
            f"purifier '{name}' is fitted to the checked labels, so they cannot guarantee its changes; choose "
            "'checked', or leave out max_wrong"
        )
    list(random_samples(checked, "no guarantee"))  # refuses rows that were not drawn at random


def _column(rows: Dataset, column: str, name: str) -> Float[np.ndarray, "rows width"]:
    if column not in rows.column_names:
        raise ValueError(
            f"purifier '{name}' needs a column '{column}', but dataset has only {', '.join(rows.column_names)}; "
            "add it with embed, or name another by features= or probabilities="
        )
    return check_features(column_vectors(rows, column), f"column '{column}'")


def _purified(
    dataset: Dataset,
    labels: Integer[np.ndarray, " rows"],
    posterior: Float32[np.ndarray, "rows classes"],
    record: dict[str, Any],
    allowed: Bool[np.ndarray, " rows"],
    checked: CheckedRows | None,
) -> Dataset:
    name, policy = record["purifier"], record["policy"]
    feature = dataset.features[LABEL]
    confidence, best = posterior.max(1), posterior.argmax(1)
    sure = allowed & (confidence >= record["min_confidence"])
    changed = sure & (best != labels)
    if policy == "drop" and changed.all():
        raise ValueError(
            f"purifier '{name}' overrules the label of every row, so policy 'drop' would leave none; raise "
            "min_confidence or choose another policy"
        )
    soft = datasets.List(datasets.Value("float32"), length=posterior.shape[1])
    added: dict[str, tuple[Any, Any]] = {
        LABEL_GIVEN: (column_values(dataset, LABEL), feature),
        LABEL_POSTERIOR: (posterior, soft),
        LABEL_CONFIDENCE: (confidence, datasets.Value("float32")),
        LABEL_CHANGED: (changed, datasets.Value("bool")),
        PURIFIER: ([name] * len(labels), datasets.Value("string")),
    }
    if checked is not None:
        known = np.isin(np.arange(len(labels)), checked.index)
        added[LABEL_CHECKED] = (known, datasets.Value("bool"))
    if policy == "weight":
        weights = np.where(sure, posterior[np.arange(len(labels)), labels], np.float32(1))
        added[LABEL_WEIGHT] = (weights, datasets.Value("float32"))
    if policy == "drop" and changed.any():
        added[ROW_GIVEN] = (np.arange(len(labels)), datasets.Value("int64"))
    # Without the format: a lazy transform would run here, and its result would be stored.
    purified = dataset.with_format(None)
    if policy == "relabel":
        purified = with_column(purified, LABEL, np.where(sure, best, labels), feature)
    elif policy == "soft":
        given = np.eye(posterior.shape[1], dtype=np.float32)[labels]
        purified = with_column(purified, LABEL, np.where(sure[:, None], posterior, given), soft)
    for column, (values, kind) in added.items():
        purified = with_column(purified, column, values, kind)
    add_record(purified, record)
    return with_format_of(dataset, purified)


def _separate(purified: Dataset, split: str) -> DatasetDict:
    if ROW_GIVEN not in purified.column_names:  # an empty split could be saved, but not loaded
        return DatasetDict({split: purified})
    kept, dropped = (np.flatnonzero(column_values(purified, LABEL_CHANGED) == changed) for changed in (False, True))
    return DatasetDict({split: purified.select(kept), DROPPED: purified.select(dropped)})
