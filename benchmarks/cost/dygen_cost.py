"""DyGEN end to end against plain fine-tuning with `Trainer`, in time and accuracy: dygen_cost.json.

    HF_NOISY_DATA_DIR=... python -m benchmarks.cost.dygen_cost

Every side is a process of its own on one thread: reading and tokenizing the texts, training, and the predictions of
the test rows. Plain fine-tuning is `Trainer` as most people run it, in float32 with rows in random order. DyGEN is
`run_dygen` without its plain classifier: with its defaults, with the precision and order of the plain side, and with
adapters above shared layers. Sides of the same data set and seed run one after another. Time is that of the processor
(user and system) after the imports. True labels of the training rows are not used. Runs already in the result file are
skipped.
"""

import contextlib
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import DataCollatorWithPadding, Trainer, set_seed

from benchmarks.cost import harness
from hf_noisy.cli.fast_defaults import fast_attention
from hf_noisy.cli.inputs import TextInputs, load_splits
from hf_noisy.cli.run_dygen import DyGenArguments, parse, run_dygen

PLAIN = "plain"
AS_PLAIN = ("--bf16", "false", "--train_sampling_strategy", "random")
SHARED = ("--branches", "lora", "--shared_layers", "4")
SIDES = {
    PLAIN: AS_PLAIN,
    "DyGEN, float32, random": AS_PLAIN,
    "DyGEN, defaults": (),
    "DyGEN, LoRA and shared layers": SHARED,
}


@dataclass
class Arguments(harness.Arguments):
    datasets: list[str] = harness.option(["trec", "semeval", "noisyag_news"], "named data sets with true test labels")
    seeds: list[int] = harness.option([0, 1, 2], "one run of each side per data set and seed")
    sides: list[str] = harness.option(list(SIDES), "of SIDES")
    rows: int = harness.option(1000, "training rows, drawn by seed")
    test_rows: int = harness.option(500, "test rows, drawn by seed")
    epochs: int = harness.option(3, "of both")
    max_length: int = harness.option(128, "tokens of a text")


def words_of(arguments: Arguments, folder: str) -> list[str]:
    """The command line of a side; batch size and learning rate are the defaults of the command."""
    (dataset,), (seed,) = arguments.datasets, arguments.seeds
    options = {
        "dataset": dataset,
        "seed": seed,
        "max_train_samples": arguments.rows,
        "max_test_samples": arguments.test_rows,
        "num_train_epochs": arguments.epochs,
        "max_length": arguments.max_length,
        "output_dir": Path(folder, "output"),
        "compare": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)] + [*SIDES[arguments.part]]


def plain(words: list[str]) -> float:
    """Test accuracy of a fine-tuning with `Trainer`."""
    arguments, training = parse(DyGenArguments, words)
    inputs = TextInputs(arguments)
    train_rows, test_rows, _ = load_splits(arguments, training, inputs.prepare)
    set_seed(training.seed)
    collator = DataCollatorWithPadding(inputs.processor)
    model = fast_attention(inputs.make_model(), training)
    trainer = Trainer(model, training, train_dataset=train_rows, data_collator=collator)
    trainer.train()
    predicted = trainer.predict(test_rows).predictions.argmax(-1)
    return float((predicted == np.array(test_rows["clean_label"])).mean())


def run(arguments: Arguments) -> dict:
    """One side on one data set with one seed, in this process."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        start, wall = time.process_time(), time.perf_counter()
        words = words_of(arguments, folder)
        if arguments.part == PLAIN:
            found: dict = {"accuracy": {"plain": plain(words)}}
        else:
            result = run_dygen(*parse(DyGenArguments, words))
            names = {"stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
            found = {"accuracy": {name: result[f"test_accuracy{key}"] for name, key in names.items()}}
            found |= {name: result[name] for name in ("training", "branch_learning_rate", "phases")}
        found["cpu"], found["wall"] = time.process_time() - start, time.perf_counter() - wall
        found["cpu_with_imports"] = time.process_time()
    return found


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["sides"] = {name: " ".join(words) for name, words in SIDES.items()}
    report["runs"] = report.earlier().get("runs", {})
    for dataset in arguments.datasets:
        for seed in arguments.seeds:
            done = report["runs"].setdefault(dataset, {}).setdefault(str(seed), {})
            for side in arguments.sides:
                if side not in done:
                    done[side] = harness.child(__file__, arguments, side, datasets=[dataset], seeds=[seed])
                    print(dataset, seed, side, round(done[side]["cpu"], 1), done[side]["accuracy"], flush=True)
                    report.save()


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "accelerate", "peft", part=run)
