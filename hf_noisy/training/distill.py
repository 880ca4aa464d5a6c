"""Ordinary models out of branches, averaged teachers and posteriors: what `pipeline` loads without this package."""

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import ClassLabel
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.utils import logging

from hf_noisy.core.columns import INDEX, LABEL, LABELS
from hf_noisy.core.files import write_atomically
from hf_noisy.data.checks import check_values, label_column
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.models.branches import BranchedModel, mean_log_probability
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator, ModelInputs, batches_of, evaluating, outputs_by_row

logger = logging.get_logger(__name__)

FILE = "export.json"
EXPORTS = ("ensemble", "best_branch", "distilled")


def fit_to_probabilities(
    model: PreTrainedModel,
    dataset: Any,
    probabilities: Float[np.ndarray, "rows classes"],
    args: TrainingArguments,
    processing_class: Any = None,
    data_collator: Callable[[list[Any]], Any] | None = None,
) -> Trainer:
    """Train an ordinary classifier on a distribution over the classes of each row, by a stock `Trainer`.

    Args:
        model: The classifier, trained in place. Where its classes have no names, it gets those of the dataset.
        dataset: The rows, map-style.
        probabilities: `[rows, classes]`, in the order of the rows.
        args: Of the training; nothing is evaluated.
        processing_class: As of `Trainer`.
        data_collator: As of `Trainer`.

    Returns:
        The trainer, after training.

    Raises:
        TypeError: If the model is no ordinary one, or the rows have no length.
        ValueError: If the probabilities are not one distribution a row, or of another number of classes.
    """
    if not isinstance(model, PreTrainedModel) or isinstance(model, BranchedModel):
        raise TypeError(
            f"model must be one plain classifier of transformers, got {type(model).__name__}; take one from "
            "AutoModelForSequenceClassification or AutoModelForImageClassification"
        )
    if args.n_gpu > 1:
        raise ValueError(
            f"args sees {args.n_gpu} GPUs in one process, where losses of rows cannot be reduced exactly; start with "
            "`accelerate launch` or show one GPU (CUDA_VISIBLE_DEVICES=0)"
        )
    rows = _SoftRows(dataset, probabilities)
    check_values(rows.probabilities, num_classes(model), soft_labels=True)
    _name_classes(model, dataset)
    trainer = Trainer(
        model, args, train_dataset=rows, processing_class=processing_class, data_collator=data_collator,
        compute_loss_func=_soft_cross_entropy,
    )  # fmt: skip
    trainer.train()
    return trainer


