"""The image column of a source: paths are found, and images that are missing or broken are listed or left out."""

import functools
import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
from datasets import Dataset, DatasetDict, Image, Value

from hf_noisy.core.columns import IMAGE, stored_column
from hf_noisy.data.pixel_values import to_rgb
from hf_noisy.data.reading.places import Places
from hf_noisy.data.replace_column import with_column

logger = logging.getLogger(__name__)

_DECODED = 20_000  # images; of larger sources only the files are looked for, unless broken ones shall be left out
_SHOWN = 10


def as_images(rows: Dataset, places: Places, column: str, allow_outside: bool = False) -> Dataset:
    """The rows with the column as images; paths are relative to the file that names them, or to where we are."""
    feature, name = rows.features[IMAGE], f"column '{column}' of {places.name}"
    if isinstance(feature, Image):
        _check_paths(rows, places, allow_outside)
        return rows
    if not isinstance(feature, Value) and not isinstance(feature, dict):
        raise ValueError(f"{name} holds {feature}, but images are paths, bytes or a column of Image")
    if isinstance(feature, Value) and feature.dtype not in ("string", "large_string", "binary", "large_binary"):
        raise ValueError(f"{name} holds {feature.dtype}, but images are paths, bytes or a column of Image")
    if isinstance(feature, Value) and "string" in feature.dtype:
        paths = stored_column(rows, IMAGE).to_pylist()
        ends = np.cumsum([len(part.numbers) for part in places.parts])
        folders = [Path(part.name).parent for part in places.parts]
        found = [_located(path, folders[np.searchsorted(ends, row, side="right")]) for row, path in enumerate(paths)]
        rows = with_column(rows, IMAGE, found, Value("string"))
    rows = rows.cast_column(IMAGE, Image())
    _check_paths(rows, places, allow_outside)
    return rows


def _check_paths(rows: Dataset, places: Places, allow_outside: bool) -> None:
    """Refuse images that would have to be fetched, and paths that leave the folder of the data that names them."""
    # Outputs embed the images: a list from somebody else could name any file of this computer.
    stored, start = rows.with_format("arrow").select_columns([IMAGE]), 0
    folders, outside = _Folders(), []
    allowed = [part.folders or (Path(part.name).parent,) for part in places.parts for _ in part.numbers]
    for batch in stored.iter(1000):
        images = batch.column(IMAGE).to_pylist()
        for row, image in enumerate(images, start=start):
            path = None if image is None or image["bytes"] is not None else image["path"]
            if path and "://" in path:
                where = places.of([row])
                raise ValueError(f"images are not fetched, but one is '{path}' ({where}); download it first")
            if path and not allow_outside and not any(folders.hold(path, folder) for folder in allowed[row]):
                outside.append((row, os.path.realpath(path) if os.path.islink(path) else path))
        start += len(images)
    if outside:
        where = places.of([row for row, _ in outside])
        raise ValueError(
            f"{len(outside):,} images are outside of the folder of the data that names them, such as "
            f"'{outside[0][1]}' ({where}); move them there, or pass allow_outside=True"
        )


class _Folders:
    """Whether files are in folders, following links; each folder is looked up once."""

    def __init__(self) -> None:
        self.resolved = functools.cache(Path.resolve)

    def hold(self, path: str, folder: Path) -> bool:
        file = Path(path)
        file = file.resolve() if file.is_symlink() else self.resolved(file.parent) / file.name
        return file.is_relative_to(self.resolved(folder))


def with_image_bytes(splits: DatasetDict, scratch: Path) -> DatasetDict:
    """The splits with the bytes of their images in place of paths on this computer; rows are kept in a folder."""
    return DatasetDict({name: _with_bytes(rows, scratch / f"{name}.arrow") for name, rows in splits.items()})


def _with_bytes(rows: Dataset, cache: Path) -> Dataset:
    images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    batches = rows.with_format("arrow").select_columns(images).iter(1000) if images else ()
    if not any(table.column(name).combine_chunks().field("bytes").null_count for table in batches for name in images):
        return rows
    shown = rows.format

    def embed(table: pa.Table) -> pa.Table:
        for name in images:
            values = [image and _read_image(image) for image in table.column(name).to_pylist()]
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array(values, Image.pa_type))
        return table

    made = rows.with_format("arrow").map(
        embed, batched=True, batch_size=100, features=rows.features, cache_file_name=str(cache), desc="reading images"
    )
    made.set_format(**shown)
    return made


def _read_image(image: dict[str, Any]) -> dict[str, Any]:
    path, content = image["path"], image["bytes"]
    if content is None and "://" in path:
        raise ValueError(f"images are not fetched, but one is '{path}'; download it first")
    return {"path": path and Path(path).name, "bytes": Path(path).read_bytes() if content is None else content}


def without_unreadable(rows: Dataset, places: Places, skip: bool) -> tuple[Dataset, Places]:
    """The rows whose image can be read; with `skip` the others are left out and reported, else refused."""
    decode = skip or len(rows) <= _DECODED
    stored = rows.with_format("arrow").select_columns([IMAGE])
    faults: dict[int, str] = {}
    with ThreadPoolExecutor() as pool:
        start = 0
        for batch in stored.iter(1000):
            images = batch.column(IMAGE).to_pylist()
            for row, fault in enumerate(pool.map(lambda image: _fault(image, decode), images), start=start):
                if fault is not None:
                    faults[row] = fault
            start += len(images)
    if not faults:
        return rows, places
    shown = ", ".join(list(faults.values())[:_SHOWN])
    what = f"{len(faults):,} of {len(rows):,} images cannot be read ({shown}), {places.of(faults)}"
    if not skip:
        raise ValueError(f"{what}; repair them, or leave these rows out with skip_unreadable=True")
    if len(faults) == len(rows):
        raise ValueError(f"none of the images can be read ({shown})")
    logger.warning(f"left out: {what}")
    kept = np.setdiff1d(np.arange(len(rows)), list(faults))
    return rows.select(kept), places.select(kept)


def _located(path: str | None, folder: Path) -> str | None:
    if path is None or not path.strip():
        return None
    if "://" in path:  # an address, which is refused later
        return path
    beside = folder / path
    return path if Path(path).exists() and not beside.exists() else str(beside)


def _fault(image: dict[str, Any] | None, decode: bool) -> str | None:
    """Why an image cannot be read, with its name; None if it can."""
    if image is None or not (image["path"] or image["bytes"]):
        return "no image"
    path, content = image["path"], image["bytes"]
    if content is None and not Path(path).is_file():
        return f"'{path}' is not there"
    if not decode:
        return None
    try:
        with PIL.Image.open(path if content is None else io.BytesIO(content)) as opened:
            to_rgb(opened)
    except PIL.UnidentifiedImageError:
        reason = "no known image format"
    except Exception as error:  # of any decoder
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        return None
    return f"'{path}': {reason}" if path else reason
