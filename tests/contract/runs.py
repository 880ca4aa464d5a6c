"""Tiny runs that every contract test is made of. Every method of the registry takes part."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

from hf_noisy import methods
from hf_noisy.core.task import TOKENS, task_of
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.losses import Loss
from hf_noisy.methods import Method
from hf_noisy.models import BranchedModel
from hf_noisy.training.trainer import NoisyTrainer

CLASSES = 3
WORDS = 30
STEPS_AN_EPOCH = 3  # of 21 rows in batches of 8: the last one is incomplete

# Arguments where the schedules of a method outlast the tiny runs: warm-ups end after the first step, selection and
# varied labels begin in the second epoch, so that every part of the loss takes part.
MATRIX = {"matrix": [[0.8, 0.1, 0.1], [0.0, 0.9, 0.1], [0.2, 0.1, 0.7]]}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "backward_correction": MATRIX,
    "cdr": {"noise_rate": 0.4, "ramp_epochs": 1},
    "co_teaching": {"forget_rate": 0.4, "ramp_epochs": 1},
    "co_teaching_plus": {"forget_rate": 0.4, "ramp_epochs": 1, "warmup_epochs": 1},
    "coregularization": {"agreement_weight": 5.0, "warmup_ratio": 0.1},
    "dal": {"q_start": 0.6, "q_end": 1.8},
    "divide_mix": {"warmup_epochs": 1},
    "dygen": {"agreement_weight": 5.0, "warmup_ratio": 0.1, "vae_epochs": 1},
    "elr_plus": {"decay": 0.9},
    "forward_correction": {"estimator": "confident_joint", "warmup_ratio": 0.5},
    "jocor": {"forget_rate": 0.4, "ramp_epochs": 1},
    "nct": {"r_min": 0.3, "r_max": 0.5, "warmup_epochs": 0},
    "nlnl": {"complementary_labels": 2, "confidence": 0.1},
    "nrd": {"decay": 0.9, "scale": True},
    "pencil": {"label_scale": 1.0, "label_learning_rate": 0.1, "phases": (0.3, 0.8)},
    "sidyp": {"diffusion_epochs": 1},
    "t_revision": {**MATRIX, "revision_learning_rate": 0.01},
}
# Methods of which only accumulation and resume, on one kind of model, are in the fast tests.
SLOW = {
    *("backward_correction", "bi_tempered", "cdr", "co_teaching_plus", "forward_correction", "nlnl", "pencil", "sr"),
    *("divide_mix", "elr_plus", "mixup", "sidyp", "t_revision", "volume_minimization"),
}
# The kinds of model that each method trains, besides those that all methods of so many networks do.
MORE_MODELS = {
    "cross_entropy": ("branches", "peft"),
    "elr": ("peft",),
    "gjs": ("branches",),
    "nrd": ("branches", "lora", "peft"),
}


# Methods that correct the label of a whole example or mix examples: tokens and several labels refuse them.
ONE_LABEL_ONLY = {name for name, method in methods.METHODS.items() if getattr(method, "one_label_only", False)}


NOT_OF_CELLS = {"sr"}  # it normalises logits, and of cells these are (0, z)


def models_of(method: str) -> tuple[str, ...]:
    branched = getattr(methods.METHODS[method], "num_branches", 1) > 1
    models = (*(("branches", "lora", "vit-branches") if branched else ("plain", "vit")), *MORE_MODELS.get(method, ()))
    if method in ONE_LABEL_ONLY:
        return models
    of_tasks = ("branches", "lora") if branched else ("",)
    tasks = ("tokens",) if method in NOT_OF_CELLS else ("tokens", "cells")
    return (*models, *(f"{task}-{kind}".rstrip("-") for task in tasks for kind in of_tasks))


METHODS = {method: models_of(method) for method in methods.METHODS}
CASES = [(method, model) for method, models in METHODS.items() for model in models]
# One kind of model for each method, for what depends on the method alone or takes long.
SHORT_CASES = [(method, models[0]) for method, models in METHODS.items()] + [("coregularization", "lora")]
# Tokens and several labels, with every method that takes them.
TASK_CASES = [case for case in CASES if case[1].startswith(("tokens", "cells"))]
# Methods that are more than a loss of the logits.
LONG_CASES = [case for case in SHORT_CASES if issubclass(methods.METHODS[case[0]], Method)]


def make_method(name: str, cells: bool = False) -> Method | Loss:
    arguments = ARGUMENTS.get(name, {})
    if cells and "matrix" in arguments:  # cells have two classes
        arguments = {**arguments, "matrix": [[0.9, 0.1], [0.3, 0.7]]}
    if cells and "complementary_labels" in arguments:
        arguments = {**arguments, "complementary_labels": 1}
    return methods.METHODS[name](**arguments)


def bert(dropout: float = 0.0, kind: str = "plain") -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(
        vocab_size=WORDS,
        max_position_embeddings=16,
        num_labels=CLASSES,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.3,  # large enough for gradients that a few steps can show
        problem_type="multi_label_classification" if kind.startswith("cells") else None,
        **sizes,
    )
    return BertForTokenClassification(config) if kind.startswith("tokens") else BertForSequenceClassification(config)


def vit() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return ViTForImageClassification(
        ViTConfig(image_size=8, patch_size=4, num_labels=CLASSES, initializer_range=0.3, **sizes)
    )


def resnet() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_labels=CLASSES, **sizes))


def peft() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    model = bert()
    torch.manual_seed(1)
    config = LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=8, lora_dropout=0.0, target_modules=["query", "value"])
    with peft_warnings_ignored():
        return get_peft_model(model, config)


@contextmanager
def peft_warnings_ignored() -> Iterator[None]:
    """PEFT still reads a name that transformers has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def make_model(kind: str, dropout: float = 0.0) -> nn.Module:
    if kind in ("plain", "tokens", "cells"):
        return bert(dropout, kind)
    if kind.endswith("branches") and not kind.startswith("vit"):
        return BranchedModel.from_model(bert(dropout, kind), num_branches=2)
    if kind.endswith("lora"):
        lora = {"r": 2, "lora_alpha": 8, "lora_dropout": dropout}
        return BranchedModel.from_model(bert(dropout, kind), num_branches=2, lora=lora)
    if kind == "vit-branches":
        return BranchedModel.from_model(vit(), num_branches=2)
    return {"peft": peft, "vit": vit, "resnet": resnet}[kind]()


