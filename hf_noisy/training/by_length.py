"""Evaluation in batches of rows of like length, with everything handed back in the order of the rows."""

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Int64
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput, has_length

from hf_noisy.models.inference import token_lengths


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
        # Without a mask, or with columns made as rows are read, nothing is known of what padding does to them.
        rows: Any = eval_dataset
        masked = isinstance(rows, Dataset) and "attention_mask" in rows.column_names
        if in_front or not masked or rows.format["type"] == "custom":
            return RowsByLength(rows, None)
        return RowsByLength(rows, token_lengths(rows))

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
