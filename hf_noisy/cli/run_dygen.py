"""DyGEN end to end on texts: stage I, stage II, the posterior, the suspects and a report."""

import copy
import csv
import dataclasses
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import transformers
from datasets import Dataset
from scipy.special import softmax
from torch import Tensor
from transformers import TrainingArguments

from hf_noisy.cli.arguments import DyGenArguments
from hf_noisy.cli.branching import make_branches
from hf_noisy.cli.fast_defaults import fast_attention, say_speed, training_settings
from hf_noisy.cli.inputs import TextInputs, load_splits
from hf_noisy.cli.outputs import open_output
from hf_noisy.cli.recipes import parse
from hf_noisy.cli.train import checkpoint_word
from hf_noisy.core.cells import safe_cell
from hf_noisy.core.columns import CLEAN_LABEL, LABEL, column_array
from hf_noisy.core.files import replacing, write_atomically, write_tensors
from hf_noisy.core.phases import phase, phases_so_far, recorded_phases
from hf_noisy.core.types import Probabilities
from hf_noisy.data.fingerprint import texts_digest
from hf_noisy.data.flat_labels import HELD
from hf_noisy.data.labelled_rows import label_values
from hf_noisy.data.texts import shown_texts, text_columns
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.hub.text import public_name, without_folders
from hf_noisy.methods import DyGenMethod
from hf_noisy.models.heads import logits_by_branch
from hf_noisy.models.inference import Collator, outputs_in_training
from hf_noisy.reports import dynamics_map, reliability_diagram, score_stages, stage_table
from hf_noisy.training.checkpoints import last_whole_checkpoint
from hf_noisy.training.distill import distill
from hf_noisy.training.trainer import NoisyTrainer

__all__ = ["DyGenArguments", "parse", "run_dygen"]

_PACKAGES = ("hf-noisy", "torch", "transformers", "datasets", "accelerate", "peft")
_STAGES = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
_SOURCE_ROW = "hf_noisy_source_row"  # before some rows were set aside for the test
_COMPARED = "training with cross-entropy"
_POSTERIOR = "posterior.safetensors"


@recorded_phases(show=True)
def run_dygen(arguments: DyGenArguments, training: TrainingArguments) -> dict[str, Any]:
    """Run DyGEN on texts with noisy labels, by default beside a plain classifier with the same budget.

    No true label is read before the last evaluation. `output_dir` then holds the fitted DyGEN, the trajectories, the
    posterior, `suspects.csv`, figures, a model for new rows if `export` asks for one, and `dygen_results.json`. Until
    the run ends, all is in `<output_dir>.training`, which stays after an interruption if it holds a checkpoint.

    Args:
        arguments: The data and the settings of DyGEN.
        training: As for `Trainer`, for both trainings; `resume_from_checkpoint` is true or false.

    Returns:
        What `dygen_results.json` holds; empty on other processes than the main one.

    Raises:
        ValueError: If the arguments contradict each other.
        OSError: If `output_dir` cannot be written, or exists (unless it is an earlier output and `overwrite` is set),
            before anything is computed.

    Example:
        ```python
        arguments, training = parse(DyGenArguments, ["--dataset", "reviews.csv", "--output_dir", "output/reviews"])
        print(run_dygen(arguments, training)["noise_rate_estimated"])
        ```

    Source: Zhuang et al. (2023), DyGen.
    """
    _check(arguments, training)
    path = Path(str(training.output_dir))
    if training.push_to_hub and training.hub_model_id is None:
        training.hub_model_id = path.name  # not that of the folder of the training
    with open_output(path, arguments.overwrite, arguments.dataset, "--output_dir") as output:
        with output.training(checkpoint_word(training)) as folder:
            results = _run(arguments, training, folder)
        training.output_dir = str(path)
        return results


