"""The image column of a source: paths are found, and images that are missing or broken are listed or left out."""

import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from datasets import Dataset, Image, Value

from hf_noisy.core.columns import IMAGE
from hf_noisy.data.pixel_values import to_rgb
from hf_noisy.data.reading.places import Places

logger = logging.getLogger(__name__)

_DECODED = 20_000  # images; of larger sources only the files are looked for, unless broken ones shall be left out
_SHOWN = 10


def as_images(rows: Dataset, places: Places, column: str) -> Dataset:
    """The rows with the column as images; paths are relative to the file that names them, or to where we are."""
    feature, name = rows.features[IMAGE], f"column '{column}' of {places.name}"
    if isinstance(feature, Image):
        return rows
    if not isinstance(feature, Value) and not isinstance(feature, dict):
        raise ValueError(f"{name} holds {feature}, but images are paths, bytes or a column of Image")
    if isinstance(feature, Value) and feature.dtype not in ("string", "large_string", "binary", "large_binary"):
        raise ValueError(f"{name} holds {feature.dtype}, but images are paths, bytes or a column of Image")
    if isinstance(feature, Value) and "string" in feature.dtype:
        paths = rows.with_format("arrow")[:].column(IMAGE).to_pylist()
        ends = np.cumsum([len(part.numbers) for part in places.parts])
        folders = [Path(part.name).parent for part in places.parts]
        found = [_located(path, folders[np.searchsorted(ends, row, side="right")]) for row, path in enumerate(paths)]
        order = rows.column_names
        rows = rows.remove_columns(IMAGE).add_column(IMAGE, found, feature=Value("string")).select_columns(order)
    return rows.cast_column(IMAGE, Image())


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
    beside = folder / path
    return str(beside) if not Path(path).exists() and beside.exists() else path


def _fault(image: dict[str, Any] | None, decode: bool) -> str | None:
    """Why an image cannot be read, with its name; None if it can."""
    if image is None or not (image["path"] or image["bytes"]):
        return "no image"
    path, content = image["path"], image["bytes"]
    if content is None and "://" in path:
        return None
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
