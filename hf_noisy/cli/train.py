"""Train a classifier on noisy labels with any method, and write `results.json`."""

import dataclasses
import json
import os
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from datasets import Dataset
from transformers import TrainingArguments

from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.branching import with_asked_branches
from hf_noisy.cli.fast_defaults import fast_attention, say_speed, training_settings
from hf_noisy.cli.inputs import ImageInputs, TextInputs, load_splits, published_optimizer, random_rows
from hf_noisy.cli.purify_first import check_purifier, with_purified_labels
from hf_noisy.cli.recipes import keyword_arguments, parse
from hf_noisy.cli.run_lock import run_lock
from hf_noisy.core.columns import CHECKED_LABELS, TEXT_PAIR
from hf_noisy.core.files import write_atomically
from hf_noisy.core.phases import phase, phases_so_far, recorded_phases
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.labelled_rows import has_values
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.hub.text import public_name, without_folders
from hf_noisy.methods import make_method
from hf_noisy.reports import memorisation_curve
from hf_noisy.reports.memorisation import memorisation
from hf_noisy.training.trainer import NoisyTrainer

__all__ = ["ImageArguments", "TextArguments", "parse", "train"]

_PACKAGES = ("hf-noisy", "torch", "torchvision", "transformers", "datasets", "accelerate")


@recorded_phases(show=True)
def train(arguments: TextArguments | ImageArguments, training: TrainingArguments) -> dict[str, Any]:
    """Train and evaluate a classifier of texts or images.

    True labels (`clean_label`), if known, are only read after training. `output_dir` then holds `results.json`, the
    recorded trajectories, `memorisation.png` if true labels are known, and the model if `save_model` is set.

    Args:
        arguments: The data, method and model, of the class for texts or for images.
        training: As for `Trainer`, including `resume_from_checkpoint`.

    Returns:
        The content of `results.json`; empty on other processes than the main one.

    Raises:
        ValueError: If the method, its arguments, the purifier, a column or a kind of noise is unknown.
        FileExistsError: If another run writes into `output_dir`.

    Example:
        ```python
        arguments, training = parse(TextArguments, ["--dataset", "reviews.csv", "--method", "nct"])
        print(train(arguments, training)["test_accuracy_last"])
        ```
    """
    folder, given = Path(os.path.realpath(str(training.output_dir))), f"--output_dir '{training.output_dir}'"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside a folder whose parent cannot be written, there is no place for a lock.
    locks = training.process_index == 0 and os.access(folder.parent, os.W_OK)
    with run_lock(folder, given) if locks else nullcontext():
        return run_training(arguments, training)


def run_training(arguments: TextArguments | ImageArguments, training: TrainingArguments) -> dict[str, Any]:
    """As [`train`], in a folder that nobody else writes."""
    if training.max_steps <= 0 and training.num_train_epochs <= 0:
        raise ValueError(
            f"num_train_epochs must be above 0, got {training.num_train_epochs:g}; leave it out for the default"
        )
    method, method_args = _method_of(arguments)
    inputs: Any = ImageInputs(arguments) if isinstance(arguments, ImageArguments) else TextInputs(arguments)
    train_rows, test_rows, checked = load_splits(arguments, training, inputs.prepare)
    trained, purified = with_purified_labels(train_rows, inputs.task, arguments, checked, training)
    scores = inputs.scores
    watched = random_rows(train_rows, scores.watched(train_rows, arguments.max_watched_samples), training.seed)

    transformers.set_seed(training.seed)
    recorded = {
        name: inputs.for_prediction(rows) for name, rows in (("test", test_rows), ("watched", watched)) if rows
    }
    recorder = DynamicsRecorder(recorded, features=False)
    trainer = NoisyTrainer(
        with_asked_branches(fast_attention(inputs.make_model(), training), arguments, method, training),
        training,
        train_dataset=inputs.for_training(trained, method, training.seed),
        processing_class=inputs.processor,
        method=method,
        callbacks=[recorder],
        compute_metrics=scores.compute,
        missing_rate=getattr(arguments, "missing_rate", None),
        **({} if checked is None else {"checked": checked}),
    )
    say_speed(training)
    resume = (given := checkpoint_word(training)) == "true" or given
    if isinstance(arguments, ImageArguments) and arguments.momentum is not None:
        trainer.choose_method(resume)  # before the optimizer gets the weights of its branches
        trainer.optimizer, trainer.lr_scheduler = published_optimizer(trainer, arguments)
    with phase("training"):
        trainer.train(resume_from_checkpoint=resume)

    # True labels are read only from here on; they choose nothing.
    output_dir = Path(str(training.output_dir))
    with phase("evaluation"):
        metrics = trainer.evaluate(inputs.for_prediction(scores.with_true_labels(test_rows)))
    if arguments.save_model:
        trainer.save_model()
    if not trainer.is_world_process_zero():
        return {}
    if arguments.save_model and isinstance(inputs, ImageInputs):
        inputs.pipeline_processor().save_pretrained(output_dir)
    predicted = {name: scores.predicted(recorder.trajectories, name) for name in recorder.datasets}
    results = {
        **_setting(arguments, train_rows, test_rows, inputs),
        **purified,
        "method": arguments.method,
        "method_args": method_args,
        "citation": trainer.method.citation,
        **scores.by_epoch(test_rows, predicted["test"]),
        # Other networks of the method, such as a teacher: `eval_teacher_accuracy` of the trainer.
        "test_accuracy_of_others": {
            name.removeprefix("eval_").removesuffix("_accuracy"): value
            for name, value in metrics.items()
            if name.endswith("_accuracy") and name != "eval_accuracy"
        },
        "epochs": trainer.state.epoch,
        "phases": phases_so_far(),
        "learning_rate": training.learning_rate,
        "seed": training.seed,
        "device": str(training.device),
        "training": training_settings(training),
        "versions": {name: version(name) for name in _PACKAGES},
        "arguments": without_folders(dataclasses.asdict(arguments)),
    }
    results |= _of_this_run(trainer, arguments, train_rows, metrics)
    if "watched" in predicted:
        given, true = scores.given_and_true(watched)
        if (known := true >= 0).any():
            shown, curve = predicted["watched"].mean(1)[:, known], np.array(results[scores.curve])
            results |= _memorisation(given[known], true[known], shown, scores.curve, curve, output_dir)
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2))
    for name, value in results.items():
        if isinstance(value, float):
            print(f"{name:24}{value:g}" if name == "learning_rate" else f"{name:24}{value:.4f}")
    return results


