"""Every method against cross-entropy on real images, three seeds: benchmarks/results/robust_<dataset>.json.

    python benchmarks/robust_images.py --dataset digits --workers 2
    HF_NOISY_DATA_DIR=... python benchmarks/robust_images.py --dataset cifar10 --bf16 true --workers 2

Every cell is one run of examples/train_robust_image.py with the same rows, epochs, learning rate and network for all
methods, and the arguments of METHOD_ARGS where a method does not run with its defaults. Finished cells are kept, and
the result file holds all of them: a second call goes on where the first one stopped, or adds methods, settings, seeds.
"""

import json
import multiprocessing
import os
import platform
import runpy
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from hf_noisy.methods import list_methods

EXAMPLE = Path(__file__).parent.parent / "examples" / "train_robust_image.py"
RESULTS = Path(__file__).parent / "results"
FIGURES = ("test_accuracy_last", "test_accuracy_best", "test_ece_last")
REQUIRED = ("dal", "nrd", "nct")
# What the cells of a data set share, and its settings of noise. Clean labels: what robustness costs.
DATASETS = {
    "digits": {
        "arguments": ["--num_train_epochs", "20", "--learning_rate", "0.1", "--image_size", "16",
                      "--per_device_train_batch_size", "64"],
        "settings": {
            "clean": [],
            "symmetric 20 %": ["--noise_type", "symmetric", "--noise_rate", "0.2"],
            "symmetric 40 %": ["--noise_type", "symmetric", "--noise_rate", "0.4"],
            "symmetric 60 %": ["--noise_type", "symmetric", "--noise_rate", "0.6"],
        },
    },
    "cifar10": {
        "arguments": ["--num_train_epochs", "25", "--learning_rate", "0.2", "--max_train_samples", "10000",
                      "--max_test_samples", "4000", "--per_device_train_batch_size", "256"],
        "settings": {
            "clean": [],
            "symmetric 40 %": ["--noise_type", "symmetric", "--noise_rate", "0.4"],
            "asymmetric 40 %": ["--noise_type", "asymmetric", "--noise_rate", "0.4"],
            "human (worse)": ["--noise_type", "worse"],
        },
    },
}  # fmt: skip
SHARED = ["--weight_decay", "5e-4", "--lr_scheduler_type", "cosine", "--save_strategy", "no",
          "--augmentation", "none", "--second_view", "auto", "--momentum", "0.9", "--nesterov", "true",
          "--per_device_eval_batch_size", "500", "--max_watched_samples", "0", "--disable_tqdm", "true"]  # fmt: skip
# Table 5 of NRD copies its learning rates from GJS, whose loss is scaled: with few epochs that matters.
METHOD_ARGS = {"nrd": ["scale=true"]}


@dataclass
class Arguments:
    dataset: str = field(default="digits", metadata={"help": "digits or cifar10", "choices": list(DATASETS)})
    methods: list[str] = field(default_factory=lambda: list(list_methods()), metadata={"help": "and cross_entropy"})
    settings: list[str] = field(default_factory=list, metadata={"help": "of the data set; default: all"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and network"})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 autocast"})
    workers: int = field(default=1, metadata={"help": "cells at a time, one thread each"})
    work_dir: str = field(default="output/robust", metadata={"help": "where the runs leave their files"})
    output: str | None = field(default=None, metadata={"help": "default: benchmarks/results/robust_<dataset>.json"})


def cell_folder(arguments: Arguments, setting: str, method: str, seed: int) -> Path:
    name = "".join(letter if letter.isalnum() else "_" for letter in setting)
    return Path(arguments.work_dir) / arguments.dataset / name / method / str(seed)


