"""Every method against cross-entropy on real images, three seeds: benchmarks/results/robust_<dataset>.json.

    python benchmarks/robust_images.py --dataset digits --workers 2
    HF_NOISY_DATA_DIR=... python benchmarks/robust_images.py --dataset cifar10 --bf16 true --workers 2

Every cell is one run of examples/train_robust_image.py with the same rows, epochs, learning rate and network for all
methods, and the arguments of METHOD_ARGS where a method does not run with its defaults. Cells that stand in the result
file are not run again: a second call goes on where the first one stopped, or adds methods, settings, seeds. The file
is written after every cell.
"""

import itertools
import json
import multiprocessing
import os
import platform
import runpy
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
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
DETAILS = ("seed", "noise_rate", "test_accuracy_of_others", "selected_by", "versions")
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


def run(cell: tuple[str, str, int], arguments: Arguments) -> dict:
    folder, words = cell_folder(arguments, *cell), words_of(*cell, arguments)
    told = folder / "words.json"
    if (folder / "results.json").is_file() and json.loads(told.read_text()) != words:
        raise SystemExit(f"{folder} holds a run with other arguments; name another --work_dir")
    if not (folder / "results.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        told.write_text(json.dumps(words))
        sys.argv = [str(EXAMPLE), "--output_dir", str(folder), *words]
        with open(folder / "log.txt", "w") as log, redirect_stdout(log), redirect_stderr(log):
            runpy.run_path(str(EXAMPLE), run_name="__main__")
    result = json.loads((folder / "results.json").read_text())
    return {name: result[name] for name in (*FIGURES, *DETAILS)}


def known_cells(output: Path, header: dict) -> dict[tuple[str, str, int], dict]:
    """Cells of the result file, by setting, method and seed; refused if they were run with other arguments."""
    if not output.is_file():
        return {}
    earlier = json.loads(output.read_text())
    for name in ("cell_arguments", "method_args"):
        if earlier[name] != header[name]:
            raise SystemExit(f"{output} holds cells with other {name}; name another --output")
    cells = {}
    for setting, methods in earlier["rows"].items():
        for method, column in methods.items():
            for place, seed in enumerate(column["seed"]):
                others = {network: values[place] for network, values in column["networks"].items()}
                cells[setting, method, seed] = {
                    **{name: column["seeds"][name][place] for name in FIGURES},
                    "seed": seed, "noise_rate": column["noise_rate"][place], "test_accuracy_of_others": others,
                    "selected_by": earlier["protocol"], "versions": earlier["versions"],
                }  # fmt: skip
    return cells


def write(output: Path, header: dict, cells: dict[tuple[str, str, int], dict], settings: Iterable[str]) -> None:
    rows: dict[str, dict] = {}
    for setting in settings:
        for method in dict.fromkeys(["cross_entropy", *REQUIRED, *list_methods()]):
            if done := [cells[cell] for cell in sorted(cells) if cell[:2] == (setting, method)]:
                rows.setdefault(setting, {})[method] = summary(done)
    first = next(iter(cells.values()))
    result = {**header, "protocol": first["selected_by"], "versions": first["versions"], "rows": rows}
    output.with_suffix(".tmp").write_text(json.dumps(result, indent=1))
    output.with_suffix(".tmp").replace(output)


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
    # Required methods first, so that an interrupted benchmark has what matters most.
    methods.sort(key=lambda name: name not in ("cross_entropy", *REQUIRED))
    output = Path(arguments.output or RESULTS / f"robust_{arguments.dataset}.json")
    header = {"command": f"python benchmarks/robust_images.py --dataset {arguments.dataset} --bf16 {arguments.bf16}",
              "cell_arguments": SHARED + DATASETS[arguments.dataset]["arguments"], "method_args": METHOD_ARGS,
              "machine": {"processor": platform.machine(), "cores": os.cpu_count()}}  # fmt: skip
    cells = known_cells(output, header)
    todo = [cell for cell in itertools.product(arguments.settings or known, methods, arguments.seeds)
            if cell not in cells]  # fmt: skip
    todo.sort(key=lambda cell: arguments.seeds.index(cell[2]))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context, initializer=start_worker) as pool:
        futures = {pool.submit(run, cell, arguments): cell for cell in todo}
        for future in tqdm(as_completed(futures), total=len(todo), desc="cells"):
            cells[futures[future]] = future.result()
            write(output, header, cells, known)
    for setting, columns in json.loads(output.read_text())["rows"].items():
        print(f"\n{setting}: test accuracy after the last epoch, mean of seeds")
        for method, column in columns.items():
            print(f"{method:20}{column['mean']['test_accuracy_last']:.4f}  {column['seeds']['test_accuracy_last']}")


if __name__ == "__main__":
    main()
