"""The pickled files of CIFAR-10, CIFAR-100 and CIFAR-N, read without running any code in them.

A pickle may call any function. Here it may only name the functions with which plain arrays are pickled, and not even
those are called: `numpy.ndarray` can interpret bytes as pointers to objects, so a file that calls it can crash Python
or worse (`torch.load(weights_only=True)` calls it once it is allowed).
"""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, Image
from jaxtyping import Integer

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL
from hf_noisy.data.labels import column_values

_SIDE = 32  # pixels
_INTEGERS = {f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first of the four pickles in a file of torch.save before zip archives


class ImageRows(NamedTuple):
    """Images as `datasets.Image` takes them, and the labels `[rows]`, int64."""

    images: Iterable[Any]
    labels: Integer[np.ndarray, " rows"]


class _Type:
    """Replaces `numpy.dtype`, for integers only."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if self.code not in _INTEGERS or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"an array of '{order}{self.code}'")
        self.dtype = np.dtype(order + self.code)


class _Array:
    """Replaces `numpy.ndarray`; `values` are built from the bytes alone."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        content = data.encode("latin1") if isinstance(data, str) else data
        self.values = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, strings, numbers and arrays of integers."""

    def find_class(self, module: str, name: str) -> Any:
        # New functions each time: a pickle may set attributes on them.
        known: dict[tuple[str, str], Callable[..., Any] | None] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): lambda code, *_: _Type(code),
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"'{module}.{name}'")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a tensor")


def read_batches(paths: Sequence[Path], key: str) -> ImageRows:
    """The images and labels of pickled batches as the authors of CIFAR published them."""
    images, labels = [], []
    for path in paths:
        batch = _read(path, _load_pickle, ("data", key))
        pixels = batch["data"]
        if pixels.dtype != np.uint8 or pixels.shape != (len(batch[key]), 3 * _SIDE**2):
            raise ValueError(f"file '{path}' must hold {3 * _SIDE**2} bytes and a label per row; download it again")
        images.append(pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        labels.append(batch[key])
    return ImageRows(np.concatenate(images), np.concatenate(labels))


def read_human_labels(path: Path, names: Sequence[str]) -> dict[str, Integer[np.ndarray, " rows"]]:
    """The label sets of CIFAR-N by name, each `[rows]`."""
    return _read(path, _load_arrays if path.suffix == ".npz" else _load_torch, names)


def read_image_files(path: Path) -> ImageRows:
    """The image files in a `.npz`, not decoded, and their classes."""
    arrays = _read(path, _load_arrays, ("data", "offsets", "label"))
    content = arrays["data"].tobytes()
    return ImageRows([content[start:end] for start, end in pairwise(arrays["offsets"].tolist())], arrays["label"])


def labels_of_rows(
    path: Path, clean_key: str, given_key: str, clean: Integer[np.ndarray, " rows"]
) -> Integer[np.ndarray, " rows"]:
    """One label set of CIFAR-N, refused unless the true labels in the same file equal those of the rows."""
    labels = read_human_labels(path, [clean_key, given_key])
    if not np.array_equal(labels[clean_key], clean) or labels[given_key].shape != clean.shape:
        raise ValueError(
            f"file '{path}' must be in the order of the images, but its true labels differ from those of the rows; "
            "use images in the order of the official Python batches"
        )
    return labels[given_key]


def hub_rows(split: Dataset, image: str, label: str) -> ImageRows:
    """Images as stored, not decoded, and labels of one split of a dataset of the Hub."""
    stored = split.select_columns([image]).cast_column(image, Image(decode=False))
    return ImageRows((row[image] for row in stored), column_values(split, label).astype(np.int64))


def image_rows(
    images: Iterable[Any], given: Integer[np.ndarray, " rows"], clean: Integer[np.ndarray, " rows"]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Keys and rows of `image`, `label` and `clean_label` for a builder."""
    for row, (image, label, true) in enumerate(zip(images, given.tolist(), clean.tolist(), strict=True)):
        yield row, {IMAGE: image, LABEL: label, CLEAN_LABEL: true}


def _read(path: Path, load: Callable[[Path], Any], names: Sequence[str]) -> dict[str, Any]:
    """The named arrays of a file, as int64 except for the pixels; errors name the file and the cause."""
    if not path.is_file():
        raise FileNotFoundError(f"file '{path}' is missing; put it there")
    try:
        content = load(path)
        arrays = {name: getattr(content[name], "values", content[name]) for name in names}
        kept = {name: np.asarray(values) for name, values in arrays.items()}
        if bad := [name for name, values in kept.items() if values.dtype.kind not in "iu"]:
            raise pickle.UnpicklingError(f"'{bad[0]}' that is no array of integers")
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises anything
        kind = "" if isinstance(error, pickle.UnpicklingError) else f"{type(error).__name__}: "
        what = kind + (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"file '{path}' must hold arrays under {', '.join(names)}, got {what}; download it again"
        ) from error
    return {name: values if name == "data" else values.ravel().astype(np.int64) for name, values in kept.items()}


def _load_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return _load(file)


def _load_arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _load_torch(path: Path) -> Any:
    """The object in a file of `torch.save`: a zip archive since torch 1.6, before that a sequence of pickles."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return _load(io.BytesIO(archive.read(member)))
    with path.open("rb") as file:
        if _load(file) != _TORCH_MAGIC:
            raise pickle.UnpicklingError("no file of torch.save")
        return [_load(file) for _ in range(3)][-1]


def _load(file: io.BufferedReader | io.BytesIO) -> Any:
    # The batches were written by Python 2, whose strings have no encoding.
    return _ArrayUnpickler(file, encoding="latin1").load()