def _run(arguments: DyGenArguments, training: TrainingArguments, output_dir: Path) -> dict[str, Any]:
    inputs = TextInputs(arguments)
    train_rows, test_rows, checked = load_splits(arguments, training, inputs.prepare, row_column=_SOURCE_ROW)
    if inputs.task != "one-label":
        raise ValueError(f"DyGEN is for one class a row, not for {HELD[inputs.task]}; use hf-noisy train")
    say_speed(training)

    def fit(model: Any, folder: Path, name: str, learning_rate: float, **options: Any) -> NoisyTrainer:
        args = copy.copy(training)
        args.output_dir, args.learning_rate = str(folder), learning_rate
        options |= {"train_dataset": train_rows, "processing_class": inputs.processor, "checked": checked}
        trainer = NoisyTrainer(model, args, **options)
        # A finished training resumes from its last checkpoint too, and has no step left to do.
        resumes = checkpoint_word(training) is not None
        with phase(name):
            trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder) if resumes else None)
        return trainer

    transformers.set_seed(training.seed)
    model = fast_attention(inputs.make_model(), training)
    branched, predictions = make_branches(model, arguments, arguments.num_branches, training.seed, output_dir), {}
    if arguments.compare:
        plain = fit(model, output_dir / "cross_entropy", _COMPARED, training.learning_rate, method="cross_entropy")
        predictions["cross-entropy"] = _predict(plain, test_rows)
    branch_rate = arguments.branch_learning_rate or training.learning_rate
    trainer = fit(branched, output_dir, "training with DyGEN", branch_rate, method=_method(arguments, test_rows))
    if not trainer.is_world_process_zero():
        return {}
    dygen, given = cast(DyGen, trainer.dygen), column_array(train_rows, LABEL)
    dygen.save_pretrained(output_dir / "dygen")
    predictions["stage I"] = softmax(cast(Trajectories, dygen.trajectories).logits("test")[-1], axis=-1).mean(0)
    with phase("posterior"):
        predictions["prior"], predictions["DyGEN"] = dygen.prior_of("test"), dygen.posterior("test")
        posterior = dygen.posterior("train", labels=given)
    digest = _write_posterior(output_dir, posterior, predictions["DyGEN"], train_rows, dygen.suspects)
    _export(arguments, training, output_dir, trainer, posterior, train_rows, inputs)

    # Only here are true labels read, where there are any.
    truth, test_truth = (label_values(rows, CLEAN_LABEL) for rows in (train_rows, test_rows))
    known, test_known = truth >= 0, test_truth >= 0
    scored = {name: found[test_known] for name, found in predictions.items()} if test_known.any() else predictions
    scores = score_stages(test_truth[test_known] if test_known.any() else None, scored)
    results = {
        "dataset": public_name(arguments.dataset),
        "num_train": len(train_rows),
        "num_test": len(test_rows),
        "texts": texts_digest([text for rows in (train_rows, test_rows) for text in shown_texts(rows) or []]),
        "num_classes": posterior.shape[1],
        "noise_rate_estimated": dygen.noise_rate,
        "checked_rows": 0 if checked is None else len(checked),
        **_label_accuracy(given[known], posterior[known], truth[known]),
        **{f"test_accuracy{key}": scores.get(name, {}).get("accuracy") for name, key in _STAGES.items()},
        **{f"test_ece{key}": scores.get(name, {}).get("ece") for name, key in _STAGES.items()},
        "selected_by": "last epoch",
        "posterior": {"run": dygen.config.run, "sha256": digest},
        "seed": training.seed,
        "epochs": training.num_train_epochs,
        "learning_rate": training.learning_rate,
        "branch_learning_rate": branch_rate,
        "training": training_settings(training),
        "versions": {name: version(name) for name in _PACKAGES},
        "arguments": without_folders(dataclasses.asdict(arguments)),
    }
    with phase("figures"):
        wrong, dynamics = given != truth if known.all() else None, dygen.dynamics(given)
        dynamics_map(dynamics.mean, dynamics.deviation, dygen.suspects, output_dir / "dynamics_map.png", wrong=wrong)
        if test_known.any():
            stages = {name: (test_truth[test_known], found) for name, found in scored.items()}
            reliability_diagram(stages, output_dir / "reliability.png")
    results["phases"] = phases_so_far()
    write_atomically(output_dir / "dygen_results.json", json.dumps(results, indent=2))  # last: all else is there
    print(f"\n{arguments.dataset}: {len(train_rows)} training rows, {len(test_rows)} test rows")
    print(f"{stage_table(scores)}\n")
    shown = {k: v for k, v in results.items() if k.startswith(("noise_rate", "train_label")) and v is not None}
    print(*(f"{name:30}{value:.3f}" for name, value in shown.items()), sep="\n")
    return results


