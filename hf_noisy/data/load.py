"""Load datasets with noisy labels in one format."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Image, List, Value, load_dataset, load_from_disk
from datasets.exceptions import DatasetNotFoundError

from hf_noisy.core.columns import CHECKED_LABEL, CLEAN_LABEL, IMAGE, LABEL, TEXT, VOTES
from hf_noisy.data import noise as noises
from hf_noisy.data.builders.builder import NoisyDatasetBuilder
from hf_noisy.data.checked import UNCHECKED, ids_of
from hf_noisy.data.labels import column_values
from hf_noisy.data.noise.feature_noise import FeatureNoise
from hf_noisy.data.noise.row_features import row_features

# Name -> module of `hf_noisy.data.builders` and class, imported on first use.
_BUILDERS = {
    "docs": "docs:DocsBuilder",
    "digits": "digits:DigitsBuilder",
    "20news": "newsgroups:NewsgroupsBuilder",
    "agnews": "agnews:AgNewsBuilder",
    "chemprot": "wrench_sets:ChemProtBuilder",
    "cifar10": "cifar10:Cifar10Builder",
    "cifar100": "cifar100:Cifar100Builder",
    "clothing1m": "clothing1m:Clothing1MBuilder",
    "mr_chatgpt": "json_lines_sets:MrChatGptBuilder",
    "noisyag_news": "noisyag_news:NoisyAgNewsBuilder",
    "semeval": "wrench_sets:SemEvalBuilder",
    "semeval_llm": "json_lines_sets:SemEvalLlmBuilder",
    "sms": "wrench_sets:SmsBuilder",
    "tiny_imagenet": "tiny_imagenet:TinyImageNetBuilder",
    "trec": "wrench_sets:TrecBuilder",
    "webvision": "webvision:WebVisionBuilder",
    "wos": "web_of_science:WebOfScienceBuilder",
    "wrench": "wrench:WrenchBuilder",
    "yelp_rules": "json_lines_sets:YelpRulesBuilder",
    "yoruba_newsclass": "json_lines_sets:YorubaNewsBuilder",
}
_NOISE_TYPES: dict[str, Callable[..., noises.Noise]] = {
    "symmetric": noises.symmetric,
    "pair": noises.pair,
    "asymmetric": noises.asymmetric,
    "instance": noises.instance_dependent,
}
_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_NOISY_SPLITS = ("train", "validation")


def list_noisy_datasets() -> list[str]:
    """Names of datasets for `load_noisy_dataset`, besides files and datasets of the Hub.

    `docs` and `digits` are built from installed packages; the others are read from a folder, and some are downloaded
    if there is none.

    Example:
        >>> list_noisy_datasets()[:4]
        ['docs', 'digits', '20news', 'agnews']
    """
    return list(_BUILDERS)


def dataset_builder(name: str) -> type[NoisyDatasetBuilder]:
    """The builder class of a named dataset: its configurations, source, licence and citation.

    Args:
        name: A name of [`list_noisy_datasets`].

    Returns:
        The class.

    Raises:
        ValueError: If the name is not known.

    Example:
        >>> [config.name for config in dataset_builder("noisyag_news").BUILDER_CONFIGS]
        ['best', 'mid', 'worst', 'clean']
    """
    if name not in _BUILDERS:
        raise ValueError(f"name must be one of {', '.join(_BUILDERS)}, got '{name}'")
    module, class_name = _BUILDERS[name].split(":")
    builder: type[NoisyDatasetBuilder] = getattr(
        importlib.import_module(f"hf_noisy.data.builders.{module}"), class_name
    )
    return builder


def load_noisy_dataset(
    name: str,
    config: str | None = None,
    *,
    noise_type: str | None = None,
    noise_rate: float | None = None,
    noise_seed: int = 0,
    data_dir: str | Path | None = None,
    text_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    **kwargs: Any,
) -> DatasetDict:
    """Load a dataset with the columns `text` or `image`, `label` (given), and `clean_label` and `votes` if known.

    The splits are those of the source: if there is no test split, `dataset["train"].train_test_split(...)` makes one.
    Noise is injected into `train` and `validation` only; in `test`, `label` then equals `clean_label`.

    Args:
        name: A name of [`list_noisy_datasets`]; or a file or a folder of `.csv`, `.json` or `.jsonl` (also `.gz`) or
            `.parquet`; or a folder written by `save_to_disk`; or a dataset of the Hub.
        config: Where the given labels of a named dataset come from, one of its builder's configurations, such as
            `"worse"` for `cifar10`; for a Hub dataset, its configuration.
        noise_type: Noise to inject into a clean source: `"symmetric"`, `"pair"` (to the next class), `"asymmetric"`
            (between similar classes for `cifar10` and `cifar100`, else the same as `"pair"`) or `"instance"`. The name
            of a noisy configuration works as `config`. `None` leaves the labels as they are.
        noise_rate: Share of wrong labels, in [0, 1); needed with `noise_type` unless that names a configuration. With
            `"asymmetric"` on `cifar10` it is the share in each of five classes, and half of it over all rows.
        noise_seed: Seed of the noise.
        data_dir: The folder of a named dataset, or the folder that holds it under its name; by default the
            environment variable `HF_NOISY_DATA_DIR`.
        text_column: Column of the texts in a file or Hub dataset, renamed to `text`.
        label_column: Column of the labels in a file or Hub dataset, renamed to `label`; strings become classes.
        image_column: Column of the images in a file or Hub dataset, or of their paths, renamed to `image`.
        **kwargs: Passed on to `datasets.load_dataset` for files and Hub datasets; named ones take `cache_dir`.

    Returns:
        `DatasetDict` with `train`, and `validation` and `test` where the source has them.

    Raises:
        FileNotFoundError: If a file or the folder of a named dataset is missing.
        ValueError: If a column is missing, or noise would be injected into labels that are noisy already.

    Example:
        >>> dataset = load_noisy_dataset("docs")  # doctest: +SKIP
        >>> dataset["train"].column_names  # doctest: +SKIP
        ['text', 'label', 'clean_label', 'votes']
    """
    builder = dataset_builder(name) if name in _BUILDERS else None
    noise = _noise(name, noise_type, noise_rate)
    if builder is None:
        kwargs = kwargs if config is None else {"name": config, **kwargs}
        text = _one_text_column(text_column)
        names = {"label_column": label_column or LABEL, "text_column": text, "image_column": image_column}
        dataset = _standard_columns(_load_source(name, data_dir, kwargs), names)
    else:
        given = {"text_column": text_column, "label_column": label_column, "image_column": image_column, **kwargs}
        taken = [key for key, value in given.items() if value is not None and key != "cache_dir"]
        if taken:
            raise ValueError(f"dataset '{name}' has fixed columns and takes no {', '.join(taken)}")
        dataset = builder(_config(builder, config, noise_type), data_dir=data_dir, **kwargs).build()
    return dataset if noise is None else _inject(dataset, noise, noise_seed, name)


def _one_text_column(given: str | Sequence[str] | None) -> str | None:
    columns = [given] if isinstance(given, str) else list(given or [])
    if len(columns) > 1:
        raise ValueError(f"text_column must be one column, got {', '.join(columns)}; pairs of texts are not supported")
    return columns[0] if columns else None


def _config(builder: type[NoisyDatasetBuilder], config: str | None, noise_type: str | None) -> str:
    known = [form.name for form in builder.BUILDER_CONFIGS]
    if noise_type in known:
        if config not in (None, noise_type):
            raise ValueError(
                f"noise_type='{noise_type}' is a configuration too, and config='{config}'; pass one of them"
            )
        config = noise_type
    config = builder.DEFAULT_CONFIG_NAME if config is None else config
    if config not in known:
        raise ValueError(f"config must be one of {', '.join(known)} for dataset '{builder.NAME}', got '{config}'")
    return config


def make_noise(noise_type: str, noise_rate: float | None, name: str | None = None) -> noises.Noise:
    """The noise for a `noise_type` of [`load_noisy_dataset`].

    Args:
        noise_type: `"symmetric"`, `"pair"`, `"asymmetric"` or `"instance"`.
        noise_rate: Share of wrong labels, in [0, 1).
        name: Name of the dataset; for `cifar10` and `cifar100`, asymmetric noise confuses similar classes.

    Returns:
        The noise, not yet applied.

    Raises:
        ValueError: If the type is not known, or the rate is missing or out of range.

    Example:
        >>> make_noise("asymmetric", 0.4, "cifar10").kind
        'asymmetric'
    """
    if noise_type not in _NOISE_TYPES:
        known = ", ".join([*_NOISE_TYPES, *_noisy_configs(name)])
        raise ValueError(f"noise_type must be None or one of {known}, got '{noise_type}'")
    if noise_rate is None:
        raise ValueError(f"noise_rate must be given with noise_type='{noise_type}', for example noise_rate=0.4")
    if noise_type == "asymmetric":
        return noises.asymmetric(noise_rate, _class_map(name))
    return _NOISE_TYPES[noise_type](noise_rate)


def _noise(name: str, noise_type: str | None, noise_rate: float | None) -> noises.Noise | None:
    configs = _noisy_configs(name)
    if noise_type is None and noise_rate is not None:
        raise ValueError(f"noise_rate={noise_rate} needs noise_type, one of {', '.join([*_NOISE_TYPES, *configs])}")
    if noise_type in configs and noise_rate is not None:
        raise ValueError(f"noise_rate must be None with the labels of noise_type='{noise_type}', got {noise_rate}")
    return None if noise_type is None or noise_type in configs else make_noise(noise_type, noise_rate, name)


def _noisy_configs(name: str | None) -> list[str]:
    configs = dataset_builder(name).BUILDER_CONFIGS if name in _BUILDERS else []
    return [config.name for config in configs if config.noise]


def _class_map(name: str | None) -> dict[int, int] | None:
    """Class -> the class it is confused with, if the module of the builder defines `CLASS_MAP`."""
    if name not in _BUILDERS:
        return None
    return getattr(importlib.import_module(dataset_builder(name).__module__), "CLASS_MAP", None)


def _inject(dataset: DatasetDict, noise: noises.Noise, seed: int, name: str) -> DatasetDict:
    for split in dataset.values():
        if CLEAN_LABEL in split.column_names and (_stored(split, LABEL) != _stored(split, CLEAN_LABEL)).any():
            raise ValueError(
                f"dataset '{name}' already has noisy labels, so noise_type would lose them; pass noise_type=None, "
                f"or config='clean' for a named dataset, or make the noise with inject_noise from '{CLEAN_LABEL}'"
            )
    clean = {
        key: split.remove_columns([column for column in (CLEAN_LABEL, VOTES) if column in split.column_names])
        for key, split in dataset.items()
    }
    noisy = [key for key in _NOISY_SPLITS if key in clean]
    features = {}
    if noisy and isinstance(noise, FeatureNoise):
        # One fit for all splits: the same row must have the same probability of a flip in each of them.
        features = dict(zip(noisy, row_features(*(clean[key] for key in noisy)), strict=True))
    for key, split in clean.items():
        if key in noisy:
            # A small validation split may lack a class; in a training split that is a mistake.
            options = {"features": features.get(key), "stream": key, "allow_empty_classes": key != "train"}
            clean[key] = noises.inject_noise(split, noise, seed=seed, **options)
        else:
            clean[key] = split.add_column(CLEAN_LABEL, _stored(split, LABEL), feature=split.features[LABEL])
    return DatasetDict(clean)


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
        try:
            loaded = load_dataset(name, data_dir=data_dir, **kwargs)
        except (ConnectionError, DatasetNotFoundError) as error:
            raise FileNotFoundError(
                f"name '{name}' is neither a file nor one of {', '.join(_BUILDERS)}, and no dataset of that name can "
                f"be loaded from the Hub ({type(error).__name__}); check the name"
            ) from error
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


def _standard_columns(dataset: DatasetDict, names: dict[str, str | None]) -> DatasetDict:
    """Columns renamed to `text`, `image` and `label`, labels as `ClassLabel`; other columns stay."""
    columns = next(iter(dataset.values())).column_names
    if names["text_column"] is None and names["image_column"] is None and IMAGE not in columns:
        names["text_column"] = TEXT
    asked = [column for column in names.values() if column is not None]
    if len(set(asked)) < len(asked):
        raise ValueError(
            f"text_column, image_column and label_column must be different columns, got {', '.join(asked)}"
        )
    for argument, old in names.items():
        new = {"text_column": TEXT, "image_column": IMAGE}.get(argument, LABEL)
        if old is not None and old not in columns:
            raise ValueError(f"{argument} must be one of {columns}, got '{old}'")
        if old is None or old == new:
            continue
        if new in columns:
            raise ValueError(
                f"{argument}='{old}' cannot be renamed to '{new}', a column of that name exists; rename or remove it"
            )
        dataset = dataset.rename_column(old, new)
    # The CSV reader gives another string type; splits and datasets of two sources should fit together.
    first = next(iter(dataset.values()))
    if TEXT in first.column_names:
        dataset = dataset.cast_column(TEXT, Value("string"))
    if names["image_column"] is not None and not isinstance(first.features[IMAGE], Image):
        dataset = dataset.cast_column(IMAGE, Image())
    return _class_labels(dataset)


def _class_labels(dataset: DatasetDict) -> DatasetDict:
    first = next(iter(dataset.values()))
    labels = first.features[LABEL]
    columns = [column for column in (LABEL, CLEAN_LABEL) if column in first.column_names]
    if isinstance(labels, List):
        raise ValueError(
            f"label_column must hold one class per row, got soft labels ({labels}); call restore_labels first, or "
            "train on soft labels with NoisyTrainer in Python"
        )
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
        dataset[key] = _checked_classes(split, feature) if CHECKED_LABEL in split.column_names else split
    return dataset


def _checked_classes(split: Dataset, feature: ClassLabel) -> Dataset:
    """The split with checked labels as classes, by the names that the given labels have in the file."""
    values = split.with_format(None)[CHECKED_LABEL][:]
    # A column of whole numbers with gaps is read as one of floats.
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    names = [None if value is None or value != value or value == UNCHECKED else str(value) for value in values]
    ids = ids_of(names, {name: label for label, name in enumerate(feature.names)}, f"column '{CHECKED_LABEL}'")
    column = [None if label == UNCHECKED else label for label in ids.tolist()]
    return split.remove_columns(CHECKED_LABEL).add_column(CHECKED_LABEL, column, feature=feature)


def _stored(dataset: Dataset, column: str) -> np.ndarray:
    values = column_values(dataset, column)
    return values.astype(str) if values.dtype == object else values
