"""Scripts as people write them for `Trainer`: with `NoisyTrainer`, one line is another."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, WORDS, bert, distance, resnet

METHODS = ["cross_entropy", "dal", "elr", "nct"]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(
        str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        weight_decay=0.01,
        warmup_steps=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        logging_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **changes,
    )


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    return {"accuracy": float((np.argmax(logits, axis=1) == prediction.label_ids).mean())}


def text_script(folder: Path, trainer_class: Any, resume: Any = None, **method: Any) -> Trainer:
    """Texts that are tokenized by `map`, padded by a collator, and evaluated after every epoch."""
    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, WORDS)}}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    texts = [" ".join(f"w{2 + (i + j) % 20}" for j in range(1 + i % 5)) for i in range(30)]
    raw = Dataset.from_dict({"idx": list(range(30)), "text": texts, "label": [i % CLASSES for i in range(30)]})
    data = raw.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True).train_test_split(6, seed=0)
    trainer: Trainer = trainer_class(
        model=bert(dropout=0.1),
        args=arguments(folder),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_metrics=accuracy,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=3)],
        **method,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def image_script(folder: Path, trainer_class: Any, resume: Any = None, **method: Any) -> Trainer:
    """Images that are transformed when they are read, and stacked by a function that drops every other column."""
    pixels = torch.randn(24, 32, 32, 3, generator=torch.Generator().manual_seed(0)).numpy()
    data = Dataset.from_dict({"image": pixels.tolist(), "label": [i % CLASSES for i in range(24)]})

    def transforms(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "pixel_values": [torch.tensor(image).permute(2, 0, 1) for image in batch["image"]]}

    def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        stacked = torch.stack([example["pixel_values"] for example in examples])
        return {"pixel_values": stacked, "labels": torch.tensor([example["label"] for example in examples])}

    trainer: Trainer = trainer_class(
        model=resnet(),
        args=arguments(folder, remove_unused_columns=False),
        train_dataset=data.with_transform(transforms),
        eval_dataset=data.select(range(6)).with_transform(transforms),
        data_collator=collate,
        compute_metrics=accuracy,
        **method,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("script", [text_script, image_script], ids=["text", "image"])
@pytest.mark.parametrize("method", METHODS)
def test_one_changed_line(script, method, tmp_path):
    trainer = script(tmp_path / "run", NoisyTrainer, method=method)
    metrics = trainer.evaluate()
    assert {"eval_loss", "eval_accuracy"} <= metrics.keys()
    assert trainer.predict(trainer.eval_dataset).predictions.shape == (6, CLASSES)
    checkpoints = sorted((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert len(checkpoints) == 2
    resumed = script(tmp_path / "run", NoisyTrainer, str(checkpoints[0]), method=method)
    assert distance(trainer, resumed) < 1e-6
    trainer.save_model(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    if method == "cross_entropy":
        theirs = script(tmp_path / "stock", Trainer)
        assert distance(trainer, theirs.model) < 1e-6
        assert metrics["eval_accuracy"] == theirs.evaluate()["eval_accuracy"]
