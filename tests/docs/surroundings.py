"""What the code blocks of the documents take for granted: a model, a tokenizer, rows, arguments; all of them tiny."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

WORDS = [f"w{number}" for number in range(30)]
SHORT = {"max_steps": 2, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}


def arguments(output_dir: str = "output/run", **options: Any) -> TrainingArguments:
    """Those that a page names, but two steps of training."""
    return TrainingArguments(output_dir, **{**options, **SHORT})


def tokenizer() -> PreTrainedTokenizerFast:
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate([*names.values(), *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, model_input_names=["input_ids", "attention_mask"], **names)


def rows(count: int, seed: int = 0) -> Dataset:
    """Texts of three classes, one label in five wrong, tokenized."""
    rng = np.random.default_rng(seed)
    true = np.arange(count) % 3
    given = np.where(rng.random(count) < 0.2, (true + 1) % 3, true)
    lengths = rng.integers(3, 9, count)  # of one length a forgotten tokenizer would not be noticed
    texts = [
        " ".join(WORDS[10 * y + word] for word in rng.integers(0, 10, n)) for y, n in zip(true, lengths, strict=True)
    ]
    names = ClassLabel(names=["one", "two", "three"])
    features = Features({"text": Value("string"), "label": names, "clean_label": names})
    dataset = Dataset.from_dict({"text": texts, "label": given, "clean_label": true}, features=features)
    encode = tokenizer()
    return dataset.map(lambda row: dict(encode(row["text"])))


def pictures(count: int = 24, size: int = 16) -> Dataset:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(count)]
    features = Features({"image": ImageFeature(), "label": ClassLabel(num_classes=10)})
    return Dataset.from_dict({"image": images, "label": np.arange(count) % 10}, features=features)


def network() -> BertConfig:
    torch.manual_seed(0)
    return BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3
    )


def names(folder: Path) -> dict[str, Any]:
    """The names that a block may use without defining them, as the quickstart introduces them."""
    encoder = BertModel(network(), add_pooling_layer=False)
    encoder.save_pretrained(folder / "encoder")
    tokenizer().save_pretrained(folder / "encoder")
    train, test = rows(45), rows(15, seed=1)
    model = BertForSequenceClassification(network())
    model.name_or_path = "pretrained"  # as on the pages; features of random weights would be refused
    return {
        "model": model,
        "encoder": encoder.eval(),
        "tokenizer": tokenizer(),
        "name": str(folder / "encoder"),
        "train": train,
        "test": test,
        "dataset": DatasetDict(train=train, test=test),
        "args": arguments(),
        "TrainingArguments": functools.wraps(TrainingArguments)(arguments),
    }
