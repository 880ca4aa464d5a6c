"""Folders of files: which files make which split, and folders that `datasets` loads through a cache."""

import hashlib
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
from datasets import load_dataset, load_dataset_builder
from datasets.data_files import SPLIT_KEYWORDS, DataFilesDict, EmptyDatasetError, get_data_patterns
from datasets.exceptions import DatasetGenerationError

from hf_noisy.core.file_names import ENDINGS, MANIFEST, ending, is_readable
from hf_noisy.core.files import file_digest

logger = logging.getLogger(__name__)

_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_KINDS = {".tsv": ".csv", ".txt": ".csv", ".jsonl": ".json", ".ndjson": ".json"}
# Modules of `datasets` whose files are read here; the last takes a folder with nothing but a README.
_TABLES = {"csv", "json", "parquet", "text", "harbor"}
_SHOWN = 5


def files_by_split(folder: Path, data_dir: str | Path | None, options: dict[str, Any]) -> dict[str, list[Path]] | None:
    """The files of each split by the rules of `datasets`, and a report of what is read; None for images."""
    if any(char in str(folder) for char in "[]*?"):
        raise ValueError(f"the path of the folder '{folder}' must not hold [, ], * or ?; rename the folder")
    others = {key: value for key, value in options.items() if key != "cache_dir"}
    try:
        builder = load_dataset_builder(str(folder), data_dir=data_dir, **others)
        kind, files = type(builder).__mro__[1].__name__.lower(), builder.config.data_files
    except FileNotFoundError:  # no file that `datasets` knows
        kind, files = "csv", None
    except RuntimeError as error:
        raise ValueError(f"'{folder}' holds code, which is not run; pass its data files ({error})") from error
    if kind not in _TABLES:
        _refuse_capitals(folder)
        _report_left_out(folder, [path for path in _tables_in(folder) if path.stem.lower() != "metadata"])
        return None
    base = folder / (data_dir or "")
    if files is None or not _is_described(folder):
        files = _all_files(base)
    chosen = _of_one_kind({str(split): list(map(Path, paths)) for split, paths in files.items()})
    if not chosen:
        raise FileNotFoundError(f"folder '{folder}' holds no file that ends in {', '.join(ENDINGS)}, and no images")
    named = "; ".join(f"{split}: {_listed(paths, folder)}" for split, paths in chosen.items())
    logger.warning(f"read from '{folder}': {named}")
    if not _is_described(folder):
        read = {path for paths in chosen.values() for path in paths}
        _report_left_out(folder, [path for path in _tables_in(folder) if path not in read])
    # Under the name of the folder as it was given.
    return {split: [folder / path.relative_to(folder.absolute()) for path in paths] for split, paths in chosen.items()}


def load_cached(source: Path | dict[str, list[Path]], data_dir: str | Path | None, options: dict[str, Any]) -> Any:
    """`load_dataset` of a folder or of Parquet files, with a cache of its own for each content."""
    root = Path(options.get("cache_dir") or datasets.config.HF_DATASETS_CACHE) / "hf_noisy"
    if isinstance(source, Path):
        files = sorted(path for path in source.rglob("*") if path.is_file())
        where: dict[str, Any] = {"path": str(source), "data_dir": data_dir}
    else:
        files = [path for paths in source.values() for path in paths]
        where = {"path": "parquet", "data_files": {split: list(map(str, paths)) for split, paths in source.items()}}
    options = {**options, "cache_dir": str(root / _content(files))}
    try:
        return load_dataset(**where, **options)
    except DatasetGenerationError as error:
        reason = (str(error.__cause__ or error).splitlines() or [""])[0]
        raise ValueError(f"'{files[0].parent}' cannot be read ({reason})") from error


def _content(files: list[Path]) -> str:
    """A digest of the paths of files and of their content, but for images, of which a cache holds only the paths."""
    digest = hashlib.sha256()
    for path in files:
        content = "" if path.suffix.lower() in _IMAGES else file_digest(path)
        digest.update(f"{path.absolute()}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def _all_files(base: Path) -> dict[str, list[str]]:
    splits = {path: _split_of(path.stem) for path in _tables_in(base)}
    if any(split and path.stem != path.stem.lower() for path, split in splits.items()):  # unknown to `datasets`
        named = [split for split in SPLIT_KEYWORDS if split in splits.values()]
        return {str(split): [str(path) for path in splits if splits[path] == split] for split in named}
    try:
        files = DataFilesDict.from_patterns(get_data_patterns(str(base)), base_path=str(base))
        return {str(split): list(paths) for split, paths in files.items()}
    except EmptyDatasetError:
        return {}


def _refuse_capitals(folder: Path) -> None:
    """Refuse folders of images whose splits would be read as one, since their names are not in lower case."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    splits = {name: split for name in names if (split := _split_of(name))}
    if odd := [name for name in splits if name != name.lower() and len(set(splits.values())) > 1]:
        raise ValueError(
            f"the folders {', '.join(odd)} of '{folder}' are splits only in lower case; rename them, such as "
            f"{odd[0]} to {odd[0].lower()}"
        )


def _split_of(name: str) -> str | None:
    """The split that a name without ending stands for, in lower or upper case."""
    words = re.split(r"[\W_\d]+", name.lower())
    return next((str(split) for split, keywords in SPLIT_KEYWORDS.items() if {*keywords} & {*words}), None)


def _of_one_kind(files: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The tables of the most frequent kind, texts only where there is nothing else."""
    files = {split: [path for path in paths if is_readable(path)] for split, paths in files.items()}
    every = [path for paths in files.values() for path in paths]
    if any(ending(path) != ".txt" for path in every):
        every = [path for path in every if ending(path) != ".txt"]
    counts = Counter(_kind(path) for path in every)
    best = max(counts, key=lambda kind: counts[kind], default="")
    kept = {path for path in every if _kind(path) == best}
    files = {split: [path for path in paths if path in kept] for split, paths in files.items()}
    return {split: paths for split, paths in files.items() if paths}


def _kind(path: Path) -> str:
    return _KINDS.get(ending(path), ending(path))


def _tables_in(folder: Path) -> list[Path]:
    base = folder.absolute()
    found = sorted(path for path in base.rglob("*") if is_readable(path) and path.is_file())
    return [path for path in found if not any(part.startswith((".", "__")) for part in path.relative_to(base).parts)]


def _is_described(folder: Path) -> bool:
    """Whether a card names the files of the splits, or a command of ours has named them by their splits."""
    card = folder / "README.md"
    described = card.is_file() and "\nconfigs:" in card.read_text("utf-8", "replace")
    return described or (folder / MANIFEST).is_file()


def _report_left_out(folder: Path, paths: list[Path]) -> None:
    if paths:
        logger.warning(f"left out of '{folder}', as no split has them: {_listed(paths, folder)}")


def _listed(paths: list[Path], folder: Path) -> str:
    names = [str(path.relative_to(folder.absolute())) for path in paths]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
