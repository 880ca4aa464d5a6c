"""Evaluation in batches of rows of like length, with everything handed back in the order of the rows."""

from collections.abc import Iterator, Sized
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput, has_length


class RowsByLength(SequentialSampler):
    """The rows in their order or, while `by_length` is set, the longest first.

    Args:
        dataset: With a length.
        lengths: `[rows]`, tokens of each row; None where they are not known.

    Attributes:
        order: `[rows]`, the rows from the longest to the shortest; None where all are alike.
        by_length: Whether to go by that order.

    Example:
        >>> rows = RowsByLength(["a", "b", "c"], np.array([1, 3, 2]))
        >>> rows.by_length = True
        >>> list(rows)
        [1, 2, 0]
    """

    def __init__(self, dataset: Sized, lengths: Int64[np.ndarray, " rows"] | None) -> None:
        super().__init__(dataset)
        differ = lengths is not None and bool((lengths != lengths[:1]).any())
        self.order = np.argsort(-lengths, kind="stable") if lengths is not None and differ else None
        self.by_length = False

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist()) if self.by_length and self.order is not None else super().__iter__()


def token_lengths(dataset: Any) -> Int64[np.ndarray, " rows"] | None:
    """Tokens of each row, without making lists of them.

    Args:
        dataset: Any.

    Returns:
        `[rows]`; None where rows are not tokenized texts with an attention mask, so that nothing is known of what
        padding does to them.

    Example:
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1], [1, 2]], "attention_mask": [[1], [1, 1]]})
        >>> token_lengths(rows).tolist()
        [1, 2]
    """
    if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom" or not len(dataset):
        return None
    if not {"input_ids", "attention_mask"} <= set(dataset.column_names):
        return None
    tokens = dataset.with_format("arrow", columns=["input_ids"])[:]["input_ids"]
    if not (pa.types.is_list(tokens.type) or pa.types.is_large_list(tokens.type)):
        return None
    return np.asarray(pc.list_value_length(tokens).fill_null(0)).astype(np.int64)


class LengthSortedTrainer(Trainer):
    """`Trainer` that evaluates and predicts in batches of rows of like length.

    Most of the cost of short texts in random batches is padding. Predictions, labels and what `compute_metrics` sees
    are in the order of the rows, whatever the order of the batches and the number of processes; loaders that others
    ask for go by that order too. Where a batch itself is looked at (`batch_eval_metrics`, `eval_do_concat_batches`,
    `preprocess_logits_for_metrics`, losses in `compute_metrics`), rows are left out (`dataloader_drop_last`), or
    padding comes first, the order of the rows is kept throughout.

    Args:
        *positional: Those of `Trainer`.
        **kwargs: Those of `Trainer`.

    Example:
        ```python
        trainer = LengthSortedTrainer(model, args, eval_dataset=rows, processing_class=tokenizer)
        trainer.predict(rows).predictions  # [rows, classes], in their order
        ```
    """

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        if eval_dataset is None or not has_length(eval_dataset):
            return super()._get_eval_sampler(eval_dataset)
        args = self.args
        batches_matter = args.batch_eval_metrics or not args.eval_do_concat_batches or args.dataloader_drop_last
        # What a function makes of the logits of a batch need not be one value a row.
        batches_matter = batches_matter or self.preprocess_logits_for_metrics is not None
        if batches_matter or "loss" in args.include_for_metrics:
            return RowsByLength(eval_dataset, None)
        # Padding in front moves the positions of the tokens of some models.
        in_front = getattr(self.processing_class, "padding_side", "right") != "right"
        return RowsByLength(eval_dataset, None if in_front else token_lengths(eval_dataset))

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`Trainer`'s loop, through rows sorted by length; its arrays are put back into the order of the rows."""
        arguments = (description, prediction_loss_only, ignore_keys, metric_key_prefix)
        sampler = _rows_of(dataloader)
        if sampler is None or sampler.order is None:
            return super().evaluation_loop(dataloader, *arguments)
        inverse, compute_metrics = np.argsort(sampler.order), self.compute_metrics

        def in_order(prediction: EvalPrediction) -> dict[str, Any]:
            assert compute_metrics is not None
            parts = (prediction.predictions, prediction.label_ids, prediction.inputs)
            return compute_metrics(EvalPrediction(*(_select(part, inverse) for part in parts)))

        try:
            sampler.by_length = True
            self.compute_metrics = None if compute_metrics is None else in_order
            output = super().evaluation_loop(dataloader, *arguments)
        finally:
            sampler.by_length, self.compute_metrics = False, compute_metrics
        predictions, labels = _select(output.predictions, inverse), _select(output.label_ids, inverse)
        return output._replace(predictions=predictions, label_ids=labels)


def _select(values: Any, rows: Int64[np.ndarray, " rows"]) -> Any:
    """Rows of an array, or of each array in tuples, lists and mappings."""
    if values is None or isinstance(values, np.ndarray):
        return None if values is None else values[rows]
    if isinstance(values, tuple | list):
        return type(values)(_select(value, rows) for value in values)
    return type(values)({name: _select(value, rows) for name, value in values.items()})


def _rows_of(dataloader: DataLoader[Any]) -> RowsByLength | None:
    """Our sampler, below whatever accelerate has put around it."""
    sampler: Any = getattr(dataloader, "batch_sampler", None)
    while sampler is not None and not isinstance(sampler, RowsByLength):
        sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
    return sampler