def is_image(kind: str) -> bool:
    return kind.startswith(("vit", "resnet"))


def make_rows(kind: str = "plain", count: int = 21, seed: int = 0) -> Dataset:
    """Rows of text, or of images for the kinds of model that take these."""
    generator = torch.Generator().manual_seed(seed)
    if kind.startswith("tokens"):
        return token_rows(count, generator)
    labels = torch.randint(0, CLASSES, (count,), generator=generator).tolist()
    labels[:CLASSES] = range(min(CLASSES, count))
    if is_image(kind):
        size = 32 if kind == "resnet" else 8
        pixels = torch.randn(count, 3, size, size, generator=generator)
        return Dataset.from_dict({"pixel_values": pixels.numpy(), "label": labels}).with_format("torch")
    if kind.startswith("cells"):
        table = torch.randint(0, 2, (count, CLASSES), generator=generator).float().tolist()
        ids = torch.randint(3, WORDS, (count, 6), generator=generator).tolist()
        return Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * 6] * count, "labels": table})
    ids = torch.randint(3, WORDS, (count, 6), generator=generator).tolist()
    return Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * 6] * count, "label": labels})


def token_rows(count: int, generator: torch.Generator) -> Dataset:
    """Sentences of several lengths; the first token of each has no label, and now and then another one."""
    rows: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for row in range(count):
        length = 3 + row % 4
        labels = torch.randint(0, CLASSES, (length,), generator=generator).tolist()
        labels[0], labels[row % length] = NO_LABEL, NO_LABEL
        rows["input_ids"].append(torch.randint(3, WORDS, (length,), generator=generator).tolist())
        rows["attention_mask"].append([1] * length)
        rows["labels"].append(labels)
    return Dataset.from_dict(rows)


def pad(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack rows of several lengths, with labels of rows or of tokens."""
    longest = max(len(row["input_ids"]) for row in rows)

    def stacked(name: str, filler: int) -> Tensor:
        return torch.tensor([[*map(int, row[name]), *[filler] * (longest - len(row[name]))] for row in rows])

    padded = {name: stacked(name, 0) for name in ("input_ids", "attention_mask")}
    if "labels" in rows[0]:
        return padded | {"labels": stacked("labels", NO_LABEL)}
    return padded | {"labels": torch.tensor([row["label"] for row in rows])}


def make_args(folder: Path | str, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 5,
        "optim": "sgd",
        "learning_rate": 0.1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(str(folder), **(settings | changes))


def make_trainer(
    folder: Path | str,
    method: str | Method | Loss = "cross_entropy",
    model: nn.Module | str = "plain",
    *,
    rows: Any = None,
    trainer_class: type[NoisyTrainer] = NoisyTrainer,
    trainer: dict[str, Any] | None = None,
    **changes: Any,
) -> NoisyTrainer:
    """A trainer of a method (a name of `METHODS`, or an object) and a kind of model; `changes` go to its arguments."""
    kind = model if isinstance(model, str) else "plain"
    network = make_model(model) if isinstance(model, str) else model
    if method == "soft_correction":
        network.name_or_path = "pretrained"  # otherwise refused, as features of random weights say nothing
    if task_of(network) is TOKENS:
        kind, trainer = "tokens", {"data_collator": pad, **(trainer or {})}
    return trainer_class(
        network,
        make_args(folder, **changes),
        train_dataset=make_rows(kind) if rows is None else rows,
        method=make_method(method, task_of(network).cells) if method in methods.METHODS else method,
        **(trainer or {}),
    )


def run(folder: Path | str, *given: Any, resume: str | None = None, **changes: Any) -> NoisyTrainer:
    trainer = make_trainer(folder, *given, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def parameters(module: nn.Module | NoisyTrainer) -> dict[str, Tensor]:
    model = module.model if isinstance(module, NoisyTrainer) else module
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def distance(one: Any, other: Any) -> float:
    """Largest absolute difference of any parameter of two trainers, models or state dicts."""
    first, second = (value if isinstance(value, dict) else parameters(value) for value in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first)


def logged_losses(trainer: NoisyTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def file_contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
