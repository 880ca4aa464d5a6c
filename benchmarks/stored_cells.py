"""Trainings ("cells") of a benchmark, each run once: a line of a result file for every finished one."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from transformers import HfArgumentParser
from transformers.utils import logging


@dataclass
class Arguments:
    """What the benchmarks of tokens and of several labels take."""

    data_dir: str | None = field(
        default=os.environ.get("HF_NOISY_DATA_DIR"), metadata={"help": "folder of the data; default HF_NOISY_DATA_DIR"}
    )
    seeds: int = 3
    cache: str = field(default="output/benchmark", metadata={"help": "folder of frozen features"})
    table: bool = field(default=False, metadata={"help": "print the table of finished cells, and run none"})


def stored(results: Path) -> list[dict[str, Any]]:
    """The finished cells."""
    return [json.loads(line) for line in results.read_text("utf-8").splitlines()] if results.is_file() else []


def main(
    results: Path,
    cells: Callable[[int], Iterable[Any]],
    prepare: Callable[[Path, Path], Callable[[Any], dict[str, Any]]],
    table: Callable[[], str],
) -> None:
    """Run the cells that are not in the result file yet.

    `prepare` takes the data folder and the cache, and returns what runs a cell.
    """
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    logging.set_verbosity_error()
    if arguments.table:
        print(table())
        return
    if arguments.data_dir is None:
        raise SystemExit("pass --data_dir, or set HF_NOISY_DATA_DIR")
    torch.set_num_threads(1)
    threadpool_limits(1)
    run = prepare(Path(arguments.data_dir), Path(arguments.cache))
    for cell in cells(arguments.seeds):
        if any(all(row[name] == value for name, value in vars(cell).items()) for row in stored(results)):
            continue
        row = run(cell)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
