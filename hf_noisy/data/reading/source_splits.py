"""A source of rows by its name: a file, the standard input, a folder, or a data set of the Hub."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets, config, load_dataset, load_from_disk
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.constants import HF_HUB_CACHE

from hf_noisy.core.file_names import STANDARD_INPUT, refuse_missing_source
from hf_noisy.data.reading.data_folders import files_by_split, load_cached
from hf_noisy.data.reading.file_types import read_file
from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows, as_datasets
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)

_IN_MEMORY = 2**30  # bytes of Parquet files; larger ones are read from a cache on disk


def read_source(
    name: str, data_dir: str | Path | None, wanted: Wanted, options: dict[str, Any], known: Sequence[str]
) -> tuple[dict[str, Dataset], dict[str, Places]]:
    """The splits of a source, and where their rows stand; `known` are the named data sets, for the message."""
    path = Path(name)
    if name == STANDARD_INPUT or path.is_file():
        if taken := sorted(set(options) - {"cache_dir"}):
            raise ValueError(f"'{name}' is a file, which takes no {', '.join(taken)}")
        return _read_files({"train": [Path(name)]}, wanted, options)
    refuse_missing_source(name)
    if any((path / state).is_file() for state in ("dataset_dict.json", "state.json")):
        loaded = load_from_disk(name)
    elif path.is_dir():
        files = files_by_split(path, data_dir, options)
        if files is not None:
            return _read_files(files, wanted, options)
        loaded = load_cached(path, data_dir, options)
    else:
        try:
            loaded = load_dataset(name, data_dir=data_dir, **options)
        except (ConnectionError, DatasetNotFoundError) as error:
            raise FileNotFoundError(
                f"name '{name}' is neither a file nor one of {', '.join(known)}, and no dataset of that name can "
                f"be loaded from the Hub ({type(error).__name__}); check the name"
            ) from error
        except RuntimeError as error:
            raise ValueError(f"'{name}' holds code, which is not run; pass its data files ({error})") from error
    return _with_places(loaded, name, data_dir, options.get("cache_dir"))


def _read_files(
    files: dict[str, list[Path]], wanted: Wanted, options: dict[str, Any]
) -> tuple[dict[str, Dataset], dict[str, Places]]:
    paths = [path for part in files.values() for path in part]
    if paths[0].suffix == ".parquet" and sum(path.stat().st_size for path in paths) > _IN_MEMORY:
        return _with_places(load_cached(files, None, options), paths[0].parent, options.get("cache_dir"))
    parts: list[tuple[str, RawRows]] = [(split, read_file(path, wanted)) for split in files for path in files[split]]
    _refuse_without_inputs([part for _, part in parts], wanted)
    rows = as_datasets([part for _, part in parts], wanted)
    splits, places = {}, {}
    for split in files:
        chosen = [index for index, (name, _) in enumerate(parts) if name == split]
        splits[split] = concatenate_datasets([rows[index] for index in chosen]) if len(chosen) > 1 else rows[chosen[0]]
        places[split] = Places([one for index in chosen for one in parts[index][1].places.parts])
    return splits, places


def _refuse_without_inputs(parts: list[RawRows], wanted: Wanted) -> None:
    """Refuse a file that lacks a column of texts or images that another one has."""
    for column in wanted.inputs:
        having = [column in part.table.column_names for part in parts]
        if any(having) and not all(having):
            part = parts[having.index(False)]
            columns = ", ".join(part.table.column_names)
            raise ValueError(f"{part.places.name} has no column '{column}', which the other files have, but {columns}")


def _with_places(loaded: Any, name: object, *options: object) -> tuple[dict[str, Dataset], dict[str, Places]]:
    if isinstance(loaded, Dataset):
        loaded = DatasetDict({str(loaded.split or "train"): loaded})
    if not isinstance(loaded, DatasetDict):
        raise ValueError(f"dataset '{name}' must be loaded whole, got {type(loaded).__name__}; leave streaming out")
    # Images of archives and of the Hub are in a cache.
    caches = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, config.EXTRACTED_DATASETS_PATH, HF_HUB_CACHE)
    folders = tuple(Path(str(folder)) for folder in (name, *options, *caches) if folder is not None)
    places = {
        split: Places([Part(f"{name}, split {split}", "row", np.arange(len(rows)), folders)])
        for split, rows in loaded.items()
    }
    return dict(loaded), places
