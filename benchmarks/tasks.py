"""What a cell trains on: rows, labels and a new network, in one of three regimes.

The small suites train a two-layer network on frozen features. It takes them as an image of one pixel with many
channels, so that the package treats it as an image classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention

from benchmarks import efficientnet
from benchmarks.pools import TOKENS, Pool, choose, digest_of, given_labels, minilm, prepare
from benchmarks.suites import Budget, Cell, Setting
from hf_noisy import load_noisy_dataset
from hf_noisy.core.precision import compute_dtype
from hf_noisy.core.rng import uniforms
from hf_noisy.data import images
from hf_noisy.data.builders import cifar10, digits
from hf_noisy.models.preact_resnet import PreActResNetConfig

# Size, mean and standard deviation of the images.
SCALES = {"digits": (16, digits.MEAN, digits.STD), "cifar10": (32, cifar10.MEAN, cifar10.STD)}


class FeatureConfig(PreTrainedConfig):
    model_type = "hf_noisy_features"

    def __init__(self, width: int = 384, hidden_size: int = 256, dropout: float = 0.1, **kwargs: Any) -> None:
        self.width, self.hidden_size, self.dropout = width, hidden_size, dropout
        super().__init__(**kwargs)


class FrozenFeatures(nn.Module):
    """Stands in for the encoder, which has already run."""

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithNoAttention:
        return BaseModelOutputWithNoAttention(last_hidden_state=pixel_values)


class FeatureClassifier(PreTrainedModel):
    """Linear, ReLU, dropout, linear, on frozen features `[batch, width, 1, 1]`."""

    config_class = FeatureConfig
    base_model_prefix = "features"
    main_input_name = "pixel_values"

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__(config)
        self.features = FrozenFeatures()
        self.hidden = nn.Linear(config.width, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5  # the default of torch
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        logits = self.classifier(self.dropout(torch.relu(self.hidden(pixel_values.flatten(1)))))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


AutoConfig.register(FeatureConfig.model_type, FeatureConfig, exist_ok=True)
AutoModelForImageClassification.register(FeatureConfig, FeatureClassifier, exist_ok=True)


class DropCoordinates:
    """Second view of frozen features: dropout."""

    columns = ("pixel_values",)

    def __init__(self, rate: float = 0.2) -> None:
        self.rate = rate

    def size(self, row: Any) -> int:
        return len(row["pixel_values"])

    def __call__(self, row: Any, numbers: np.ndarray) -> dict[str, Tensor]:
        kept = torch.from_numpy(numbers >= self.rate)[:, None, None]
        return {"pixel_values": row["pixel_values"] * kept / (1.0 - self.rate)}


class FeatureRows(torch.utils.data.Dataset):
    """Features and labels as tensors, faster than Arrow tables; with a second view of each row if there is a seed."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, view_seed: int | None = None) -> None:
        self.pixels = torch.from_numpy(features)[:, :, None, None]
        self.labels = torch.from_numpy(np.asarray(labels, np.int64))
        self.view, self.view_seed, self.epoch = DropCoordinates(), view_seed, 0

    def __len__(self) -> int:
        return len(self.labels)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = {"pixel_values": self.pixels[index], "labels": self.labels[index]}
        if self.view_seed is not None:
            chosen, size = np.array([index]), self.view.size(row)
            numbers = uniforms(self.view_seed, stream="feature_views", index=chosen, size=size, epoch=self.epoch)
            row["second_view_pixel_values"] = self.view(row, numbers[0])["pixel_values"].to(self.pixels.dtype)
        return row


