"""Named entities trained on noisy tags by any method. See docs/tokens.md.

python examples/train_robust_tokens.py --train train.conll --test test.conll --model distilbert-base-cased \\
    --method elr --missing_rate 0.3 --output_dir output
"""

import argparse
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainingArguments

from hf_noisy import NoisyTrainer, load_noisy_dataset
from hf_noisy.core.task import TOKENS
from hf_noisy.data.word_labels import tokenize_and_align_labels
from hf_noisy.methods import METHODS
from hf_noisy.metrics import compute_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="file of tokens and tags: CoNLL, JSON lines or Parquet")
    parser.add_argument("--test", help="the same for evaluation")
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", default="cross_entropy", choices=sorted(METHODS))
    parser.add_argument("--missing_rate", type=float, help="share of entities without a tag")
    parser.add_argument("--output_dir", default="output")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--max_length", type=int, default=256)
    options = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(options.model, add_prefix_space=True, trust_remote_code=False)
    splits = {"train": load_noisy_dataset(options.train)["train"]}
    if options.test:
        splits["test"] = load_noisy_dataset(options.test)["train"]
    names = splits["train"].features["label"].feature.names
    for split, rows in splits.items():
        own = rows.features["label"].feature.names
        if unknown := sorted(set(own) - set(names)):
            raise SystemExit(f"{options.test} has tags that {options.train} has not: {', '.join(unknown)}")
        ids = [names.index(name) for name in own]
        tags = [[ids[tag] if tag >= 0 else -1 for tag in sentence] for sentence in rows["label"]]
        rows = Dataset.from_dict({"tokens": rows["tokens"], "ner_tags": tags})
        settings = {"tokenizer": tokenizer, "max_length": options.max_length}
        splits[split] = rows.map(
            tokenize_and_align_labels, batched=True, fn_kwargs=settings, remove_columns=rows.column_names
        )
    model = AutoModelForTokenClassification.from_pretrained(
        options.model,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        trust_remote_code=False,
    )
    trainer = NoisyTrainer(
        model,
        TrainingArguments(
            options.output_dir,
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=splits["train"],
        eval_dataset=splits.get("test"),
        processing_class=tokenizer,
        method=options.method,
        missing_rate=options.missing_rate,
        compute_metrics=compute_metrics("entities", task=TOKENS, names=names),
    )
    trainer.train()
    trainer.save_model()
    if options.test:
        print({name: value for name, value in trainer.evaluate().items() if "entity" in name})
    print(f"the model is in {Path(options.output_dir).resolve()}")


if __name__ == "__main__":
    main()
