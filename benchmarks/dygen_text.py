"""DyGEN against cross-entropy and stage I on text, three seeds: writes benchmarks/results/dygen_text.json.

    HF_NOISY_DATA_DIR=... python benchmarks/dygen_text.py --workers 2 --bf16

Every cell is one run of examples/run_dygen.py, with the same budget for all columns. Finished cells are kept, so that
a second call goes on where the first one stopped.
"""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import HfArgumentParser

EXAMPLE = Path(__file__).parent.parent / "examples" / "run_dygen.py"
RESULTS = Path(__file__).parent / "results"
COLUMNS = ["test_accuracy_ce", "test_accuracy_stage1", "test_accuracy_prior", "test_accuracy"]
OTHERS = ["test_ece_ce", "test_ece_stage1", "test_ece", "train_label_accuracy_before", "train_label_accuracy_after",
          "noise_rate_true", "noise_rate_estimated"]  # fmt: skip
SETTINGS = {
    # Rules are slow to tell apart: the branches need more passes than elsewhere, and cross-entropy gets them too.
    "trec": ["--dataset", "trec", "--max_train_samples", "1000", "--num_train_epochs", "8", "--learning_rate", "1e-4"],
    "semeval": ["--dataset", "semeval", "--max_train_samples", "1000"],
    "noisyag_news": ["--dataset", "noisyag_news", "--max_train_samples", "1000"],
    "20news asymmetric 40 %": ["--dataset", "20news", "--max_train_samples", "1000",
                               "--noise_type", "asymmetric", "--noise_rate", "0.4"],
    "20news symmetric 40 %": ["--dataset", "20news", "--max_train_samples", "1000",
                              "--noise_type", "symmetric", "--noise_rate", "0.4"],
}  # fmt: skip


@dataclass
class Arguments:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "one column of cells each"})
    num_train_epochs: int = field(default=5, metadata={"help": "of CE and stage I alike, unless the setting says"})
    learning_rate: float = field(default=2e-4, metadata={"help": "likewise"})
    max_length: int = field(default=40, metadata={"help": "tokens a text"})
    max_test_samples: int = field(default=400, metadata={"help": "test rows, drawn by seed"})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 autocast, faster where the CPU knows it"})
    workers: int = field(default=1, metadata={"help": "cells at a time, one thread each"})
    work_dir: str = field(default="output/dygen_text", metadata={"help": "where the runs leave their files"})
    output: str = field(default=str(RESULTS / "dygen_text.json"), metadata={"help": "result file"})


def cell_folder(work_dir: str, name: str, seed: int) -> Path:
    return Path(work_dir) / name.replace(" ", "_").replace("%", "percent") / str(seed)


def run(name: str, seed: int, arguments: Arguments) -> dict:
    folder = cell_folder(arguments.work_dir, name, seed)
    finished = folder / "dygen_results.json"
    # What the setting does not fix itself must be what was asked for, or the cell belongs to another benchmark.
    if finished.is_file():
        kept = json.loads(finished.read_text())["arguments"]
        if (kept["max_length"], kept["max_test_samples"]) != (arguments.max_length, arguments.max_test_samples):
            raise SystemExit(f"{folder} holds a run with other settings; name another --work_dir")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(EXAMPLE), "--seed", str(seed), "--noise_seed", str(seed),
                   "--output_dir", str(folder), "--num_train_epochs", str(arguments.num_train_epochs),
                   "--learning_rate", str(arguments.learning_rate), "--max_length", str(arguments.max_length),
                   "--max_test_samples", str(arguments.max_test_samples), "--bf16", str(arguments.bf16),
                   "--use_cpu", str(not torch.cuda.is_available()), "--disable_tqdm", "true",
                   *SETTINGS[name]]  # fmt: skip
        with open(folder / "log.txt", "w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(finished.read_text())


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    cells = [(name, seed) for seed in arguments.seeds for name in SETTINGS]
    with ThreadPoolExecutor(arguments.workers) as pool:
        done = list(tqdm(pool.map(lambda cell: run(*cell, arguments), cells), total=len(cells), desc="cells"))
    rows = {}
    for name in SETTINGS:
        of_name = [result for (cell, _), result in zip(cells, done, strict=True) if cell == name]
        columns = {column: [result[column] for result in of_name] for column in [*COLUMNS, *OTHERS]}
        means = {column: round(float(np.mean(values)), 4) for column, values in columns.items()}
        deviations = {column: round(float(np.std(values, ddof=1)), 4) for column, values in columns.items()}
        rows[name] = {"mean": means, "deviation": deviations, "seeds": columns,
                      "epochs": of_name[0]["epochs"], "learning_rate": of_name[0]["learning_rate"],
                      "num_train": of_name[0]["num_train"], "num_test": of_name[0]["num_test"]}  # fmt: skip
    average = {column: round(float(np.mean([row["mean"][column] for row in rows.values()])), 4) for column in COLUMNS}
    settings = {name: value for name, value in vars(arguments).items() if name != "output"}
    result = {"command": " ".join(["python benchmarks/dygen_text.py", *sys.argv[1:]]), "arguments": settings,
              "protocol": done[0]["selected_by"],
              "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
              "versions": done[0]["versions"], "average": average, "rows": rows}  # fmt: skip
    Path(arguments.output).write_text(json.dumps(result, indent=1))
    print(f"\n{'test accuracy, mean of seeds':30}{'CE':>9}{'stage I':>9}{'prior':>9}{'DyGEN':>9}")
    for name, values in [*((name, row["mean"]) for name, row in rows.items()), ("average", average)]:
        print(f"{name:30}" + "".join(f"{values[column]:9.4f}" for column in COLUMNS))


if __name__ == "__main__":
    main()
