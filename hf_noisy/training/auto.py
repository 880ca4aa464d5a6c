"""`method="auto"`: a method chosen by what is measured before training."""

from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from hf_noisy.core.files import read_sealed, write_sealed
from hf_noisy.data.checks import label_column
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.methods import Method, make_method
from hf_noisy.training.auto_measure import Measured, Noise, measure, noise_of
from hf_noisy.training.auto_rules import RULES, Choice, Rule, choose

logger = logging.get_logger(__name__)

FILE = "auto_method.json"
_FORMAT = 1


def method_for_trainer(*given: Any, **kwargs: Any) -> tuple[Method, Choice]:
    """Measure, choose and note the choice in `output_dir/auto_method.json`.

    A run that goes on, with a checkpoint in `output_dir` and the same labels, seed and classes, takes the method that
    the file names, and so does a trainer without training rows. All processes take the same one.

    Args:
        *given: Positional arguments of `Trainer`.
        **kwargs: Its keyword arguments.

    Returns:
        The method, and the choice.
    """
    arguments = signature(Trainer).bind_partial(*given, **kwargs).arguments
    args: TrainingArguments = arguments.get("args") or TrainingArguments()
    device = args.device  # also makes the processes find each other
    model, dataset = arguments.get("model"), arguments.get("train_dataset")
    known = _identity(model, dataset, args.seed)
    file = Path(str(args.output_dir)) / FILE
    found: list[Choice | None] = [None]
    if PartialState().is_main_process:
        found = [_noted(file, known, dataset)]
    choice = broadcast_object_list(found)[0]
    if choice is None:
        measured = measure(
            model,
            dataset,
            arguments.get("processing_class"),
            data_collator=arguments.get("data_collator"),
            device=device,
            batch_size=args.per_device_eval_batch_size,
            seed=args.seed,
            show_progress=not args.disable_tqdm,
        )
        choice = choose(measured)
        if args.should_save and dataset is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(file, {"identity": known, "measured": asdict(measured), "choice": asdict(choice)}, _FORMAT)
    if PartialState().is_main_process:
        logger.warning(f"method auto: {choice.method}, because {choice.why}")
    return make_method(choice.method, **choice.arguments), choice


def _identity(model: Any, dataset: Any, seed: int) -> dict[str, Any]:
    column = label_column(dataset)
    labels = None
    if column is not None:
        values = np.asarray(dataset.with_format(None)[column][:])
        labels = labels_digest(values) if values.dtype.kind in "biu" else None
    rows = len(dataset) if hasattr(dataset, "__len__") else None
    return {"rows": rows, "labels": labels, "seed": seed, "model": type(model).__name__}


def _noted(file: Path, known: dict[str, Any], dataset: Any) -> Choice | None:
    """The choice of a run that goes on."""
    if not file.is_file() or (dataset is not None and get_last_checkpoint(str(file.parent)) is None):
        return None
    noted = read_sealed(file, _FORMAT)
    if dataset is not None and noted["identity"] != known:
        return None
    return Choice(**noted["choice"])


__all__ = [
    "RULES",
    "Choice",
    "Measured",
    "Noise",
    "Rule",
    "choose",
    "measure",
    "method_for_trainer",
    "noise_of",
]
