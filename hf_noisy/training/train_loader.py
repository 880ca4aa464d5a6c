"""The training loader: the batches of the user's collator, and what belongs to their rows, added outside of it."""

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, IterableDataset

from hf_noisy.core.columns import LABEL, LABEL_WEIGHT, LABELS, ROW_NUMBER, SECOND_VIEW
from hf_noisy.core.rows import Task
from hf_noisy.data.indexed import IndexedDataset, IndexedRow, with_columns
from hf_noisy.data.other_row import OtherRow
from hf_noisy.data.views import TwoViews, default_view
from hf_noisy.models.heads import accepted_inputs, named_inputs
from hf_noisy.models.inference import Collator
from hf_noisy.training.checked_labels import without_checked_column
from hf_noisy.training.row_weights import given_weights

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer


class RowCollator:
    """Adds row numbers and weights to the batches of a collator, which sees the rows as the dataset gives them."""

    def __init__(self, collator: Collator, task: Task, views: TwoViews | None = None) -> None:
        self.collator, self.task, self.views = collator, task, views

    def __call__(self, rows: list[IndexedRow]) -> Any:
        known: dict[str, Any] = {ROW_NUMBER: torch.tensor([position for position, _ in rows])}
        if isinstance(rows[0].row, Mapping) and LABEL_WEIGHT in rows[0].row:
            known[LABEL_WEIGHT] = given_weights([row for _, row in rows], self.task)
        batch = self.collator([row for _, row in rows]) if self.views is None else self.views(rows)
        if isinstance(batch, MutableMapping):
            batch.update(known)
        return batch


def pop_row_data(batch: Any) -> dict[str, Any]:
    """Remove from a batch what [`RowCollator`] added to it, such that the inputs of the model are left."""
    if not isinstance(batch, MutableMapping):
        return {}
    names = [name for name in batch if name in (ROW_NUMBER, LABEL_WEIGHT) or str(name).startswith(SECOND_VIEW)]
    return {name: batch.pop(name) for name in names}


def has_rows(dataset: Any) -> bool:
    """Whether the rows of a dataset can be counted and numbered."""
    return dataset is not None and not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__")


def collated_columns(trainer: "NoisyTrainer", signature: list[str]) -> list[str]:
    """The columns that the collator sees, in training and evaluation."""
    dataset, columns = trainer.train_dataset, [name for name in signature if not name.startswith(SECOND_VIEW)]
    if accepted := accepted_inputs(trainer.model):
        columns += sorted(accepted)
    elif named_inputs(trainer.model) <= {LABEL, LABELS, *trainer.label_names}:
        columns += getattr(dataset, "column_names", None) or []  # `forward(**inputs)` does not say what is unused
    if not has_rows(dataset):
        columns.append(LABEL_WEIGHT)  # of a stream, only the collator can pass it on
    return [*dict.fromkeys([*columns, *(SECOND_VIEW + name for name in columns)])]


def needed_columns(trainer: "NoisyTrainer") -> list[str]:
    """The columns of the training set that are read."""
    view = trainer.method.second_view
    for_view = [] if view is None else [*getattr(view, "columns", ()), "special_tokens_mask"]
    return [*trainer._signature_columns, LABEL_WEIGHT, *for_view]


def training_loader(trainer: "NoisyTrainer") -> tuple[DataLoader[Any], list[Any]]:
    """The loader of numbered rows, and what makes new views of them in every epoch."""
    dataset, collator, view = trainer.train_dataset, trainer.data_collator, trainer.method.second_view
    read, makers = without_checked_column(dataset), [dataset]
    if trainer.args.remove_unused_columns:
        read = with_columns(read, needed_columns(trainer))
        _refuse_no_inputs(trainer, read)
    inner, views = trainer._get_collator_with_removed_columns(collator, description="training"), None
    if view is not None:
        view = default_view(read[0], trainer.processing_class) if view == "auto" else view
        if isinstance(view, OtherRow):
            view.attach(read)
        views = TwoViews(inner, view, seed=trainer.args.seed)
        makers.append(views)
    try:
        # Trainer, too, removes columns, but only of mappings.
        trainer.data_collator = RowCollator(inner, trainer.task, views)
        loader = trainer._get_dataloader(
            dataset=IndexedDataset(read),
            description="Training",
            batch_size=trainer._train_batch_size,
            # The dataset itself may have a column of lengths to group by.
            sampler_fn=lambda _: trainer._get_train_sampler(dataset),  # type: ignore[arg-type,return-value]
            is_training=True,
        )
    finally:
        trainer.data_collator = collator
    return loader, makers


def _refuse_no_inputs(trainer: "NoisyTrainer", read: Any) -> None:
    """Refuse a table without any input of the model, such as texts that were not tokenized."""
    inputs = (accepted_inputs(trainer.model) or set()) - {LABEL, LABELS, *trainer.label_names}
    if not isinstance(read, Dataset) or read.format["type"] == "custom" or not inputs:
        return
    if not any(name in inputs or name.startswith(SECOND_VIEW) for name in read.column_names):
        main = getattr(trainer.model, "main_input_name", None) or sorted(inputs)[0]
        had = ", ".join(trainer.train_dataset.column_names)  # type: ignore[union-attr]
        raise ValueError(
            f"train_dataset has no input of {type(trainer.model).__name__} (such as '{main}'), only {had}; tokenize "
            "or process its rows, for example dataset.map(lambda row: tokenizer(row['text']), batched=True)"
        )
