"""NRD on text with several second views, and cross-entropy (suite `text-views`).

The paper has images only. Every cell trains the same encoder on the same rows with the same budget; only the second
view changes.
"""

import tempfile
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

from benchmarks.pools import digest_of, minilm
from benchmarks.robust import dataset_of
from benchmarks.suites import Cell
from hf_noisy import NoisyTrainer
from hf_noisy.data.views import TokenDropout
from hf_noisy.methods import NRD

# Share of tokens hidden from the teacher, and whether they are dropped or masked; None without a second view.
METHODS: dict[str, tuple[float, str] | None] = {
    "cross-entropy": None,
    "NRD, same view": None,
    "NRD, 10 % dropped": (0.1, "drop"),
    "NRD, 30 % dropped": (0.3, "drop"),
    "NRD, 10 % masked": (0.1, "mask"),
}


def make_method(name: str, tokenizer: Any) -> Any:
    if name == "cross-entropy":
        return "cross_entropy"
    view = METHODS[name]
    if view is None:
        return NRD(scale=True, teacher_view=None)
    mask = tokenizer.mask_token_id if view[1] == "mask" else None
    return NRD(scale=True, teacher_view=TokenDropout(*view, tokenizer.all_special_ids, mask))


def run(cell: Cell, context: Any) -> dict[str, Any]:
    budget, setting = context.budget, cell.setting
    tokenizer, data = AutoTokenizer.from_pretrained(minilm()), dataset_of(cell)

    def prepared(split: str, rows: int) -> Any:
        chosen = data[split].shuffle(seed=cell.seed).select(range(min(rows, len(data[split]))))
        tokens = lambda batch: tokenizer(batch["text"], truncation=True, max_length=budget.max_length)  # noqa: E731
        return chosen.map(tokens, batched=True)

    train, test = prepared("train", budget.rows_of(setting.dataset)), prepared("test", budget.test_rows)
    set_seed(cell.seed)
    classes = train.features["label"].num_classes
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=classes)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=budget.epochs,
            learning_rate=budget.learning_rate,
            seed=cell.seed,
            per_device_train_batch_size=budget.batch_size,
            per_device_eval_batch_size=64,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **budget.options_of(setting.dataset),
        )
        method = make_method(cell.method, tokenizer)
        trainer = NoisyTrainer(model, arguments, train_dataset=train, processing_class=tokenizer, method=method)
        trainer.train()
        logits = trainer.predict(test).predictions
    given, clean, truth = np.array(train["label"]), np.array(train["clean_label"]), np.array(test["clean_label"])
    return {
        "test_accuracy": float((logits.argmax(1) == truth).mean()),
        "noise_rate": float((given != clean).mean()),
        "selected_by": "last epoch",
        "data": digest_of(given, clean, truth),
    }