def _method(arguments: DyGenArguments, test_rows: Dataset) -> DyGenMethod:
    return DyGenMethod(
        noise_rate=arguments.estimated_noise_rate,
        preset=arguments.preset,  # type: ignore[arg-type]
        exact=arguments.export == "exact",
        distill=False,
        record={"test": test_rows},
    )


def _predict(trainer: NoisyTrainer, rows: Dataset) -> Probabilities:
    """Probabilities in the order of the rows, which `Trainer.predict` shuffles under `group_by_length`."""

    def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
        return [logits_by_branch(trainer.model(**inputs))]

    collator = cast(Collator, trainer.data_collator)
    (logits,) = outputs_in_training(trainer.model, rows, forward, trainer.args, collator)
    return np.asarray(softmax(logits[0], axis=-1))


def _check(arguments: DyGenArguments, training: TrainingArguments) -> None:
    if arguments.export == "distilled" and training.world_size > 1:
        raise ValueError("--export distilled trains in one process; leave it out here and call distill() afterwards")
    if checkpoint_word(training) not in (None, "true"):
        raise ValueError("--resume_from_checkpoint is true or false: each training has last checkpoints of its own")


def _label_accuracy(given: np.ndarray, posterior: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """How many training labels with a known true one are right, as given and as proposed."""
    names = ("noise_rate_true", "train_label_accuracy_before", "train_label_accuracy_after")
    if not len(truth):
        return dict.fromkeys(names)
    before, after = float((given == truth).mean()), float((posterior.argmax(1) == truth).mean())
    return dict(zip(names, (1 - before, before, after), strict=True))


def _write_posterior(
    folder: Path, posterior: np.ndarray, test_posterior: np.ndarray, rows: Dataset, suspects: np.ndarray
) -> str:
    """Write the posterior of every row, whose checksum is returned, and the suspected rows with a proposal."""
    with replacing(folder / _POSTERIOR) as file:
        digest = write_tensors(file, {"train": posterior, "test": test_posterior})
    write_suspects(folder / "suspects.csv", rows, posterior, suspects)
    return digest


def write_suspects(path: Path, rows: Dataset, posterior: np.ndarray, suspects: np.ndarray) -> None:
    """The suspected rows for which another label is proposed, with the names of the classes."""
    given, proposed, names = column_array(rows, LABEL), posterior.argmax(1), rows.features[LABEL].names
    chosen = np.flatnonzero(suspects & (proposed != given))
    columns, some = text_columns(rows.column_names), rows.select(chosen).with_format(None)
    contents = zip(*(some[name][:] for name in (_SOURCE_ROW, *columns)), strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", *columns, "label", "proposed_label", "probability"])
        for row, content in zip(chosen, contents, strict=True):
            cells = [*content, names[given[row]], names[proposed[row]], posterior[row].max()]
            writer.writerow(map(safe_cell, cells))


@phase("export")
def _export(
    arguments: DyGenArguments,
    training: TrainingArguments,
    output_dir: Path,
    trainer: NoisyTrainer,
    posterior: np.ndarray,
    rows: Dataset,
    inputs: TextInputs,
) -> None:
    """A model for new rows: the posterior itself, or an ordinary classifier trained on it."""
    folder = output_dir / arguments.export
    if arguments.export == "exact":
        cast(DyGenMethod, trainer.method).exact_network(trainer.model).save_pretrained(folder)
        inputs.processor.save_pretrained(folder)
    if arguments.export == "distilled":
        training.output_dir = str(folder)
        distill(posterior, fast_attention(inputs.make_model(), training), rows, training, inputs.processor)
