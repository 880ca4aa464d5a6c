"""Features of a frozen, pretrained encoder as a column of a dataset."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets.fingerprint import Hasher
from datasets.utils import are_progress_bars_disabled
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT
from hf_noisy.data.indexed import IndexedRow
from hf_noisy.data.pixel_values import to_rgb
from hf_noisy.data.row_digest import content_digest
from hf_noisy.data.texts import cut, text_columns
from hf_noisy.models.inference import batches_by_length, evaluating, outputs_by_row
from hf_noisy.models.pooling import Pooling, pool_outputs

_VALUE = "value"


def embed(
    dataset: datasets.Dataset,
    model: nn.Module,
    processing_class: Any,
    *,
    column: str | tuple[str, str] | None = None,
    output_column: str = FEATURES,
    pooling: Pooling = "auto",
    batch_size: int = 64,
    max_length: int | None = None,
    bf16: bool = False,
    shard_rows: int = 2048,
    cache_dir: str | Path | None = None,
) -> datasets.Dataset:
    """Add the features of a frozen encoder to every row.

    Each shard of `shard_rows` rows is cached in a file named by a hash of the content of its rows, the weights and the
    arguments: an interrupted call resumes at the next shard, and rows that changed are computed again. Processes
    launched with Accelerate divide the shards and read each other's files from the same cache.

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
        batch_size: Rows in one forward pass.
        max_length: Tokens after which texts are truncated; by default the model's limit.
        bf16: Compute in bfloat16 (autocast); features are stored as float32 either way.
        shard_rows: Rows per cache file.
        cache_dir: Folder of the cache files; by default next to the dataset's files, or `features` in the cache of
            `datasets` for a dataset in memory.

    Returns:
        The dataset with `output_column`, float32 lists of one width.

    Raises:
        ValueError: If the column is missing, the new one exists, the model returns no hidden states, or it differs
            between processes.

    Example:
        >>> dataset = embed(dataset, AutoModel.from_pretrained(name), tokenizer)  # doctest: +SKIP
        >>> len(dataset[0]["features"])  # doctest: +SKIP
        384
    """
    columns = _input_columns(dataset, column, output_column)
    encoder = getattr(model, "base_model", model)
    joint = len(columns) > 1 and _is_classifier(model)
    embedder = _Embedder(
        encoder, processing_class, columns, output_column, pooling, batch_size, max_length, bf16, joint
    )
    folder = Path(cache_dir) if cache_dir else _cache_folder(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    source = dataset.select_columns(columns).with_format(None)
    # Without `cpu`, processes on a machine without an accelerator would not connect.
    state = PartialState(cpu=not torch.accelerator.is_available())
    identity = _same_everywhere(embedder.fingerprint())
    starts = range(0, len(dataset), shard_rows)

    def rows_of(number: int) -> datasets.Dataset:
        return source.select(range(starts[number], min(starts[number] + shard_rows, len(source))))

    def shard(number: int, name: str) -> datasets.Dataset:
        mapped: datasets.Dataset = rows_of(number).map(
            embedder,
            batched=True,
            batch_size=shard_rows,
            remove_columns=columns,
            new_fingerprint=name,
            cache_file_name=str(folder / f"features-{name}.arrow"),
            load_from_cache_file=True,
        )
        return mapped

    mine = range(state.process_index, len(starts), state.num_processes)
    # Not by the fingerprint of the dataset: a file that changed within a second keeps it.
    names = {number: Hasher.hash([identity, content_digest(rows_of(number), columns)]) for number in mine}
    with evaluating(encoder, state.device), _quiet_maps():
        for number in tqdm(mine, desc="embedding", disable=not state.is_main_process):
            shard(number, names[number])
        all_names = dict(gather_object(list(names.items())))  # also waits for the others
        # Other processes' files are read, or recomputed if the processes do not share a disk.
        features = datasets.concatenate_datasets([shard(number, all_names[number]) for number in range(len(starts))])
    with_features: datasets.Dataset = datasets.concatenate_datasets([dataset.with_format(None), features], axis=1)
    return with_features.with_format(**_same_format(dataset, output_column))


def _same_everywhere(fingerprint: str) -> str:
    if len(set(gather_object([fingerprint]))) > 1:
        raise ValueError(
            "model has different weights on different processes; load it on each, without "
            "fsdp_cpu_ram_efficient_loading"
        )
    return fingerprint


@dataclass
class _Embedder:
    """The map step: a batch of texts, sentence pairs or images to a batch of features."""

    encoder: Any
    processing_class: Any
    columns: list[str]
    output_column: str
    pooling: Pooling
    batch_size: int
    max_length: int | None
    bf16: bool
    joint: bool  # both texts of a pair go into the encoder at once

    @property
    def is_text(self) -> bool:
        return isinstance(self.processing_class, PreTrainedTokenizerBase)

    def fingerprint(self) -> str:
        """Hash of everything that the features depend on; the batch size changes only rounding."""
        digest = hashlib.sha256(_description(self.encoder, self.processing_class).encode())
        digest.update(
            repr((self.columns, self.output_column, self.pooling, self.max_length, self.bf16, self.joint)).encode()
        )
        for name, weight in self.encoder.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        columns = [list(batch[name]) for name in self.columns]
        if self.is_text:  # an empty cell of a CSV file is None
            columns = [["" if text is None else text for text in values] for values in columns]
        elif missing := columns[0].count(None):
            raise ValueError(f"column '{self.columns[0]}' lacks the image of {missing} rows; drop those rows first")
        if len(columns) == 1 or self.joint:
            return {self.output_column: self._vectors(list(zip(*columns, strict=True)))}
        first, second = (self._vectors([(text,) for text in values]) for values in columns)
        return {self.output_column: np.concatenate([first, second, np.abs(first - second)], axis=1)}

    def _vectors(self, values: list[tuple[Any, ...]]) -> np.ndarray:
        """One vector for each tuple of an image, a text, or two texts that are read together."""
        sizes = [-sum(map(len, value)) if self.is_text else 0 for value in values]
        (features,) = outputs_by_row(
            self.encoder,
            [{_VALUE: value} for value in values],
            self._features,
            # Longest texts first, to run out of memory at once or not at all.
            batches=batches_by_length(sizes, self.batch_size),
            collate=self._collate,
            processes="each",
        )
        vectors: np.ndarray = features[0]
        return vectors

    def _features(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        with torch.autocast(next(iter(inputs.values())).device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.encoder(**inputs)
        return [pool_outputs(self.encoder, outputs, self.pooling, inputs.get("attention_mask"))[None]]

    def _collate(self, rows: list[IndexedRow]) -> tuple[list[int], dict[str, Tensor]]:
        values = [row[_VALUE] for _, row in rows]
        if self.is_text:
            # A tokenizer without a limit reports a huge number, so the model's own limit is used.
            limit = self.max_length or getattr(self.encoder.config, "max_position_embeddings", None)
            texts = [cut(list(one), limit) for one in zip(*values, strict=True)]
            inputs = self.processing_class(
                *texts, padding=True, truncation=limit is not None, max_length=limit, return_tensors="pt"
            )
        else:
            inputs = self.processing_class(images=[to_rgb(image) for (image,) in values], return_tensors="pt")
        dtype = next(self.encoder.parameters()).dtype
        return [position for position, _ in rows], {
            name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }


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


@contextlib.contextmanager
def _quiet_maps() -> Iterator[None]:
    """Disable the progress bars of `map`, as there is one for all shards."""
    shown = not are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
