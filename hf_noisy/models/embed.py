"""Features of a frozen, pretrained encoder as a column of a dataset."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT, TOKENS
from hf_noisy.core.precision import Dtype, compute_dtype
from hf_noisy.data.pixel_values import to_rgb
from hf_noisy.data.row_digest import row_keys
from hf_noisy.data.texts import text_columns
from hf_noisy.models.feature_files import FeatureFiles, column_of
from hf_noisy.models.inference import encoding
from hf_noisy.models.pooling import Pooling, pool_outputs
from hf_noisy.models.token_batches import token_batches, tokenize
from hf_noisy.models.word_features import embed_words

_CPU_TOKENS, _TOKENS = 2048, 32_768  # of a batch; larger ones are slower on a CPU
_TEXTS = "texts"  # of pairs, first and second ones in one column
_TEXTS_AT_ONCE = 1000  # the outputs of a tokenizer need much memory
_ROWS_A_FILE = 2048  # more are lost when a call is interrupted


def embed(
    dataset: datasets.Dataset,
    model: nn.Module,
    processing_class: Any,
    *,
    column: str | tuple[str, str] | None = None,
    output_column: str = FEATURES,
    pooling: Pooling = "auto",
    batch_size: int = 64,
    batch_tokens: int | None = None,
    max_length: int | None = None,
    dtype: Dtype = "float32",
    cache_dir: str | Path | None = None,
) -> datasets.Dataset:
    """Add the features of a frozen encoder to every row.

    Texts are sorted by their number of tokens, and equal rows are embedded once. The vectors are cached in files, by
    the content of the row, the weights and the arguments: a row that was embedded before is not embedded again,
    wherever it stands now, and an interrupted call resumes where it was. Processes launched with Accelerate divide
    the batches and read each other's files from the same cache.

    The texts of a sentence pair are embedded one by one, as vectors u and v, and the features are u, v and |u - v|
    (Reimers and Gurevych, 2019, section 3). An encoder that was saved as a sequence classifier reads both at once.

    Args:
        dataset: Rows with a column of texts or images.
        model: An encoder as from `AutoModel`, or a classifier, whose encoder is used.
        processing_class: Its tokenizer, or its image processor.
        column: Column to embed, or the two columns of sentence pairs; by default `text`, with `text_pair` if there is
            such a column, else `image`.
        output_column: Name of the new column.
        pooling: `"mean"` of the last hidden states without padding, the `"first"` of them (CLS), or the model's
            `"pooler"` output. `"auto"` is the mean for texts; for images the pooler output if the model has one, else
            the first token or the mean of a feature map. If transformers warns of missing pooler weights, use
            `"first"`.
        batch_size: Images in one forward pass.
        batch_tokens: Tokens in one forward pass, with padding; by default 2,048 on a CPU, else 32,768.
        max_length: Tokens after which texts are truncated; by default the model's limit.
        dtype: `"bfloat16"` computes with a copy of the model in bfloat16, and `"auto"` does so where the CPU or GPU
            has units for it. Features are float32 either way; those of a small sentence encoder are at a cosine
            distance of 6e-5.
        cache_dir: Folder of the cache files; by default next to the dataset's files, or `features` in the cache of
            `datasets` for a dataset in memory.

    Returns:
        The dataset with `output_column`, float32 lists of one width, memory-mapped. Of rows with lists of words in
        `tokens`, a dataset of one row a word, see [`~hf_noisy.models.word_features.embed_words`].

    Raises:
        ValueError: If the column is missing, the new one exists, an image is missing, `dtype` is another word, the
            model returns no hidden states, or it differs between processes.

    Example:
        >>> dataset = embed(dataset, AutoModel.from_pretrained(name), tokenizer)  # doctest: +SKIP
        >>> len(dataset[0]["features"])  # doctest: +SKIP
        384
    """
    if column is None and TOKENS in dataset.column_names and not text_columns(dataset.column_names):
        return embed_words(dataset, model, processing_class, max_length=max_length, dtype=dtype)
    columns = _input_columns(dataset, column, output_column)
    # Without `cpu`, processes on a machine without an accelerator would not connect.
    state = PartialState(cpu=not torch.accelerator.is_available())
    is_text, encoder = isinstance(processing_class, PreTrainedTokenizerBase), getattr(model, "base_model", model)
    size = (batch_tokens or (_CPU_TOKENS if state.device.type == "cpu" else _TOKENS)) if is_text else batch_size
    computed = compute_dtype(dtype, state.device.type)
    embedder = _Embedder(encoder, processing_class, is_text, pooling, size, max_length, computed)
    files = FeatureFiles(
        Path(cache_dir) if cache_dir else _cache_folder(dataset), _same_everywhere(embedder.fingerprint())
    )
    inputs = _inputs(dataset.select_columns(columns).with_format(None), joint=_is_classifier(model))
    keys = [row_keys(rows, rows.column_names) for rows in inputs]
    path = files.column_path(keys)
    if not all(gather_object([path.is_file()])):
        if not is_text:
            _check_images(inputs[0])
        _embed_missing(embedder, datasets.concatenate_datasets(inputs), pa.concat_arrays(keys), files, state)
        with state.main_process_first():
            if not path.is_file():
                files.write_column(path, keys, _combined)
        state.wait_for_everyone()
        if len(keys) == 1:
            files.remove_parts()
    features = column_of(path, output_column)
    with_features: datasets.Dataset = datasets.concatenate_datasets([dataset.with_format(None), features], axis=1)
    return with_features.with_format(**_same_format(dataset, output_column))


def _inputs(source: datasets.Dataset, joint: bool) -> list[datasets.Dataset]:
    """What goes into the encoder: the rows, or the first and the second texts of pairs in columns of one name."""
    names = source.column_names
    if len(names) == 1 or joint:
        return [source]
    first, second = (source.select_columns([name]).rename_columns({name: _TEXTS}) for name in names)
    return [first, second if second.features == first.features else second.cast(first.features)]


def _check_images(source: datasets.Dataset) -> None:
    (name,) = source.column_names
    if missing := sum(batch[name].null_count for batch in source.with_format("arrow").iter(_TEXTS_AT_ONCE)):
        raise ValueError(f"column '{name}' lacks the image of {missing} rows; drop those rows first")


def _embed_missing(
    embedder: "_Embedder", source: datasets.Dataset, keys: pa.Array, files: FeatureFiles, state: PartialState
) -> None:
    """Write parts with the vectors of all rows that no file has; equal rows are embedded once."""
    first = np.sort(np.unique(np.asarray(keys.dictionary_encode().indices), return_index=True)[1])
    # Processes that share no disk find rows of the others missing after the first pass.
    for rank, ranks in ((state.process_index, state.num_processes), (0, 1)):
        files.read()
        state.wait_for_everyone()
        missing = first[files.find(keys.take(pa.array(first))) < 0]
        if len(missing):
            embedder.write(files, source.select(missing), keys.take(pa.array(missing)), state, rank, ranks)
        state.wait_for_everyone()
    files.read()


def _combined(*vectors: Float32[np.ndarray, "rows _"]) -> Float32[np.ndarray, "rows _"]:
    """The features of rows: the vectors of their texts, with the difference between the two of a pair."""
    if len(vectors) == 1:
        return vectors[0]
    first, second = vectors
    return np.concatenate([first, second, np.abs(first - second)], axis=1)


def _same_everywhere(fingerprint: str) -> str:
    if len(set(gather_object([fingerprint]))) > 1:
        raise ValueError(
            "model has different weights on different processes; load it on each, without "
            "fsdp_cpu_ram_efficient_loading"
        )
    return fingerprint


@dataclass
class _Embedder:
    """An encoder with its settings."""

    encoder: Any
    processing_class: Any
    is_text: bool
    pooling: Pooling
    size: int  # tokens of a batch, or images
    max_length: int | None
    dtype: str

    def fingerprint(self) -> str:
        """Hash of everything that a vector depends on; the size of a batch changes only rounding."""
        digest = hashlib.sha256(_description(self.encoder, self.processing_class).encode())
        digest.update(repr((self.pooling, self.max_length, self.dtype)).encode())
        for name, weight in self.encoder.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def write(
        self, files: FeatureFiles, source: datasets.Dataset, keys: pa.Array, state: PartialState, rank: int, ranks: int
    ) -> None:
        """Write the vectors of every `ranks`-th batch of rows into parts."""
        batches, sizes, inputs_of = self._batches(source)
        batches = batches[rank::ranks]
        rows: list[np.ndarray] = []
        vectors: list[np.ndarray] = []
        bar = tqdm(
            total=sum(int(sizes[batch].sum()) for batch in batches),
            desc="embedding",
            unit=" tokens" if self.is_text else " images",
            unit_scale=True,
            disable=not state.is_main_process,
        )
        with bar, encoding(self.encoder, state.device, self.dtype) as encoder:
            embedder = replace(self, encoder=encoder)
            for number, batch in enumerate(batches, start=1):
                rows.append(batch)
                vectors.append(embedder._vectors(inputs_of(batch), state.device))
                bar.update(int(sizes[batch].sum()))
                if number == len(batches) or sum(map(len, rows)) >= _ROWS_A_FILE:
                    files.add(keys.take(pa.array(np.concatenate(rows))), np.concatenate(vectors))
                    rows, vectors = [], []

    def _batches(
        self, source: datasets.Dataset
    ) -> tuple[list[np.ndarray], Int64[np.ndarray, " rows"], Callable[[np.ndarray], dict[str, Tensor]]]:
        """The rows of each batch, the size of each row, and what makes inputs of a batch."""
        if not self.is_text:
            name, rows = source.column_names[0], np.arange(len(source))
            batches = [rows[first : first + self.size] for first in range(0, len(rows), self.size)]

            def images(batch: np.ndarray) -> dict[str, Tensor]:
                shown = [to_rgb(image) for image in source[batch.tolist()][name]]
                return dict(self.processing_class(images=shown, return_tensors="pt"))

            return batches, np.ones(len(rows), dtype=np.int64), images
        # A tokenizer without a limit reports a huge number, so the model's own limit is used.
        limit = self.max_length or getattr(self.encoder.config, "max_position_embeddings", None)
        texts = tokenize(_texts(source), self.processing_class, limit)
        return token_batches(texts.lengths, self.size), texts.lengths, texts.padded

    def _vectors(self, inputs: dict[str, Tensor], device: torch.device) -> Float32[np.ndarray, "batch width"]:
        dtype = next(self.encoder.parameters()).dtype
        moved = {
            name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()
        }
        vectors = pool_outputs(self.encoder, self.encoder(**moved), self.pooling, moved.get("attention_mask"))
        return np.asarray(vectors.float().cpu().numpy())


def _texts(source: datasets.Dataset) -> Iterator[list[list[str]]]:
    """The texts of the columns, some rows at a time; an empty cell of a CSV file is None."""
    for batch in source.iter(_TEXTS_AT_ONCE):
        yield [["" if text is None else text for text in texts] for texts in batch.values()]


def _input_columns(dataset: datasets.Dataset, column: str | tuple[str, str] | None, output_column: str) -> list[str]:
    names = dataset.column_names
    if column is None:
        columns = text_columns(names) or [IMAGE if IMAGE in names else TEXT]
    else:
        columns = [column] if isinstance(column, str) else list(column)
    for name in columns:
        if name not in names:
            raise ValueError(f"column '{name}' is not in the dataset, which has {names}; pass column=")
    if output_column in names:
        raise ValueError(f"the dataset has a column '{output_column}' already; remove it or pass output_column=")
    if len(dataset) == 0:
        raise ValueError("dataset has no rows to embed; pass one with rows")
    return columns


def _is_classifier(model: nn.Module) -> bool:
    """Whether a model is a sequence classifier, or an encoder that was loaded from one."""
    loaded_from = getattr(getattr(model, "config", None), "architectures", None) or []
    return any(name.endswith("ForSequenceClassification") for name in [type(model).__name__, *loaded_from])


def _cache_folder(dataset: datasets.Dataset) -> Path:
    if dataset.cache_files:
        return Path(dataset.cache_files[0]["filename"]).parent
    return Path(datasets.config.HF_DATASETS_CACHE) / "features"


def _description(encoder: Any, processing_class: Any) -> str:
    """Configuration of the model and of its tokenizer or image processor, without their paths."""
    parts = [type(encoder).__name__, type(processing_class).__name__]
    config = getattr(encoder, "config", None)
    parts.append(config.to_json_string(use_diff=False) if config is not None else repr(encoder))
    if hasattr(processing_class, "backend_tokenizer"):
        # Every call sets padding and truncation.
        state = json.loads(processing_class.backend_tokenizer.to_str())
        parts.append(repr({key: value for key, value in state.items() if key not in ("padding", "truncation")}))
    elif hasattr(processing_class, "to_json_string"):
        parts.append(processing_class.to_json_string())
    return "\n".join(parts)


def _same_format(dataset: datasets.Dataset, output_column: str) -> dict[str, Any]:
    columns = dataset.format["columns"]
    whole = columns is None or set(columns) == set(dataset.column_names)
    return {
        "type": dataset.format["type"],
        "columns": None if whole else [*columns, output_column],
        **dataset.format["format_kwargs"],
    }