class _SoftRows(Dataset[dict[str, Any]]):
    """Rows whose label is a distribution; lazy transforms run as before."""

    def __init__(self, dataset: Any, probabilities: Float[np.ndarray, "rows classes"]) -> None:
        self.rows, self.probabilities = IndexedDataset(dataset), np.asarray(probabilities, np.float32)
        if len(probabilities) != len(dataset):
            raise ValueError(
                f"probabilities must be one a row, {len(dataset)}, got {len(probabilities)}; pass the rows in the "
                "order in which they were recorded"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        # Under the name that the caller's collator reads, as a list, which every collator makes a tensor of.
        name = LABELS if LABELS in row else LABEL
        return {**row, name: self.probabilities[row.pop(INDEX)].tolist()}


def _soft_cross_entropy(
    outputs: Any, labels: Float[Tensor, "batch classes"], num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    losses: Tensor = CrossEntropy()(outputs["logits"], labels)
    # Trainer counts the entries of soft labels, not their rows.
    return losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch / labels.shape[1])


def _name_classes(model: PreTrainedModel, dataset: Any) -> None:
    feature = (getattr(dataset, "features", None) or {}).get(label_column(dataset))
    unnamed = all(name == f"LABEL_{index}" for index, name in (model.config.id2label or {}).items())
    if unnamed and isinstance(feature, ClassLabel) and feature.num_classes == model.config.num_labels:
        model.config.id2label = dict(enumerate(feature.names))
        model.config.label2id = {name: index for index, name in enumerate(feature.names)}


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


@dataclass
class _Seen:
    """What several networks said of the rows of a dataset: log-probabilities `[network, row, class]`."""

    scores: Float64[np.ndarray, "networks rows classes"]
    labels: Int64[np.ndarray, " rows"] | None


def export_model(
    trainer: Trainer,
    teacher: nn.Module | None,
    export: str,
    folder: str | Path,
    args: TrainingArguments | None = None,
) -> nn.Module:
    """The network to save in place of the branches or the student of a trainer, with a file that says which it is.

    Args:
        trainer: After training.
        teacher: The averaged network of its method, if it has one.
        export: One of `EXPORTS`.
        folder: Where `export.json` is written.
        args: Of the training of `"distilled"`; those of the trainer by default, without evaluation and checkpoints.

    Returns:
        The network.

    Raises:
        ValueError: If `export` is unknown, the trainer has neither branches nor a teacher, weights are spread over
            processes, or there are no rows or labels to choose by.
    """
    model, choices = trainer.model, ", ".join(map(repr, EXPORTS))
    source = model if teacher is None else teacher
    if export not in EXPORTS:
        raise ValueError(f"export must be one of {choices}, or None for the model as it was trained, got {export!r}")
    if teacher is None and not isinstance(model, BranchedModel):
        raise ValueError(
            f"export={export!r} needs a model with branches or a method with a teacher after training, got "
            f"{type(model).__name__}; it is an ordinary model already: leave export away"
        )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError(f"export={export!r} needs whole weights in each process; save_model() first, then load them")
    if not hasattr(trainer.accelerator.state, "distributed_type"):
        trainer.create_accelerator_and_postprocess()  # making other TrainingArguments has emptied what all share
    if export == "ensemble":
        network, told = cast(nn.Module, source), _told_ensemble(source)
    else:
        networks = [source] if isinstance(source, BranchedModel) else [model, source]
        chosen, told = _best(trainer, networks)
        if isinstance(source, BranchedModel):
            network = source.unbranch(chosen)
        else:
            network = cast(nn.Module, model if chosen == 0 else source)
        if export == "distilled":
            network, told = _distilled(trainer, source, network, told, args)
    if isinstance(network, PreTrainedModel) and not isinstance(network, BranchedModel):
        _name_classes(network, trainer.train_dataset)
    needs_us = not type(network).__module__.startswith(("transformers.", "peft."))
    record = {"export": export, **told, "architecture": type(network).__name__, "needs_hf_noisy": needs_us}
    if trainer.args.should_save:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(folder) / FILE, json.dumps(record, indent=1))
    needs = "; loading it needs hf_noisy.models to be imported" if needs_us else ""
    logger.warning_once(f"{folder}: saved {told['chosen']}, {told['reason']}{needs}")
    return network


def forget_export(folder: str | Path) -> None:
    """Remove what an earlier export said of a folder in which another model is saved now."""
    (Path(folder) / FILE).unlink(missing_ok=True)


def _told_ensemble(source: Any) -> dict[str, Any]:
    if isinstance(source, BranchedModel):
        reason = "since no single ordinary network gives the mean of their probabilities"
        return {"chosen": f"all {source.num_branches} branches as one model", "reason": reason}
    return {"chosen": "the averaged teacher", "reason": "which is the mean of the student over its last steps"}


def _best(trainer: Trainer, networks: Sequence[Any]) -> tuple[int, dict[str, Any]]:
    """Which network agrees most with the given labels; never with true ones, unless these are the given ones."""
    by, parts = "train_dataset", [trainer.train_dataset]
    if trainer.eval_dataset is not None:
        by = "eval_dataset"
        of = trainer.eval_dataset
        parts = list(of.values()) if isinstance(of, dict) else [of]
    seen = [_predictions(trainer, networks, part) for part in parts]
    if any(part.labels is None for part in seen):
        raise ValueError(f"{by} must have labels to choose a network by, in a column 'label' or 'labels'")
    labels = np.concatenate([cast(np.ndarray, part.labels) for part in seen])
    scores = np.concatenate([part.scores for part in seen], 1)
    names = ["student", "teacher"] if len(networks) == 2 else [f"branch {index}" for index in range(len(scores))]
    accuracy = (scores.argmax(-1) == labels).mean(1)
    loss = -scores[:, np.arange(len(labels)), labels].mean(1)
    chosen = int(np.lexsort((loss, -accuracy))[0])
    figures = {
        name: {"accuracy": float(a), "loss": float(b)} for name, a, b in zip(names, accuracy, loss, strict=True)
    }
    reason = f"by its accuracy against the {len(labels)} given labels of {by}, {accuracy[chosen]:.4f}"
    if by == "train_dataset":
        reason += ", some of which it may know by heart: pass an eval_dataset to choose by other rows"
    return chosen, {"chosen": names[chosen], "reason": reason, "rows": by, "candidates": figures}


