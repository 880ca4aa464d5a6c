"""Every method against cross-entropy on real images, three seeds: benchmarks/results/robust_<dataset>.json.

    python benchmarks/robust_images.py --dataset digits --workers 2
    HF_NOISY_DATA_DIR=... python benchmarks/robust_images.py --dataset cifar10 --bf16 true --workers 2

Every cell is one run of examples/train_robust_image.py with the same rows, epochs, learning rate and network for all
methods, and the arguments of METHOD_ARGS where a method does not run with its defaults. Finished cells are kept, so that
a second call goes on where the first one stopped.
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
        "arguments": ["--num_train_epochs", "30", "--learning_rate", "0.05"],
        "settings": {"clean": [], **{f"symmetric {rate} %": ["--noise_type", "symmetric", "--noise_rate", str(rate / 100)]
                                     for rate in (20, 40, 60)}},
    },
    "cifar10": {
        "arguments": ["--num_train_epochs", "25", "--learning_rate", "0.2", "--max_train_samples", "10000",
                      "--max_test_samples", "4000"],
        "settings": {
            "clean": [],
            "symmetric 40 %": ["--noise_type", "symmetric", "--noise_rate", "0.4"],
            "asymmetric 40 %": ["--noise_type", "asymmetric", "--noise_rate", "0.4"],
            "human (worse)": ["--noise_type", "worse"],
        },
    },
}  # fmt: skip
SHARED = ["--weight_decay", "5e-4", "--lr_scheduler_type", "cosine", "--save_strategy", "no",
          "--per_device_train_batch_size", "256", "--augmentation", "none", "--second_view", "auto", "--momentum", "0.9",
          "--nesterov", "true", "--per_device_eval_batch_size", "500", "--max_watched_samples", "0",
          "--disable_tqdm", "true"]  # fmt: skip
# Table 5 of NRD copies its learning rates from GJS, whose loss is scaled: with few epochs that matters.
METHOD_ARGS = {"nrd": ["scale=true"]}


@dataclass
class Arguments:
    dataset: str = field(default="digits", metadata={"help": "digits or cifar10", "choices": list(DATASETS)})
    methods: list[str] = field(default_factory=lambda: list(list_methods()), metadata={"help": "cross_entropy is added"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and network"})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 autocast"})
    workers: int = field(default=1, metadata={"help": "cells at a time, one thread each"})
    work_dir: str = field(default="output/robust", metadata={"help": "where the runs leave their files"})
    output: str | None = field(default=None, metadata={"help": "default: benchmarks/results/robust_<dataset>.json"})


def cell_folder(arguments: Arguments, setting: str, method: str, seed: int) -> Path:
    name = "".join(letter if letter.isalnum() else "_" for letter in setting)
    return Path(arguments.work_dir) / arguments.dataset / name / method / str(seed)


def run(cell: tuple[str, str, int], arguments: Arguments) -> dict:
    setting, method, seed = cell
    folder = cell_folder(arguments, setting, method, seed)
    finished = folder / "results.json"
    if not finished.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shared = DATASETS[arguments.dataset]
        words = ["--dataset", arguments.dataset, "--method", method, "--output_dir", str(folder), "--seed", str(seed),
                 "--noise_seed", str(seed), "--bf16", str(arguments.bf16), "--use_cpu",
                 str(not torch.cuda.is_available()), *SHARED, *shared["arguments"],
                 *shared["settings"][setting]]  # fmt: skip
        words += ["--method_args", *METHOD_ARGS[method]] if method in METHOD_ARGS else []
        sys.argv = [str(EXAMPLE), *words]
        with open(folder / "log.txt", "w") as log, redirect_stdout(log), redirect_stderr(log):
            runpy.run_path(str(EXAMPLE), run_name="__main__")
    return json.loads(finished.read_text())


def start_worker() -> None:
    torch.set_num_threads(1)


def summary(results: list[dict]) -> dict:
    columns = {name: [result[name] for result in results] for name in FIGURES}
    means = {name: round(float(np.mean(values)), 4) for name, values in columns.items()}
    deviations = {name: round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None
                  for name, values in columns.items()}  # fmt: skip
    networks = {name: [result["test_accuracy_of_others"][name] for result in results]
                for name in results[0]["test_accuracy_of_others"]}  # fmt: skip
    return {"mean": means, "deviation": deviations, "seeds": columns, "networks": networks,
            "noise_rate": [result["noise_rate"] for result in results]}  # fmt: skip


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    methods = ["cross_entropy", *(name for name in arguments.methods if name != "cross_entropy")]
    settings = DATASETS[arguments.dataset]["settings"]
    # Required methods first, so that an interrupted benchmark has what matters most.
    methods.sort(key=lambda name: name not in ("cross_entropy", *REQUIRED))
    cells = [(setting, method, seed) for method in methods for seed in arguments.seeds for setting in settings]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context, initializer=start_worker) as pool:
        futures = [pool.submit(run, cell, arguments) for cell in cells]
        done = dict(zip(cells, (future.result() for future in tqdm(futures, desc="cells")), strict=True))
    rows = {setting: {method: summary([done[setting, method, seed] for seed in arguments.seeds]) for method in methods}
            for setting in settings}  # fmt: skip
    first = next(iter(done.values()))
    result = {"command": " ".join(["python benchmarks/robust_images.py", *sys.argv[1:]]),
              "arguments": {name: value for name, value in vars(arguments).items() if name != "output"},
              "cell_arguments": SHARED + DATASETS[arguments.dataset]["arguments"], "method_args": METHOD_ARGS,
              "protocol": first["selected_by"], "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
              "versions": first["versions"], "rows": rows}  # fmt: skip
    output = Path(arguments.output or RESULTS / f"robust_{arguments.dataset}.json")
    output.with_suffix(".tmp").write_text(json.dumps(result, indent=1))
    output.with_suffix(".tmp").replace(output)
    print(f"\n{'test accuracy, last epoch':26}" + "".join(f"{setting:>18}" for setting in settings))
    for method in methods:
        print(f"{method:26}" + "".join(f"{rows[setting][method]['mean']['test_accuracy_last']:18.4f}" for setting in settings))


if __name__ == "__main__":
    main()
