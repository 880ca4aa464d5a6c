"""DyGEN for rows that training never saw: the exact posterior as one model, or an ordinary classifier taught by it.

Importing this module lets `from_pretrained` of transformers' auto classes load the exact artefact.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from transformers import PreTrainedModel, TrainingArguments

from hf_noisy.data.checks import label_column
from hf_noisy.dygen.exact import DyGenForClassification, DyGenModelConfig
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.export import fit_to_probabilities

__all__ = ["DyGenForClassification", "DyGenModelConfig", "EpochSnapshots", "distill"]


def distill(
    teacher: DyGen | Float[np.ndarray, "rows classes"],
    model: PreTrainedModel,
    train_dataset: Any,
    args: TrainingArguments,
    processing_class: Any = None,
    data_collator: Callable[[list[Any]], Any] | None = None,
) -> PreTrainedModel:
    """Teach an ordinary classifier the posterior of the training rows; the default way to serve DyGEN.

    Trained by a stock `Trainer` on soft cross-entropy, and saved with `processing_class` to `args.output_dir`, from
    where `pipeline` loads it without this package. Labels get the names that the dataset gives them.

    Args:
        teacher: Of a [`DyGen`] the posterior given the labels of `train_dataset`; or a posterior `[rows, classes]`.
        model: An ordinary text or image classifier, which is trained in place, such as a pretrained one.
        train_dataset: The training rows in their order, prepared for `model`.
        args: Of the training and where to save.
        processing_class: Tokenizer or image processor; pads batches and is saved with the model.
        data_collator: As of `Trainer`.

    Returns:
        The model, in evaluation mode.

    Raises:
        TypeError: If `model` is no ordinary model.
        ValueError: If rows, classes or labels disagree, or the labels of the rows cannot be read.

    Example:
        ```python
        student = AutoModelForSequenceClassification.from_pretrained(name, num_labels=6)
        distill(dygen, student, train, TrainingArguments("distilled"), tokenizer)
        pipeline("text-classification", model="distilled")("What is an atom?")
        ```
    """
    posterior = teacher if isinstance(teacher, np.ndarray) else _posterior(teacher, train_dataset)
    trainer = fit_to_probabilities(model, train_dataset, posterior, args, processing_class, data_collator)
    trainer.save_model(str(args.output_dir))
    model.eval()
    return model


def _posterior(dygen: DyGen, dataset: Any) -> Float64[np.ndarray, "rows classes"]:
    column = label_column(dataset)
    if column is None:
        raise ValueError(
            "train_dataset has no column 'label' or 'labels' that can be read; pass dygen.posterior(split, labels) "
            "in place of dygen"
        )
    return dygen.posterior(dygen.config.split, labels=np.asarray(dataset.with_format(None)[column][:]))
