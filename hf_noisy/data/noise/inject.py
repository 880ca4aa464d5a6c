"""Inject noise into a dataset: given labels, true labels and a record of the noise."""

from typing import Any

import datasets
import numpy as np
from jaxtyping import Integer, Num

from hf_noisy.core.columns import CLEAN_LABEL, LABEL
from hf_noisy.data.flat_labels import HELD, task_of_labels
from hf_noisy.data.labels import with_format_of
from hf_noisy.data.noise.feature_noise import FeatureNoise
from hf_noisy.data.noise.kind import ClassNoise, Noise
from hf_noisy.data.noise.list_noise import ListNoise
from hf_noisy.data.noise.published import ReplayNoise
from hf_noisy.data.noise.row_features import row_features
from hf_noisy.data.records import class_labels, record_list_noise, record_noise
from hf_noisy.data.replace_column import with_column


def inject_noise(
    dataset: datasets.Dataset,
    noise: Noise | ListNoise,
    *,
    label_column: str = LABEL,
    seed: int = 0,
    features: Num[np.ndarray, "rows features"] | None = None,
    stream: str = "train",
    allow_empty_classes: bool = False,
) -> datasets.Dataset:
    """A copy of the dataset with noisy given labels; the true ones move to `clean_label`.

    The dataset's info keeps a record of the noise, see [`~hf_noisy.data.noise_record`]. The labels are drawn once and
    stored, so they do not depend on the batch size or the number of processes.

    Args:
        dataset: Dataset with true labels, a `ClassLabel` (or whole numbers from 0), or a list of them: the tags of the
            words in `tokens`, or a set of classes. A column `clean_label` with the same labels is replaced.
        noise: One of `hf_noisy.noise`, such as `noise.symmetric(0.4)`; `noise.entities` for tags, `noise.label_sets`
            for sets of classes.
        label_column: Column of the true labels; it holds the given labels afterwards.
        seed: Seed of the noise.
        features: Row vectors `[rows, features]`, real numbers, for noise that depends on the row; by default the
            column `features`, or computed from the column `text` or `image`.
        stream: Name of the split; use a different one for each split of a dataset.
        allow_empty_classes: Accept classes without rows, as a small split may have; their noise cannot be measured.

    Returns:
        The dataset with `label_column` noisy and `clean_label` added, of the same feature.

    Raises:
        ValueError: If labels are missing, out of range, of fewer than 2 classes or lack a class, do not fit the noise,
            or differ from an existing `clean_label`.

    Example:
        >>> from hf_noisy.data import inject_noise, noise, noise_record
        >>> clean = datasets.Dataset.from_dict({"label": [0, 1, 2, 0, 1]})
        >>> noise_record(inject_noise(clean, noise.symmetric(0.4)))["rate_measured"]
        0.4
    """
    _check_dataset(dataset, label_column)
    _check_noise(noise)
    _check_task(dataset, noise, label_column)
    if isinstance(noise, ListNoise):
        _check_labels_are_true(dataset, label_column)
        lists, counts = noise.apply(dataset, label_column, seed, stream)
        noisy = _with_given(dataset, label_column, lists)
        record = {**noise.settings(), **counts, "seed": seed, "stream": stream}
        return record_list_noise(noisy, record, label_column)
    labels, num_classes = class_labels(dataset, label_column)
    _check_labels_are_true(dataset, label_column)
    if not allow_empty_classes:
        _check_no_class_is_empty(labels, num_classes, dataset.features[label_column])
    if features is None and isinstance(noise, FeatureNoise):
        (features,) = row_features(dataset)
    given = noise.apply(labels, num_classes, seed, features, stream)
    noisy = _with_given(dataset, label_column, given)
    return record_noise(noisy, _record(noise, labels, num_classes, seed, stream), labels, given, num_classes)


def _with_given(dataset: datasets.Dataset, label_column: str, given: Any) -> datasets.Dataset:
    """The dataset with the given labels, and the true ones in `clean_label`."""
    # Without the format: a lazy transform would run here, and its result would be stored.
    noisy = dataset.with_format(None).remove_columns({CLEAN_LABEL}.intersection(dataset.column_names))
    noisy = noisy.rename_column(label_column, CLEAN_LABEL)
    return with_format_of(dataset, with_column(noisy, label_column, given, dataset.features[label_column]))


def _record(
    noise: Noise, labels: Integer[np.ndarray, " rows"], num_classes: int, seed: int, stream: str
) -> dict[str, Any]:
    record = noise.settings()
    if noise.rate is None and isinstance(noise, ClassNoise):
        # The rate of a transition matrix depends on the class frequencies.
        flips = 1 - noise.transition_matrix(num_classes).diagonal()
        record["rate"] = float(flips[labels].mean()) if len(labels) else 0.0
    return record if isinstance(noise, ReplayNoise) else {**record, "seed": seed, "stream": stream}


def _check_dataset(dataset: object, label_column: str) -> None:
    if not isinstance(dataset, datasets.Dataset):
        remedy = "noise goes into one split at a time" if isinstance(dataset, dict) else "load it without streaming"
        raise ValueError(f"dataset must be a datasets.Dataset, got {type(dataset).__name__}; {remedy}")
    if label_column == CLEAN_LABEL:
        raise ValueError(
            f"label_column must not be '{CLEAN_LABEL}', which keeps the true labels; rename it to 'label'"
        )


def _check_noise(noise: object) -> None:
    if not isinstance(noise, Noise | ListNoise):
        raise ValueError(f"noise must be made by hf_noisy.noise, such as noise.symmetric(0.4), got {noise!r}")


def _check_task(dataset: datasets.Dataset, noise: Noise | ListNoise, label_column: str) -> None:
    task = task_of_labels(dataset, label_column)
    fitting = {"tokens": "noise.entities(missed=0.3)", "multi-label": "noise.label_sets(missing=0.4)"}
    if task != (noise.task if isinstance(noise, ListNoise) else "one-label"):
        raise ValueError(
            f"noise '{noise.kind}' does not fit column '{label_column}', whose rows hold "
            f"{HELD[task]}; pass {fitting.get(task, 'noise.symmetric(0.4)')}"
        )


def _check_labels_are_true(dataset: datasets.Dataset, label_column: str) -> None:
    if CLEAN_LABEL not in dataset.column_names:
        return
    columns = dataset.select_columns([label_column, CLEAN_LABEL]).with_format("arrow")[:]
    if not columns[label_column].equals(columns[CLEAN_LABEL]):
        raise ValueError(
            f"dataset has noisy labels already, its columns '{label_column}' and '{CLEAN_LABEL}' differ; to put other "
            f"noise into it, remove '{label_column}' and rename '{CLEAN_LABEL}' to '{label_column}' first"
        )


def _check_no_class_is_empty(labels: Integer[np.ndarray, " rows"], num_classes: int, feature: Any) -> None:
    empty = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(empty):
        known = isinstance(feature, datasets.ClassLabel)
        names = ", ".join(f"{i} ('{feature.int2str(i)}')" if known else str(i) for i in empty[:5].tolist())
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise ValueError(
            f"dataset has no rows of class {names}{more}; renumber the others from 0, or pass allow_empty_classes=True"
        )