@dataclass
class Task:
    """Rows of a cell, with their given and true labels."""

    setting: Setting
    budget: Budget
    seed: int  # of rows, noise and network
    features: np.ndarray  # frozen features of the training rows, [rows, width]
    given: np.ndarray  # given labels of the training rows
    clean: np.ndarray  # their true labels, for methods that use some, and for the final figures
    test_features: np.ndarray
    truth: np.ndarray  # true labels of the test rows
    num_classes: int
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    backbone: str | None = None  # name or path of the text model that is fine-tuned
    processing_class: Any = None
    view: Any = field(default_factory=DropCoordinates)
    batch: ClassVar[int] = 256  # rows predicted at once
    pretrained: ClassVar[bool] = False  # whether the network that is trained is
    folder: Path | None = None  # where the cells of the suite keep their test predictions

    @property
    def digest(self) -> str:
        return digest_of(self.features, self.given, self.clean, self.test_features, self.truth)

    def network(self) -> PreTrainedModel:
        """A new network, initialized by the seed."""
        transformers.set_seed(self.seed)
        return self._network()

    def _network(self) -> PreTrainedModel:
        return FeatureClassifier(FeatureConfig(self.features.shape[1], num_labels=self.num_classes))

    def training_rows(self, rows: np.ndarray, labels: np.ndarray, two_views: bool = False) -> Any:
        """Data set of some training rows with these labels; `two_views` adds a second view where rows carry one."""
        return FeatureRows(self.features[rows], labels, self.seed if two_views else None)

    def training_rows_as_seen(self, rows: np.ndarray) -> Any:
        """The same rows without augmentation, to predict on."""
        return self.training_rows(rows, self.given[rows])

    @cached_property
    def test_rows(self) -> Any:
        return FeatureRows(self.test_features, np.zeros(len(self.truth)))  # without their labels

    def arguments(self, folder: Path) -> transformers.TrainingArguments:
        budget, gpu = self.budget, torch.cuda.is_available()
        frozen = budget.regime == "features"
        return transformers.TrainingArguments(
            str(folder),
            num_train_epochs=budget.epochs,
            learning_rate=budget.learning_rate,
            weight_decay=budget.weight_decay,
            seed=self.seed,
            per_device_train_batch_size=budget.batch_size,
            per_device_eval_batch_size=500 if frozen else 128,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not gpu,
            dataloader_pin_memory=gpu,
            **{"bf16": gpu and not frozen} | budget.options_of(self.setting.dataset) | self._precision,
        )

    @property
    def _precision(self) -> dict[str, bool]:
        """bfloat16 as the budget says, but float32 on a device that only emulates it, many times slower."""
        asked = self.budget.options_of(self.setting.dataset).get("bf16")
        return {} if asked is None else {"bf16": bool(asked) and compute_dtype("auto") == "bfloat16"}

    @torch.no_grad()
    def logits(self, model: nn.Module, dataset: Any) -> np.ndarray:
        """Logits of the rows of a data set, `[rows, classes]`."""
        device, training = next(model.parameters()).device, model.training
        model.eval()
        size = len(dataset) if isinstance(dataset, FeatureRows) else self.batch
        batches = [range(start, min(start + size, len(dataset))) for start in range(0, len(dataset), size)]
        bf16 = self._precision.get("bf16", False)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            parts = [model(**self._inputs(dataset, batch, device)).logits.float().cpu() for batch in batches]
        model.train(training)
        return torch.cat(parts).numpy()

    def _inputs(self, dataset: Any, batch: range, device: torch.device) -> dict[str, Tensor]:
        return {"pixel_values": dataset.pixels[batch.start : batch.stop].to(device)}


class TextTask(Task):
    """The whole text classifier is trained."""

    batch, pretrained = 64, True

    def _network(self) -> PreTrainedModel:
        auto = transformers.AutoModelForSequenceClassification
        options = {"num_labels": self.num_classes, "attn_implementation": "eager"}  # a seventh faster on a CPU
        return auto.from_pretrained(self.backbone, **options)

    @cached_property
    def _data(self) -> dict[str, Any]:
        tokenizer = self.processing_class
        data = load_noisy_dataset(self.setting.dataset, "clean")
        length = self.budget.max_length or TOKENS
        tokenize = lambda batch: tokenizer(batch["text"], truncation=True, max_length=length, return_length=True)  # noqa: E731
        texts = {split: data[split].select(rows).select_columns(["text"]) for split, rows in self.positions.items()}
        return {split: of.map(tokenize, batched=True, remove_columns=["text"]) for split, of in texts.items()}

    def training_rows(self, rows: np.ndarray, labels: np.ndarray, two_views: bool = False) -> Any:
        return self._data["train"].select(rows).add_column("labels", np.asarray(labels, np.int64))

    @cached_property
    def test_rows(self) -> Any:
        return self._data["test"]

    def logits(self, model: nn.Module, dataset: Any) -> np.ndarray:
        """Logits of the rows, in batches of similar length."""
        order = np.argsort(dataset["length"][:], kind="stable")
        return super().logits(model, dataset.select(order))[np.argsort(order)]

    def _inputs(self, dataset: Any, batch: range, device: torch.device) -> dict[str, Tensor]:
        rows = dataset.select(batch)
        names = self.processing_class.model_input_names
        columns = {name: rows[name][:] for name in rows.column_names if name in names}
        return dict(self.processing_class.pad(columns, return_tensors="pt").to(device))


