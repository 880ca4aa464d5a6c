"""Cost of recording an epoch, in evaluation passes over the same rows: recorder_cost.json.

    HF_NOISY_DATA_DIR=... python -m benchmarks.cost.recorder_cost

Times `DynamicsRecorder` at the end of an epoch (forward passes, gathering, files) against `Trainer.evaluate` on the
same rows with the same `per_device_eval_batch_size`: in the given order, as `Trainer` evaluates, and sorted by length,
a stricter baseline with as little padding as the recorder. All three run in turn, in every possible order; results are
medians of the ratios within a turn.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PrinterCallback, TrainerControl, TrainerState

from benchmarks.cost import harness
from hf_noisy import BranchedModel, CoRegularization, DynamicsRecorder, NoisyTrainer, load_noisy_dataset


@dataclass
class Arguments(harness.Arguments):
    dataset: str = harness.option("trec", "named dataset, file or Hub id")
    rows: int = harness.option(500, "rows recorded and evaluated")
    num_branches: int = harness.option(2, "full branches")
    batch_size: int = harness.option(64, "per_device_eval_batch_size of both")
    max_length: int = harness.option(128, "tokens a text")
    turns: int = harness.option(6, "turns of all three after the one that warms up")
    seed: int = harness.option(0, "of the rows and of the heads")


def sides(arguments: Arguments, folder: str) -> dict[str, Callable[[], object]]:
    tokenizer = harness.tokenizer()
    data = load_noisy_dataset(arguments.dataset)["train"].shuffle(seed=arguments.seed).select(range(arguments.rows))
    rows = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=arguments.max_length))
    rows = rows.flatten_indices()
    torch.manual_seed(arguments.seed)
    model = harness.classifier(rows.features["label"].num_classes)
    training = harness.training_arguments(folder, per_device_eval_batch_size=arguments.batch_size)
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
    order = np.argsort([len(ids) for ids in rows["input_ids"]], kind="stable")
    by_length = rows.select(order).flatten_indices()  # stored in this order, so reading is as fast as before
    return {
        "recorder": lambda: recorder.on_epoch_end(training, state, control, **context),
        "evaluate": lambda: trainer.evaluate(rows),
        "evaluate sorted by length": lambda: trainer.evaluate(by_length),
    }


def measure(arguments: Arguments, report: harness.Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = harness.in_turn(sides(arguments, folder), arguments.turns)
    report["limit"] = 1.2  # evaluation passes per epoch
    report["recorder_over"] = {
        clock: {base: harness.ratio(runs, "recorder", base, clock) for base in runs[0] if base != "recorder"}
        for clock in ("cpu", "wall")
    }
    report["turns"] = runs
    print(json.dumps(report["recorder_over"], indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "datasets", "accelerate")