def _method_of(arguments: TextArguments | ImageArguments) -> tuple[Any, dict[str, Any]]:
    """The method and its arguments; `"auto"` is resolved by the trainer, which needs the rows."""
    method_args = keyword_arguments(arguments.method_args)
    if arguments.method == "auto" and method_args:
        raise ValueError("method_args belong to a method that is named, and method 'auto' chooses one; leave them out")
    method = "auto" if arguments.method == "auto" else make_method(arguments.method, **method_args)
    check_purifier(arguments, method)
    return method, method_args


def checkpoint_word(training: TrainingArguments) -> str | None:
    """What `--resume_from_checkpoint` asks for: `"true"`, the path of a checkpoint, or None."""
    given = str(training.resume_from_checkpoint or "")
    return {"": None, "none": None, "false": None, "true": "true"}.get(given.lower(), given)


def _of_this_run(
    trainer: NoisyTrainer, arguments: Any, train_rows: Dataset, metrics: dict[str, float]
) -> dict[str, Any]:
    """Results that only some trainings have."""
    found: dict[str, Any] = {}
    if (missing := getattr(arguments, "missing_rate", None)) is not None:
        found["missing_rate"] = missing
    if trainer.checked is not None:
        found["checked_rows"] = len(trainer.checked)
        if CHECKED_LABELS in train_rows.column_names:  # of tags and sets, `checked` numbers each label
            looked_at = train_rows.with_format(None)[CHECKED_LABELS][:]
            found["checked_rows"] = sum(one is not None and {*one} != {NO_LABEL} for one in looked_at)
    if choice := trainer.choice:
        found |= {"method": choice.method, "method_args": choice.arguments, "method_why": choice.why}
    if dygen := trainer.dygen:  # the epochs are those of its branches
        found |= {"test_accuracy_dygen": metrics["eval_accuracy"], "noise_rate_estimated": dygen.noise_rate}
    return found


def _setting(arguments: Any, train_rows: Dataset, test_rows: Dataset, inputs: Any) -> dict[str, Any]:
    """The data and its noise."""
    given, true = inputs.scores.given_and_true(train_rows)
    known = true >= 0
    return {
        "dataset": public_name(arguments.dataset),
        "task": inputs.task,
        "num_train": len(train_rows),
        "num_test": len(test_rows),
        "num_classes": len(inputs.names),
        "sentence_pairs": TEXT_PAIR in train_rows.column_names,
        "test_labels": "true" if has_values(test_rows, inputs.scores.clean) else "given",
        "selected_by": "last epoch",
        "noise_type": arguments.noise_type,
        "noise_seed": arguments.noise_seed,
        "noise_rate_asked": arguments.noise_rate,
        "noise_rate": float((given != true)[known].mean()) if known.any() else None,
    }


def _memorisation(
    given: np.ndarray, true: np.ndarray, predicted: np.ndarray, curve: str, test_scores: np.ndarray, folder: Path
) -> dict[str, Any]:
    """Memorisation by epoch, as numbers and as a figure."""
    curves = memorisation(given, true, predicted)
    picture, name = folder / "memorisation.png", curve.removesuffix("_by_epoch").replace("_", " ")
    shown = (curves.memorised, curves.corrected, curves.learned)
    memorisation_curve(*shown, picture, test_accuracy=test_scores, test_name=name)
    values = curves.as_lists()
    return {"watched": {"rows": len(given), **values}, **{f"{name}_last": found[-1] for name, found in values.items()}}