class ImageTask(Task):
    """A PreActResNet-18 from scratch, on shifted and mirrored images."""

    def _network(self) -> PreTrainedModel:
        model = AutoModelForImageClassification.from_config(PreActResNetConfig(num_labels=self.num_classes))
        return model.to(memory_format=torch.channels_last)

    @property
    def _scale(self) -> Any:
        return SCALES[self.setting.dataset]

    @property
    def _eval_transform(self) -> Any:
        return images.eval_transform(*self._scale)

    @cached_property
    def _data(self) -> dict[str, Any]:
        data = load_noisy_dataset(self.setting.dataset, "clean")
        return {split: data[split].select(rows).select_columns(["image"]) for split, rows in self.positions.items()}

    def training_rows(self, rows: np.ndarray, labels: np.ndarray, two_views: bool = False) -> Any:
        flip = 0.0 if self.setting.dataset == "digits" else 0.5  # a mirrored 3 is not a 3
        stored = self._data["train"].select(rows).add_column("label", np.asarray(labels, np.int64))
        view = images.standard_transform(*self._scale, flip=flip)
        return images.ImageViews(stored, view, view if two_views else None, seed=self.seed)

    def training_rows_as_seen(self, rows: np.ndarray) -> Any:
        return images.ImageViews(self._data["train"].select(rows), self._eval_transform)

    @cached_property
    def test_rows(self) -> Any:
        return images.ImageViews(self._data["test"], self._eval_transform)

    def _inputs(self, dataset: Any, batch: range, device: torch.device) -> dict[str, Tensor]:
        rows: Sequence[dict[str, Any]] = dataset.__getitems__(list(batch))
        return {"pixel_values": torch.stack([row["pixel_values"] for row in rows]).to(device)}


class TunedImageTask(ImageTask):
    """The pretrained encoder is fine-tuned."""

    pretrained = True

    def _network(self) -> PreTrainedModel:
        return efficientnet.classifier(self.num_classes)

    @property
    def _scale(self) -> Any:
        return super()._scale[0], efficientnet.MEAN, efficientnet.DEVIATION


def make_task(setting: Setting, budget: Budget, seed: int, pool: Pool, backbone: str | None = None) -> Task:
    """A task with rows and noise drawn by the seed."""
    rows = choose(len(pool.clean["train"]), budget.rows_of(setting.dataset), seed)
    tests = choose(len(pool.clean["test"]), budget.test_rows, 0)
    features, clean = pool.features["train"][rows], pool.clean["train"][rows]
    given = pool.given[setting.config][rows]
    if setting.noise_type is not None:
        given = given_labels(
            setting.dataset, clean, pool.num_classes, setting.noise_type, setting.noise_rate or 0.0, seed, features
        )
    image = TunedImageTask if budget.encoder else ImageTask
    kind = {"features": Task, "text": TextTask, "image": image}[budget.regime]
    task = kind(
        setting=setting,
        budget=budget,
        seed=seed,
        features=features,
        given=given,
        clean=clean,
        test_features=pool.features["test"][tests],
        truth=pool.clean["test"][tests],
        num_classes=pool.num_classes,
        positions={"train": pool.rows["train"][rows], "test": pool.rows["test"][tests]},
    )
    if budget.regime == "text":
        task.backbone = backbone or minilm()
        task.processing_class = transformers.AutoTokenizer.from_pretrained(task.backbone)
        task.view = "auto"
    elif budget.regime == "image":
        task.view = "auto"  # the rows carry a second view
    return task


def task_of(cell: Cell, context: Any) -> Task:
    """The task of a cell."""
    pool = prepare(cell.setting.dataset, context)
    task = make_task(cell.setting, context.budget, cell.seed, pool, context.model)
    task.folder = context.work_dir / "predictions" / context.suite.name / context.digest
    return task
