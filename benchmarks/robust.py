"""Every method on real images, each cell a run of `hf-noisy train` (suites `robust-digits` and `robust-cifar10`)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pools import digest_of
from benchmarks.suites import Cell
from hf_noisy import load_noisy_dataset
from hf_noisy.cli.train import ImageArguments, parse, train
from hf_noisy.methods import list_methods

# The most important methods first, in case a run is interrupted.
METHODS = list(dict.fromkeys(["cross_entropy", "dal", "nrd", "nct", *list_methods()]))
# Table 5 of NRD copies its learning rates from GJS, whose loss is scaled: with few epochs that matters.
METHOD_ARGS = {"nrd": ["scale=true"]}
FIGURES = (
    *("test_accuracy_last", "test_accuracy_best", "test_accuracy_of_others", "test_ece_last"),
    *("noise_rate", "selected_by"),
)


def folder_of(cell: Cell, context: Any) -> Path:
    """Output folder of a cell."""
    name = "".join(letter if letter.isalnum() else "_" for letter in cell.setting.name)
    folder: Path = context.work_dir / "runs" / context.suite.name / name / cell.method / str(cell.seed)
    folder.parent.mkdir(parents=True, exist_ok=True)  # the commands make the folder itself
    return folder


def words_of(cell: Cell, context: Any) -> list[str]:
    """The command line of a cell."""
    budget, setting = context.budget, cell.setting
    options = {
        "dataset": setting.dataset,
        "noise_type": setting.noise_type,
        "noise_rate": setting.noise_rate,
        "seed": cell.seed,
        "noise_seed": cell.seed,
        "num_train_epochs": budget.epochs,
        "learning_rate": budget.learning_rate,
        "per_device_train_batch_size": budget.batch_size,
        "weight_decay": budget.weight_decay or None,
        "max_train_samples": budget.rows_of(setting.dataset),
        "max_test_samples": budget.test_rows,
        "max_length": budget.max_length,
        "bf16": False,
        "train_sampling_strategy": "random",
        **budget.options_of(setting.dataset),
        "output_dir": folder_of(cell, context),
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
    }
    return [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]


def dataset_of(cell: Cell) -> Any:
    """The data set with the given labels of a cell."""
    noise = {"noise_type": cell.setting.noise_type, "noise_rate": cell.setting.noise_rate, "noise_seed": cell.seed}
    return load_noisy_dataset(cell.setting.dataset, **noise)


def labels_digest(data: Any) -> str:
    """Digest of given and true labels of all training and test rows."""
    columns = [data[split][name] for split in ("train", "test") for name in ("label", "clean_label")]
    return digest_of(*(np.array(column[:]) for column in columns))


def run(cell: Cell, context: Any) -> dict[str, Any]:
    words, method_args = words_of(cell, context), METHOD_ARGS.get(cell.method, [])
    words += ["--method", cell.method, *(["--method_args", *method_args] if method_args else [])]
    result = train(*parse(ImageArguments, words))
    figures = {name: result[name] for name in FIGURES}
    return figures | {"method_args": method_args, "data": labels_digest(dataset_of(cell))}
