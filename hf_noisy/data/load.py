"""Datasets with noisy labels under one form, whatever they come from."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Value, load_dataset, load_from_disk

from hf_noisy.columns import CLEAN_LABEL, IMAGE, LABEL, TEXT, VOTES
from hf_noisy.data import cifar10
from hf_noisy.data.class_map import MapNoise
from hf_noisy.data.features import row_features
from hf_noisy.data.folders import FOLDERS, load_folder
from hf_noisy.data.noise import InstanceDependentNoise, Noise, PairNoise, SymmetricNoise, inject_noise

_NOISE_TYPES: dict[str, type[SymmetricNoise] | type[PairNoise] | type[InstanceDependentNoise]] = {
    "symmetric": SymmetricNoise,
    "asymmetric": PairNoise,
    "instance": InstanceDependentNoise,
}
_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json"}
_NOISY_SPLITS = ("train", "validation")


def list_noisy_datasets() -> list[str]:
    """Names that `load_noisy_dataset` knows, besides files and datasets of the Hub.

    `docs` and `digits` are made on the spot from installed packages; the others are folders of `HF_NOISY_DATA_DIR`.

    Example:
        >>> list_noisy_datasets()
        ['docs', 'digits', '20news', 'cifar10', 'noisyag_news', 'semeval', 'trec']
    """
    return [*_EMBEDDED, *sorted([*FOLDERS, cifar10.NAME])]


def load_noisy_dataset(
    name: str,
    *,
    noise_type: str | None = None,
    noise_rate: float | None = None,
    noise_seed: int = 0,
    data_dir: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    **kwargs: Any,
) -> DatasetDict:
    """Load a dataset as columns `text` or `image`, `label` (the given one), `clean_label` and `votes` where known.

    The splits are those of the source: no test split is cut from a source that has none, since cleaning a dataset
    needs all of its rows; `dataset["train"].train_test_split(...)` makes one. Noise goes into `train` and `validation`
    only; then `label` equals `clean_label` in `test`.

    Args:
        name: A name of [`list_noisy_datasets`]; or a file or a folder of `.csv`, `.json` or `.jsonl` (also `.gz`); or
            a folder written by `save_to_disk`; or a dataset of the Hub.
        noise_type: `"symmetric"`, `"asymmetric"` (to the next class; for `cifar10` to the look-alike of five of its
            classes) or `"instance"`, put into a clean source; for `cifar10` also the human labels `"aggre"`,
            `"random1"`, `"random2"`, `"random3"` and `"worse"`. `None` leaves the labels as they are.
        noise_rate: Share of wrong labels, in [0, 1); needed with `noise_type`, but for human labels. With
            `"asymmetric"` on `cifar10` it is the share in each of the five classes, and half of it over all rows.
        noise_seed: Seed of the noise.
        data_dir: Folder with one folder a named dataset; by default the environment variable `HF_NOISY_DATA_DIR`.
        text_column: Column of the texts in a file or Hub dataset, renamed to `text`.
        label_column: Column of the labels in a file or Hub dataset, renamed to `label`; strings become classes.
        **kwargs: Passed on to `datasets.load_dataset` for files and Hub datasets.

    Returns:
        `DatasetDict` with `train`, and `validation` and `test` where the source has them.

    Raises:
        FileNotFoundError: If the folder of a named dataset, or a file, is not there.
        ValueError: If a column is missing, or noise is asked for where labels are noisy already.

    Example:
        >>> dataset = load_noisy_dataset("docs")  # doctest: +SKIP
        >>> dataset["train"].column_names  # doctest: +SKIP
        ['text', 'label', 'clean_label', 'votes']
    """
    noise = _noise(name, noise_type, noise_rate)
    if name in list_noisy_datasets():
        if text_column or label_column or kwargs:
            given = [key for key, value in (("text_column", text_column), ("label_column", label_column)) if value]
            raise ValueError(f"dataset '{name}' has fixed columns and takes no {', '.join([*given, *kwargs])}")
        dataset = _load_named(name, data_dir, noise_type)
    else:
        dataset = _standard_columns(_load_source(name, data_dir, kwargs), text_column or TEXT, label_column or LABEL)
    return dataset if noise is None else _inject(dataset, noise, noise_seed, name)


def _noise(name: str, kind: str | None, rate: float | None) -> Noise | None:
    human = cifar10.HUMAN_LABELS if name == cifar10.NAME else {}
    known = ", ".join([*_NOISE_TYPES, *human])
    if kind is None:
        if rate is not None:
            raise ValueError(f"noise_rate={rate} needs noise_type, one of {known}")
        return None
    if kind in human:
        if rate is not None:
            raise ValueError(f"noise_rate must be None with the human labels noise_type='{kind}', got {rate}")
        return None
    if kind not in _NOISE_TYPES:
        raise ValueError(f"noise_type must be None or one of {known}, got '{kind}'")
    if rate is None:
        raise ValueError(f"noise_rate must be given with noise_type='{kind}', for example noise_rate=0.4")
    if kind == "asymmetric" and name == cifar10.NAME:
        return MapNoise(rate, cifar10.CLASS_MAP)
    return _NOISE_TYPES[kind](rate)


def _inject(dataset: DatasetDict, noise: Noise, seed: int, name: str) -> DatasetDict:
    for split in dataset.values():
        if CLEAN_LABEL in split.column_names and not _equal_labels(split):
            raise ValueError(
                f"dataset '{name}' already has noisy labels, so noise_type would lose them; pass noise_type=None, "
                f"or make the noise with inject_noise from '{CLEAN_LABEL}'"
            )
    clean = {
        key: split.remove_columns([column for column in (CLEAN_LABEL, VOTES) if column in split.column_names])
        for key, split in dataset.items()
    }
    noisy = [key for key in _NOISY_SPLITS if key in clean]
    features = {}
    if noisy and isinstance(noise, InstanceDependentNoise):
        # One fit for all splits: the same row must run the same risk in each of them.
        features = dict(zip(noisy, row_features(*(clean[key] for key in noisy)), strict=True))
    for key, split in clean.items():
        if key in noisy:
            clean[key] = inject_noise(split, noise, seed=seed, features=features.get(key), stream=key)
        else:
            clean[key] = split.add_column(CLEAN_LABEL, _stored(split, LABEL), feature=split.features[LABEL])
    return DatasetDict(clean)


def _load_named(name: str, data_dir: str | Path | None, noise_type: str | None) -> DatasetDict:
    if name == cifar10.NAME:
        return cifar10.load_cifar10(data_dir, noise_type if noise_type in cifar10.HUMAN_LABELS else None)
    return _EMBEDDED[name]() if name in _EMBEDDED else load_folder(name, data_dir)


def _load_docs() -> DatasetDict:
    from hf_noisy.data.builders.docs import DocsBuilder
    from hf_noisy.data.records import record_known_noise

    builder = DocsBuilder()
    builder.download_and_prepare()
    splits = builder.as_dataset()
    return DatasetDict({key: record_known_noise(split, "rules") for key, split in splits.items()})


def _load_digits() -> DatasetDict:
    from hf_noisy.data.builders.digits import DigitsBuilder

    builder = DigitsBuilder()
    builder.download_and_prepare()
    return builder.as_dataset()


def _load_source(name: str, data_dir: str | Path | None, kwargs: dict[str, Any]) -> DatasetDict:
    path = Path(name)
    if any((path / state).is_file() for state in ("dataset_dict.json", "state.json")):
        loaded = load_from_disk(name)
    elif path.is_dir():
        loaded = load_dataset(str(path), data_dir=data_dir, **kwargs)
    elif path.is_file():
        loaded = load_dataset(_format(path), data_files=str(path), **kwargs)
    elif _suffix(path) in _FORMATS:
        raise FileNotFoundError(f"name '{name}' looks like a file but there is none; check the path")
    else:
        loaded = load_dataset(name, data_dir=data_dir, **kwargs)
    if isinstance(loaded, Dataset):
        return DatasetDict({str(loaded.split or "train"): loaded})
    if not isinstance(loaded, DatasetDict):
        raise ValueError(f"dataset '{name}' must be loaded whole, got {type(loaded).__name__}; leave streaming out")
    return loaded


def _suffix(path: Path) -> str:
    return next((suffix for suffix in reversed(path.suffixes) if suffix != ".gz"), "")


def _format(path: Path) -> str:
    if _suffix(path) not in _FORMATS:
        raise ValueError(f"name '{path}' must end in {', '.join(_FORMATS)}, optionally with .gz; convert the file")
    return _FORMATS[_suffix(path)]


def _standard_columns(dataset: DatasetDict, text_column: str, label_column: str) -> DatasetDict:
    """Columns renamed to `text` and `label`, labels as `ClassLabel`; other columns stay."""
    columns = next(iter(dataset.values())).column_names
    for argument, old, new in (("text_column", text_column, TEXT), ("label_column", label_column, LABEL)):
        if old not in columns:
            if old == TEXT and IMAGE in columns:
                continue
            raise ValueError(f"{argument} must be one of {columns}, got '{old}'")
        if old == new:
            continue
        if new in columns:
            raise ValueError(
                f"{argument}='{old}' cannot be renamed to '{new}', a column of that name exists; rename or remove it"
            )
        dataset = dataset.rename_column(old, new)
    # The CSV reader gives another string type; splits and datasets of two sources should fit together.
    if TEXT in next(iter(dataset.values())).column_names:
        dataset = dataset.cast_column(TEXT, Value("string"))
    return _class_labels(dataset)


def _class_labels(dataset: DatasetDict) -> DatasetDict:
    first = next(iter(dataset.values()))
    labels = first.features[LABEL]
    columns = [column for column in (LABEL, CLEAN_LABEL) if column in first.column_names]
    if isinstance(labels, ClassLabel):
        return dataset.cast_column(CLEAN_LABEL, labels) if CLEAN_LABEL in columns else dataset
    values = [
        _stored(split, column) for split in dataset.values() for column in columns if column in split.column_names
    ]
    found = np.unique(np.concatenate(values))
    negative = found.dtype.kind == "i" and bool((found < 0).any())
    if found.dtype.kind not in "iuUb" or negative:
        got = f"{labels}{' with negative values' if negative else ''}"
        raise ValueError(
            f"label_column must hold strings or whole numbers from 0, got {got}; encode it or drop those rows"
        )
    feature = ClassLabel(names=[str(value) for value in found])
    for key, split in dataset.items():
        for column in columns:
            ids = np.searchsorted(found, _stored(split, column))
            split = split.remove_columns(column).add_column(column, ids, feature=feature)
        dataset[key] = split
    return dataset


def _equal_labels(dataset: Dataset) -> bool:
    return bool((_stored(dataset, LABEL) == _stored(dataset, CLEAN_LABEL)).all())


def _stored(dataset: Dataset, column: str) -> np.ndarray:
    values = dataset.select_columns([column]).with_format("arrow")[:].column(column)
    if values.null_count:
        raise ValueError(f"column '{column}' lacks {values.null_count} labels; drop those rows first")
    array = values.to_numpy()
    stored: np.ndarray = array.astype(str) if array.dtype == object else array
    return stored


_EMBEDDED = {"docs": _load_docs, "digits": _load_digits}
