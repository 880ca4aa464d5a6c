"""DyGEN end to end, ours against a straightforward implementation of the paper: dygen_speed.json.

    HF_NOISY_DATA_DIR=... python -m benchmarks.cost.dygen_speed --workers 3

The baseline is benchmarks/cost/straightforward_dygen.py; ours is what examples/run_dygen.py does: `NoisyTrainer` with
a `DynamicsRecorder` on training and test rows, `DyGen.fit`, `DyGen.posterior`. Both use the same initial branches,
rows, epochs, batch size, learning rate and maximum length, in float32 on one thread. Ours runs with random batches,
the default of `Trainer`, and with `train_sampling_strategy="group_by_length"`, which has no effect below eight
batches. One run of each side per seed makes a pair. The time for the whole dataset and ten epochs is extrapolated by
phase: training and embedding grow with rows and epochs, everything else with rows.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from transformers import set_seed

from benchmarks.cost import harness
from benchmarks.cost.straightforward_dygen import Settings, dygen, encode
from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.cli.inputs import random_rows

PLAIN = "straightforward"
SIDES = {"ours": "random", "ours, grouped by length": "group_by_length"}
WHOLE_EPOCHS = 10  # of the paper


@dataclass
class Arguments(harness.Arguments):
    dataset: str = harness.option("trec", "with train, validation and test rows")
    seeds: list[int] = harness.option([0, 1, 2], "one run of each side per seed")
    rows: int = harness.option(400, "training rows, drawn by seed")
    validation_rows: int = harness.option(52, "drawn by seed; only the baseline embeds them")
    test_rows: int = harness.option(64, "drawn by seed")
    epochs: int = harness.option(1, "of stage I")
    batch_size: int = harness.option(16, "rows")
    learning_rate: float = harness.option(3e-4, "of stage I")
    num_branches: int = harness.option(2, "full branches")
    max_length: int = harness.option(64, "tokens: texts are truncated, and padded by the baseline")
    workers: int = harness.option(1, "parallel runs, one thread each")


class ClockedRecorder(DynamicsRecorder):
    """A recorder whose time is measured separately from that of training."""

    clock: harness.Clock
    phase = "features"

    def end_epoch(self, *args, **kwargs) -> None:
        self.phase = "embedding"
        super().end_epoch(*args, **kwargs)

    def _outputs(self, *args):
        datasets = self.datasets
        for name, rows in datasets.items():
            self.datasets = {name: rows}
            with self.clock(f"{self.phase}, {name}"):  # includes writing the files
                yield from super()._outputs(*args)
        self.datasets = datasets


def ours(model, tokenizer, splits, strategy: str, settings: Settings, clock: harness.Clock) -> dict[str, np.ndarray]:
    with clock("tokenizing"):
        tokenize = lambda batch: tokenizer(batch["text"], truncation=True, max_length=settings.max_length)  # noqa: E731
        rows = {name: splits[name].map(tokenize, batched=True, keep_in_memory=True) for name in ("train", "test")}
    with tempfile.TemporaryDirectory() as folder:
        args = harness.training_arguments(
            folder,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            train_sampling_strategy=strategy,
            use_cpu=True,
        )
        recorder = ClockedRecorder(rows)
        recorder.clock = clock
        method = CoRegularization(agreement_weight=settings.agreement, warmup_ratio=settings.warmup_ratio)
        trainer = NoisyTrainer(
            model, args, train_dataset=rows["train"], processing_class=tokenizer, method=method, callbacks=[recorder]
        )
        with clock("training"):
            trainer.train()
        assert any(phase.startswith("embedding, ") for phase in clock.seconds["cpu"])  # else training includes it
        for spent in clock.seconds.values():
            spent["training"] -= sum(seconds for phase, seconds in spent.items() if ", " in phase)
        given = np.array(rows["train"]["label"])
        with clock("prior and VAE"):
            fitted = DyGen.fit(
                recorder.trajectories, given, vae_epochs=settings.iterations, seed=settings.seed, show_progress=False
            )
        with clock("posterior"):
            final = fitted.posterior("test")
        mean = torch.from_numpy(recorder.trajectories.logits("test")[-1]).softmax(-1).mean(0)
    return {"stage I": mean.numpy(), "DyGEN": final}


def straightforward(model, tokenizer, splits, settings: Settings, clock: harness.Clock) -> dict[str, np.ndarray]:
    with clock("tokenizing"):
        rows = {
            name: encode(tokenizer, list(split["text"]), list(split["label"]), settings.max_length)
            for name, split in splits.items()
        }
    # The published code is given the true rate; ours estimates it.
    noise_rate = float(np.mean(np.array(splits["train"]["label"]) != np.array(splits["train"]["clean_label"])))
    return dygen(list(model.branches), rows, noise_rate, settings, clock)


def run(arguments: Arguments) -> dict:
    """One side with one seed, in this process."""
    side, (seed,) = arguments.part, arguments.seeds
    data = load_noisy_dataset(arguments.dataset)
    limits = {"train": arguments.rows, "validation": arguments.validation_rows, "test": arguments.test_rows}
    splits = {name: random_rows(data[name], rows, seed) for name, rows in limits.items()}
    classes = data["train"].features["label"].num_classes
    settings = Settings(
        classes, arguments.epochs, arguments.batch_size, arguments.learning_rate, arguments.max_length, seed=seed
    )
    tokenizer = harness.tokenizer()
    set_seed(seed)
    model = BranchedModel.from_model(harness.classifier(classes), arguments.num_branches, seed=seed)
    clock = harness.Clock()
    if side == PLAIN:
        predictions = straightforward(model, tokenizer, splits, settings, clock)
    else:
        predictions = ours(model, tokenizer, splits, SIDES[side], settings, clock)
    truth = np.array(splits["test"]["clean_label"])  # used here, and for the rate given to the other side
    rows = {name: [len(split), len(data[name])] for name, split in splits.items()}
    return {
        "accuracy": {name: float((values.argmax(1) == truth).mean()) for name, values in predictions.items()},
        "seconds": clock.seconds,
        "whole": {name: whole(spent, rows, arguments.epochs) for name, spent in clock.seconds.items()},
    }


def whole(seconds: dict[str, float], rows: dict[str, list[int]], epochs: int) -> dict[str, float]:
    """Seconds of the phases extrapolated to all rows and ten epochs."""
    result = {}
    for phase, spent in seconds.items():
        split = phase.split(", ")[-1] if ", " in phase else "test" if phase == "posterior" else "train"
        each = WHOLE_EPOCHS / epochs if phase.split(", ")[0] in ("training", "embedding") else 1.0
        result[phase] = spent * rows[split][1] / rows[split][0] * each
    return result


def compared(pairs: dict[str, dict]) -> dict:
    """Ratios of paired runs: the baseline over each of ours, by kind of total and clock."""

    def ratio(side: str, kind: str, clock: str) -> dict[str, float]:
        totals = [[sum(pair[of][kind][clock].values()) for of in (PLAIN, side)] for pair in pairs.values()]
        return harness.spread([plain / own for plain, own in totals])

    kinds, clocks = ("seconds", "whole"), ("cpu", "wall")
    return {side: {kind: {clock: ratio(side, kind, clock) for clock in clocks} for kind in kinds} for side in SIDES}


def child(side: str, seed: int, arguments: Arguments) -> dict:
    result = harness.child(__file__, arguments, side, {"MKL_NUM_THREADS": "1"}, seeds=[seed])
    print(seed, side, {p: round(s, 1) for p, s in result["seconds"]["cpu"].items()}, result["accuracy"], flush=True)
    return result


def measure(arguments: Arguments, report: harness.Report) -> None:
    names, runs = [PLAIN, *SIDES], {}
    # The order rotates with the seed, because the load of the machine changes over time.
    cells = [(side, seed) for seed in arguments.seeds for side in names[seed % 3 :] + names[: seed % 3]]
    report["whole_epochs"] = WHOLE_EPOCHS
    with ThreadPoolExecutor(arguments.workers) as pool:
        for (side, seed), result in zip(cells, pool.map(lambda cell: child(*cell, arguments), cells), strict=True):
            runs.setdefault(str(seed), {})[side] = result
            if len(runs[str(seed)]) == len(names):  # written after each pair
                pairs = {of: pair for of, pair in runs.items() if len(pair) == len(names)}
                report |= {"ratio": compared(pairs), "runs": pairs}
                report.save()


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "accelerate", "scikit-learn", part=run)
