"""Distill a teacher into an ordinary classifier, which `pipeline` loads without this package."""

from typing import Any

import numpy as np
import torch
from datasets import ClassLabel
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from hf_noisy.core.checks import check_soft_labels
from hf_noisy.core.columns import LABEL, LABELS
from hf_noisy.core.rows import logits_of
from hf_noisy.core.task import AUTO_CLASS_NAMES
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.data.labels import label_column, label_column_array
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.models.branches import BranchedModel
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator, default_collator, outputs_in_training
from hf_noisy.training.guards import refuse_several_gpus


def distill(
    teacher: DyGen | nn.Module | Float[np.ndarray, "rows classes"],
    model: PreTrainedModel,
    train_dataset: Any,
    args: TrainingArguments,
    processing_class: Any = None,
    data_collator: Collator | None = None,
) -> PreTrainedModel:
    """Train an ordinary classifier on a teacher's predictions for the training rows; the default way to serve DyGEN.

    A stock `Trainer` minimises soft cross-entropy, and saves the model and `processing_class` to `args.output_dir`,
    for `pipeline`. Classes without names get those of the dataset.

    Args:
        teacher: A [`DyGen`], for its posterior given the labels of `train_dataset`; a network with `logits`, such as a
            [`BranchedModel`] or an averaged teacher, for its probabilities; or probabilities `[rows, classes]`.
        model: An ordinary text or image classifier, which is trained in place, such as a pretrained one or the best
            branch (see [`best_network`]).
        train_dataset: The training rows in their order, prepared for `model`.
        args: For training, and where to save; nothing is evaluated.
        processing_class: Tokenizer or image processor; pads batches and is saved with the model.
        data_collator: As for `Trainer`.

    Returns:
        The model, in evaluation mode.

    Raises:
        TypeError: If `model` is not an ordinary model, or the rows have no length.
        ValueError: If rows, classes or labels disagree, labels cannot be read, or probabilities are not one
            distribution per row.

    Example:
        ```python
        student = AutoModelForSequenceClassification.from_pretrained(name, num_labels=6)
        distill(dygen, student, train, TrainingArguments("distilled"), tokenizer)
        pipeline("text-classification", model="distilled")("What is an atom?")
        ```
    """
    if not isinstance(model, PreTrainedModel) or isinstance(model, BranchedModel):
        raise TypeError(
            f"model must be one plain classifier of transformers, got {type(model).__name__}; take one from "
            f"{AUTO_CLASS_NAMES}"
        )
    refuse_several_gpus(args)
    collator = data_collator or default_collator(processing_class)
    if isinstance(teacher, DyGen):
        probabilities: np.ndarray = _posterior(teacher, train_dataset)
    elif isinstance(teacher, nn.Module):
        probabilities = _probabilities(teacher, train_dataset, args, collator)
    else:
        probabilities = teacher
    trainer = train_student(model, train_dataset, probabilities, args, processing_class, collator)
    trainer.save_model(str(args.output_dir))
    return model


def train_student(
    model: PreTrainedModel,
    train_dataset: Any,
    probabilities: Float[np.ndarray, "rows classes"],
    args: TrainingArguments,
    processing_class: Any,
    data_collator: Collator,
) -> Trainer:
    """Train a classifier on the probabilities of its rows by a stock `Trainer`; nothing is saved."""
    rows = _SoftRows(train_dataset, probabilities)
    check_soft_labels(rows.probabilities, num_classes(model))
    name_classes(model, train_dataset)
    trainer = Trainer(
        model,
        args,
        train_dataset=rows,
        processing_class=processing_class,
        data_collator=data_collator,
        compute_loss_func=_soft_cross_entropy,
    )
    trainer.train()
    model.eval()
    return trainer


def name_classes(model: PreTrainedModel, dataset: Any) -> None:
    """Name the unnamed classes of a model after those of the label column of a dataset."""
    feature = (getattr(dataset, "features", None) or {}).get(label_column(dataset))
    unnamed = all(name == f"LABEL_{index}" for index, name in (model.config.id2label or {}).items())
    if unnamed and isinstance(feature, ClassLabel) and feature.num_classes == model.config.num_labels:
        model.config.id2label = dict(enumerate(feature.names))
        model.config.label2id = {name: index for index, name in enumerate(feature.names)}


class _SoftRows(Dataset[dict[str, Any]]):
    """Rows with a distribution as label; lazy transforms still run."""

    def __init__(self, dataset: Any, probabilities: Float[np.ndarray, "rows classes"]) -> None:
        self.rows, self.probabilities = IndexedDataset(dataset), np.asarray(probabilities, np.float32)
        if len(probabilities) != len(dataset):
            raise ValueError(
                f"probabilities must have one row for each of the {len(dataset)} rows, got {len(probabilities)}; "
                "pass the rows in the order in which they were recorded"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        position, row = self.rows[index]
        # Under the original name for the collator, and as a list, which every collator converts to a tensor.
        name = LABELS if LABELS in row else LABEL
        return {**row, name: self.probabilities[position].tolist()}


def _soft_cross_entropy(
    outputs: Any, labels: Float[Tensor, "batch classes"], num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    losses: Tensor = CrossEntropy()(outputs["logits"], labels)
    # Trainer counts the entries of soft labels, not the rows.
    return losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch / labels.shape[1])


def _posterior(dygen: DyGen, dataset: Any) -> Float64[np.ndarray, "rows classes"]:
    column = label_column(dataset)
    if column is None:
        raise ValueError(
            "train_dataset has no column 'label' or 'labels' that can be read; pass dygen.posterior(split, labels) "
            "in place of dygen"
        )
    return dygen.posterior(dygen.config.split, labels=label_column_array(dataset, column))


def _probabilities(
    network: nn.Module, dataset: Any, args: TrainingArguments, collator: Collator
) -> Float64[np.ndarray, "rows classes"]:
    """Probabilities of each row, averaged over branches."""
    (logits,) = outputs_in_training(
        network, dataset, lambda inputs: [logits_of(network(**inputs))[None]], args, collator
    )
    return torch.from_numpy(logits[0]).double().softmax(-1).numpy()
