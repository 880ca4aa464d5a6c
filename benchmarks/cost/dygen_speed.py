"""DyGEN end to end, ours against a straightforward implementation of the paper: dygen_speed.json.

    HF_NOISY_DATA_DIR=... python -m benchmarks.cost.dygen_speed --workers 3

The straightforward side is benchmarks/cost/straightforward_dygen.py, ours is what examples/run_dygen.py does:
`NoisyTrainer` with a `DynamicsRecorder` on training and test rows, `DyGen.fit`, `DyGen.posterior`. Both begin with the
same branches and see the same rows, epochs, batch size, learning rate and longest text, in float32 on one thread. Ours
is run with batches of random rows, as `Trainer` draws them, and with `train_sampling_strategy="group_by_length"`. Its
sampler sorts within a quarter of the rows at most and so does nothing for fewer than eight batches. A run of each side
a seed makes a pair. The time of the whole data set and of ten epochs is computed from that of the phases: training and
embedding grow with rows and epochs, everything else with rows.
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

PLAIN = "straightforward"
SIDES = {"ours": "random", "ours, grouped by length": "group_by_length"}
WHOLE_EPOCHS = 10  # of the paper


@dataclass
class Arguments(harness.Arguments):
    dataset: str = harness.option("trec", "with train, validation and test rows")
    seeds: list[int] = harness.option([0, 1, 2], "a run of each side for each")
    rows: int = harness.option(400, "training rows, drawn by seed")
    validation_rows: int = harness.option(52, "which the straightforward side embeds too")
    test_rows: int = harness.option(64, "drawn by seed")
    epochs: int = harness.option(1, "of stage I")
    batch_size: int = harness.option(16, "rows")
    learning_rate: float = harness.option(3e-4, "of stage I")
    num_branches: int = harness.option(2, "full branches")
    max_length: int = harness.option(64, "tokens: what texts are padded to, or cut at")
    workers: int = harness.option(1, "runs at a time, one thread each")


class ClockedRecorder(DynamicsRecorder):
    """The recorder, with its time noted apart from that of training."""

    clock: harness.Clock
    phase = "features"

    def end_epoch(self, *args, **kwargs) -> None:
        self.phase = "embedding"
        super().end_epoch(*args, **kwargs)

    def _outputs(self, *args):
        datasets = self.datasets
        for name, rows in datasets.items():
            self.datasets = {name: rows}
            with self.clock(f"{self.phase}, {name}"):  # the files that our recorder writes are in it
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
        method = CoRegularization(agreement_weight=settings.agreement, warmup_ratio=settings.warmup)
        trainer = NoisyTrainer(
            model, args, train_dataset=rows["train"], processing_class=tokenizer, method=method, callbacks=[recorder]
        )
        with clock("training"):
            trainer.train()
        assert any(phase.startswith("embedding, ") for phase in clock.seconds["cpu"])  # or training contains it
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


def drawn(dataset, rows: int, seed: int):
    return dataset.select(np.sort(np.random.default_rng(seed).permutation(len(dataset))[:rows]))


def run(arguments: Arguments) -> dict:
    """One side with one seed, in this process."""
    side, _, number = arguments.part.rpartition(":")
    seed = int(number)
    data = load_noisy_dataset(arguments.dataset)
    limits = {"train": arguments.rows, "validation": arguments.validation_rows, "test": arguments.test_rows}
    splits = {name: drawn(data[name], rows, seed) for name, rows in limits.items()}
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
    """What the phases take with all rows and ten epochs."""
    result = {}
    for phase, spent in seconds.items():
        split = phase.split(", ")[-1] if ", " in phase else "test" if phase == "posterior" else "train"
        each = WHOLE_EPOCHS / epochs if phase.split(", ")[0] in ("training", "embedding") else 1.0
        result[phase] = spent * rows[split][1] / rows[split][0] * each
    return result


def compared(pairs: dict[str, dict]) -> dict:
    """Ratios of paired runs: the straightforward side over each of ours, by kind of total and clock."""

    def total(run: dict, kind: str, clock: str) -> float:
        return sum(run[kind][clock].values())

    def ratios(side: str, kind: str, clock: str) -> list[float]:
        return [total(pair[PLAIN], kind, clock) / total(pair[side], kind, clock) for pair in pairs.values()]

    kinds, clocks = ("seconds", "whole"), ("cpu", "wall")
    return {
        side: {kind: {clock: harness.spread(ratios(side, kind, clock)) for clock in clocks} for kind in kinds}
        for side in SIDES
    }


def child(side: str, seed: int, arguments: Arguments) -> dict:
    options = {name: value for name, value in harness.own_options(arguments).items() if name != "seeds"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    result = harness.child(__file__, "--part", f"{side}:{seed}", *words, MKL_NUM_THREADS="1")
    print(seed, side, {p: round(s, 1) for p, s in result["seconds"]["cpu"].items()}, result["accuracy"], flush=True)
    return result


def measure(arguments: Arguments, report: harness.Report) -> None:
    names, runs = [PLAIN, *SIDES], {}
    # The load of the machine changes over time, so the order rotates with the seed.
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