def words_of(setting: str, method: str, seed: int, arguments: Arguments) -> list[str]:
    """The command line of a cell, but for its folder."""
    shared = DATASETS[arguments.dataset]
    words = ["--dataset", arguments.dataset, "--method", method, "--seed", str(seed), "--noise_seed", str(seed),
             "--bf16", str(arguments.bf16), "--use_cpu", str(not torch.cuda.is_available()), *SHARED,
             *shared["arguments"], *shared["settings"][setting]]  # fmt: skip
    return words + (["--method_args", *METHOD_ARGS[method]] if method in METHOD_ARGS else [])


def run(cell: tuple[str, str, int], arguments: Arguments) -> None:
    folder, words = cell_folder(arguments, *cell), words_of(*cell, arguments)
    told = folder / "words.json"
    if (folder / "results.json").is_file():
        if json.loads(told.read_text()) != words:
            raise SystemExit(f"{folder} holds a run with other arguments; name another --work_dir")
        return
    folder.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(words))
    sys.argv = [str(EXAMPLE), "--output_dir", str(folder), *words]
    with open(folder / "log.txt", "w") as log, redirect_stdout(log), redirect_stderr(log):
        runpy.run_path(str(EXAMPLE), run_name="__main__")


def finished_cells(arguments: Arguments, setting: str, method: str) -> list[dict]:
    folders = cell_folder(arguments, setting, method, 0).parent.glob("*/results.json")
    return [json.loads(path.read_text()) for path in sorted(folders, key=lambda path: int(path.parent.name))]


def start_worker() -> None:
    torch.set_num_threads(1)


def summary(results: list[dict]) -> dict:
    columns = {name: [result[name] for result in results] for name in FIGURES}
    means = {name: round(float(np.mean(values)), 4) for name, values in columns.items()}
    deviations = {name: round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None
                  for name, values in columns.items()}  # fmt: skip
    networks = {name: [result["test_accuracy_of_others"][name] for result in results]
                for name in results[0]["test_accuracy_of_others"]}  # fmt: skip
    return {"mean": means, "deviation": deviations, "seed": [result["seed"] for result in results], "seeds": columns,
            "networks": networks,
            "noise_rate": [result["noise_rate"] for result in results]}  # fmt: skip


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    known = DATASETS[arguments.dataset]["settings"]
    methods = ["cross_entropy", *(name for name in arguments.methods if name != "cross_entropy")]
    # Required methods first, so that an interrupted benchmark has what matters most.
    methods.sort(key=lambda name: name not in ("cross_entropy", *REQUIRED))
    cells = [(setting, method, seed) for seed in arguments.seeds for setting in arguments.settings or known
             for method in methods]  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context, initializer=start_worker) as pool:
        futures = [pool.submit(run, cell, arguments) for cell in cells]
        for future in tqdm(futures, desc="cells"):
            future.result()
    done = {setting: {method: cells for method in ["cross_entropy", *REQUIRED, *list_methods()]
                      if (cells := finished_cells(arguments, setting, method))} for setting in known}  # fmt: skip
    rows = {setting: {method: summary(cells) for method, cells in of_setting.items()}
            for setting, of_setting in done.items() if of_setting}  # fmt: skip
    first = next(iter(done.values()))["cross_entropy"][0]
    result = {"command": f"python benchmarks/robust_images.py --dataset {arguments.dataset} --bf16 {arguments.bf16}",
              "cell_arguments": SHARED + DATASETS[arguments.dataset]["arguments"], "method_args": METHOD_ARGS,
              "protocol": first["selected_by"], "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
              "versions": first["versions"], "rows": rows}  # fmt: skip
    output = Path(arguments.output or RESULTS / f"robust_{arguments.dataset}.json")
    output.with_suffix(".tmp").write_text(json.dumps(result, indent=1))
    output.with_suffix(".tmp").replace(output)
    for setting, columns in rows.items():
        print(f"\n{setting}: test accuracy after the last epoch, mean of seeds")
        for method, column in columns.items():
            print(f"{method:20}{column['mean']['test_accuracy_last']:.4f}  {column['seeds']['test_accuracy_last']}")


if __name__ == "__main__":
    main()