def _distilled(
    trainer: Trainer, source: Any, start: Any, told: dict[str, Any], args: TrainingArguments | None
) -> tuple[nn.Module, dict[str, Any]]:
    """One network that goes on from the chosen one, taught what all branches or the teacher say of the training."""
    if not isinstance(start, PreTrainedModel):
        raise ValueError(
            f"export='distilled' needs a plain model of transformers to begin with, got {type(start).__name__}; use "
            "export='ensemble'"
        )
    branched = isinstance(source, BranchedModel)
    if not branched:  # from the teacher itself there would be nothing to learn
        start = trainer.model
    # Built anew: accelerate may have hung its own forward on the network that was trained.
    network = type(start)(copy.deepcopy(start.config)).to(start.dtype)
    network.load_state_dict(start.state_dict())
    seen = _predictions(trainer, [source], trainer.train_dataset)
    targets = np.exp(mean_log_probability(torch.from_numpy(seen.scores).transpose(0, 1)).numpy())
    fit_to_probabilities(
        network.to(trainer.args.device), trainer.train_dataset, targets, args or _quiet(trainer.args),
        trainer.processing_class, trainer.data_collator,
    )  # fmt: skip
    taught = "the mean of all branches" if branched else "the averaged teacher"
    begun = told["chosen"] if branched else "student"
    reason = f"begun from {begun} and taught by what {taught} says of the {len(targets)} rows of train_dataset"
    return network, {**told, "chosen": "one distilled network", "start": begun, "reason": reason}


def _quiet(args: TrainingArguments) -> TrainingArguments:
    quiet = copy.copy(args)
    quiet.save_strategy, quiet.eval_strategy = SaveStrategy.NO, IntervalStrategy.NO
    quiet.load_best_model_at_end = quiet.push_to_hub = False
    quiet.report_to, quiet.label_smoothing_factor = [], 0.0
    return quiet


def _predictions(trainer: Trainer, networks: Sequence[Any], dataset: Any) -> _Seen:
    """Log-probabilities of every branch or network, by row, whatever the batches and the processes."""
    if dataset is None or not hasattr(dataset, "__len__"):
        raise ValueError("train_dataset or eval_dataset must have a length to choose by; load it without streaming")
    args, network = trainer.args, cast(nn.Module, trainer.model)

    def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
        given = inputs.pop(LABELS, None)
        with trainer.accelerator.autocast():
            logits = torch.cat([_branch_logits(network, inputs) for network in networks], 1).transpose(0, 1)
        if given is None:
            return [logits]
        return [logits, (given.argmax(-1) if given.ndim == 2 else given)[None, :, None]]

    collator, all_columns = cast(Collator, trainer.data_collator), not args.remove_unused_columns
    with ExitStack() as stack:
        for other in networks:
            stack.enter_context(evaluating(other))
        logits, *labels = outputs_by_row(
            network,
            dataset,
            forward,
            batches=batches_of(dataset, args.per_device_eval_batch_size),
            collate=ModelInputs(collator, network, all_columns=all_columns, with_labels=True),
            num_workers=args.dataloader_num_workers,
        )
    scores = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    return _Seen(scores, labels[0][0, :, 0].astype(np.int64) if labels else None)


def _branch_logits(network: nn.Module, inputs: dict[str, Any]) -> Float[Tensor, "batch networks classes"]:
    outputs = network(**inputs)
    logits: Tensor | None = getattr(outputs, "branch_logits", None)
    return outputs.logits[:, None] if logits is None else logits
