"""Load datasets with noisy labels in one format."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, VOTES
from hf_noisy.data import noise as noises
from hf_noisy.data.builders.builder import NoisyDatasetBuilder
from hf_noisy.data.labelled_rows import marks_as_missing
from hf_noisy.data.labels import column_values
from hf_noisy.data.noise.feature_noise import FeatureNoise
from hf_noisy.data.noise.row_features import row_features
from hf_noisy.data.reading.source_splits import read_source
from hf_noisy.data.reading.standard_columns import standard_columns
from hf_noisy.data.reading.trusted_test import TEST_LABELS, add_test_file, with_true_test_labels
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.tables import with_table_features

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
    "goemotions": "label_list_sets:GoEmotionsBuilder",
    "mr_chatgpt": "json_lines_sets:MrChatGptBuilder",
    "noisyag_news": "noisyag_news:NoisyAgNewsBuilder",
    "redocred": "label_list_sets:ReDocRedBuilder",
    "semeval": "wrench_sets:SemEvalBuilder",
    "semeval_llm": "json_lines_sets:SemEvalLlmBuilder",
    "sms": "wrench_sets:SmsBuilder",
    "tiny_imagenet": "tiny_imagenet:TinyImageNetBuilder",
    "trec": "wrench_sets:TrecBuilder",
    "webvision": "webvision:WebVisionBuilder",
    "wikigold_distant": "label_list_sets:WikiGoldBuilder",
    "wos": "web_of_science:WebOfScienceBuilder",
    "wrench": "wrench:WrenchBuilder",
    "yelp_rules": "json_lines_sets:YelpRulesBuilder",
    "yoruba_newsclass": "json_lines_sets:YorubaNewsBuilder",
}
_NOISE_TYPES: dict[str, Callable[..., noises.Noise | noises.ListNoise]] = {
    "symmetric": noises.symmetric,
    "pair": noises.pair,
    "asymmetric": noises.asymmetric,
    "instance": noises.instance_dependent,
    "entity": noises.EntityNoise.of_rate,
    "missing": lambda rate: noises.LabelSetNoise(missing=rate),
}
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
    clean_column: str | None = None,
    feature_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    merge_labels: bool = False,
    skip_unreadable: bool = False,
    allow_outside: bool = False,
    test_file: str | None = None,
    test_labels: str | None = None,
    task: str | None = None,
    label_separator: str | None = None,
    label_columns: Sequence[str] | None = None,
    **kwargs: Any,
) -> DatasetDict:
    """Load a dataset with the columns `text`, `image` or `tokens`, `label`, and `clean_label` and `votes` if known.

    The splits are those of the source: if there is no test split, `dataset["train"].train_test_split(...)` makes one.
    Noise is injected into `train` and `validation` only; in `test`, `label` then equals `clean_label`.

    Args:
        name: A name of [`list_noisy_datasets`]; or a file or a folder of files that docs/reading_files.md lists; or
            `-`, the standard input; or a folder written by `save_to_disk`; or a dataset of the Hub.
        config: Where the given labels of a named dataset come from, one of its builder's configurations, such as
            `"worse"` for `cifar10`; for a Hub dataset, its configuration.
        noise_type: Noise to inject into a clean source: `"symmetric"`, `"pair"` (to the next class), `"asymmetric"`
            (between similar classes for `cifar10` and `cifar100`, else the same as `"pair"`) or `"instance"`;
            `"entity"` for tags of entities and `"missing"` for sets of classes. The name of a noisy configuration
            works as `config`. `None` leaves the labels as they are.
        noise_rate: Share of wrong labels, in [0, 1); needed with `noise_type` unless that names a configuration. With
            `"asymmetric"` on `cifar10` it is the share in each of five classes, and half of it over all rows.
        noise_seed: Seed of the noise.
        data_dir: The folder of a named dataset, or the folder that holds it under its name; by default the
            environment variable `HF_NOISY_DATA_DIR`.
        text_column: Column of the texts in a file or Hub dataset, renamed to `text`; or the two columns of sentence
            pairs, such as `("premise", "hypothesis")`, renamed to `text` and `text_pair`.
        label_column: Column of the labels in a file or Hub dataset, renamed to `label`; strings become classes.
        image_column: Column of the images in a file or Hub dataset, or of their paths, renamed to `image`.
        clean_column: Column of the true labels, where they are known, renamed to `clean_label`.
        feature_columns: Columns of numbers in a table without texts or images. From them `features` are made (random
            Fourier features of the standardised columns), and `text`, a description of each row for people.
        delimiter: The character between the columns of a CSV file; by default it is found by looking.
        encoding: The encoding of a text file; by default UTF-8, and otherwise one that is guessed and reported.
        merge_labels: Whether classes that differ by case, spaces or Unicode form only become one.
        skip_unreadable: Whether rows whose image cannot be read are left out; they are reported.
        allow_outside: Whether the image paths in a file may leave the folder of that file. Images are never fetched.
        test_file: A file whose rows become the split `test`, with the same columns.
        test_labels: `"true"` if the labels of the test split are known to be right: they are `clean_label` too.
        task: `"one-label"`, `"tokens"` (a list of words in `tokens`, and a tag for each of them) or `"multi-label"` (a
            set of classes for each row); by default what the columns show.
        label_separator: What stands between the classes of a row in one string, such as `";"`, for multi-label data.
        label_columns: A column for each class, with 1 or 0, for multi-label data.
        **kwargs: Passed on to `datasets.load_dataset` for folders and Hub datasets; named ones take `cache_dir`.

    Returns:
        `DatasetDict` with `train`, and `validation` and `test` where the source has them. A label that is missing in
        the source, or -1 or -100 there, is missing here.

    Raises:
        FileNotFoundError: If a file or the folder of a named dataset is missing.
        ValueError: If a file cannot be read without guessing (the message names the file and the row), a column is
            missing, or noise would be injected into labels that are noisy already.

    Example:
        >>> dataset = load_noisy_dataset("docs")  # doctest: +SKIP
        >>> dataset["train"].column_names  # doctest: +SKIP
        ['text', 'label', 'clean_label', 'votes']
    """
    reading: dict[str, Any] = {
        "text_column": text_column,
        "label_column": label_column,
        "image_column": image_column,
        "clean_column": clean_column,
        "feature_columns": tuple(feature_columns or ()),
        "delimiter": delimiter,
        "encoding": encoding,
        "merge_labels": merge_labels,
        "skip_unreadable": skip_unreadable,
        "allow_outside": allow_outside,
        "task": task,
        "label_separator": label_separator,
        "label_columns": tuple(label_columns or ()),
    }
    if test_labels not in (None, *TEST_LABELS):
        raise ValueError(f"test_labels must be one of {', '.join(TEST_LABELS)}, got '{test_labels}'")
    builder = dataset_builder(name) if name in _BUILDERS else None
    noise = _noise(name, noise_type, noise_rate)
    if builder is None:
        kwargs = kwargs if config is None else {"name": config, **kwargs}
        del reading["text_column"]
        wanted = Wanted(text_columns=_text_columns(text_column), **reading)
        splits, places = read_source(name, data_dir, wanted, kwargs, list(_BUILDERS))
        if test_file is not None:
            splits, places = add_test_file(splits, places, test_file, wanted)
        dataset = marks_as_missing(standard_columns(splits, places, wanted))
        if wanted.feature_columns:
            where = {split: one.of for split, one in places.items()}
            dataset = DatasetDict(with_table_features(dataset, wanted.feature_columns, where))
        dataset = with_true_test_labels(dataset) if test_labels == "true" else dataset
    else:
        given = {**reading, "test_file": test_file, "test_labels": test_labels, **kwargs}
        taken = [key for key, value in given.items() if value and key != "cache_dir"]
        if taken:
            raise ValueError(f"dataset '{name}' has fixed columns and takes no {', '.join(taken)}")
        dataset = builder(_config(builder, config, noise_type), data_dir=data_dir, **kwargs).build()
    return dataset if noise is None else _inject(dataset, noise, noise_seed, name)


def _text_columns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    columns = (given,) if isinstance(given, str) else tuple(given or ())
    if len(columns) > 2:
        raise ValueError(f"text_column must be one column, or two for pairs of texts, got {', '.join(columns)}")
    return columns


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


def make_noise(noise_type: str, noise_rate: float | None, name: str | None = None) -> noises.Noise | noises.ListNoise:
    """The noise for a `noise_type` of [`load_noisy_dataset`].

    Args:
        noise_type: `"symmetric"`, `"pair"`, `"asymmetric"` or `"instance"`; `"entity"` for tags of entities,
            `"missing"` for sets of classes.
        noise_rate: Share of wrong labels, in [0, 1); with `"entity"` of errors among the entities, with `"missing"` of
            the true classes that are not given.
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


def _noise(name: str, noise_type: str | None, noise_rate: float | None) -> noises.Noise | noises.ListNoise | None:
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


def _inject(dataset: DatasetDict, noise: noises.Noise | noises.ListNoise, seed: int, name: str) -> DatasetDict:
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
            labels = split.with_format(None)[LABEL][:]
            clean[key] = with_column(split, CLEAN_LABEL, labels, split.features[LABEL])
    return DatasetDict(clean)


def _stored(dataset: Dataset, column: str) -> np.ndarray:
    values = column_values(dataset, column)
    return values.astype(str) if values.dtype == object else values
