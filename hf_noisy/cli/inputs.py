"""The model of a training, and its inputs: tokenised texts or augmented images."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from jaxtyping import Int64
from transformers import TrainingArguments

from hf_noisy.cli.arguments import DataArguments, ImageArguments
from hf_noisy.cli.list_inputs import check_list_labels, set_rows, token_rows
from hf_noisy.cli.reading_options import ReadingOptions
from hf_noisy.cli.source import code_refused
from hf_noisy.cli.train_scores import OneLabelScores, SetScores, TokenScores
from hf_noisy.core.cells import printable
from hf_noisy.core.columns import CHECKED_LABELS, LABEL
from hf_noisy.core.phases import phase
from hf_noisy.data.builders import cifar10, digits
from hf_noisy.data.checked import CheckedRows, checked_rows, with_checked_column
from hf_noisy.data.checked_lists import checked_lists, with_checked_lists
from hf_noisy.data.flat_labels import TaskName, list_names, task_of_labels
from hf_noisy.data.images import ImageViews, Transform, make_view
from hf_noisy.data.labelled_rows import labelled_rows
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.records import class_labels
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.texts import cut, text_columns
from hf_noisy.data.views import ShiftAndFlip
from hf_noisy.methods.recorded_branches import RecordedBranches
from hf_noisy.models.default_encoder import default_encoder
from hf_noisy.models.preact_resnet import PreActResNetConfig
from hf_noisy.models.pretrained import pretrained_classifier
from hf_noisy.purification.restore import DROPPED, as_given, is_purified
from hf_noisy.training.checked_labels import without_checked_column

_CLASSES_SHOWN = 5  # in messages
_CHANNEL_STATISTICS = {"digits": (digits.MEAN, digits.STD), "cifar10": (cifar10.MEAN, cifar10.STD)}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def refuse_tables(reading: ReadingOptions) -> None:
    """Refuse columns of numbers, which no model here can be trained on."""
    if reading.feature_columns:
        raise ValueError(
            "training is for texts and images, so feature_columns belongs to the other commands; purify the table, "
            "and train a model of your own on it"
        )


def load_source(arguments: DataArguments) -> DatasetDict:
    """The splits of the dataset, with noise and checked rows according to the arguments."""
    refuse_tables(arguments)
    noise = {name: getattr(arguments, name) for name in ("noise_type", "noise_rate", "noise_seed")}
    splits = load_noisy_dataset(arguments.dataset, **noise, **arguments.given())
    if "train" not in splits:
        raise ValueError(f"training needs a split 'train', but the data has {', '.join(splits)}; rename one")
    train = splits["train"]
    if task_of_labels(train) != "one-label":
        splits["train"] = with_checked_lists(train, checked_lists(train, arguments.checked))
    elif arguments.checked:
        splits["train"] = with_checked_column(train, arguments.checked)
    return splits


@phase("reading")
def load_splits(
    arguments: DataArguments, training: TrainingArguments, prepare: Callable[[Dataset], Dataset], row_column: str = ""
) -> tuple[Dataset, Dataset, CheckedRows | None]:
    """Training and test rows, and the training rows that a person has checked.

    Rows without a label are left out. Without labels in a test split a fifth of the rows is set aside, none that was
    checked. Test labels are the given ones, also of purified data.
    """
    with training.main_process_first(desc="data"):
        splits = load_source(arguments)
        if row_column:
            splits["train"] = with_column(splits["train"], row_column, np.arange(len(splits["train"])))
        if arguments.test_file is not None and not len(labelled_rows(splits["test"]).index):
            raise ValueError(f"no row of --test-file '{arguments.test_file}' has a label; pass a file with labels")
        splits = _with_test_rows(splits, training.seed)
        train, test = (_labelled(splits[name], name) for name in ("train", "test"))
        train = random_rows(train, arguments.max_train_samples, training.seed)
        test = random_rows(test, arguments.max_test_samples, training.seed)
        _check_trainable(train)  # before anything is tokenised
        _check_classes(train, test)
        test, checked = without_checked_column(test), None
        if task_of_labels(train) == "one-label":  # lists stay a column, which is tokenised too
            checked, train = checked_rows(train), without_checked_column(train)
        return prepare(train), prepare(test), checked


def _check_trainable(rows: Dataset) -> None:
    if task_of_labels(rows) != "one-label":
        return check_list_labels(rows)
    labels, _ = class_labels(rows, LABEL)
    if len(np.unique(labels)) < 2:
        name = rows.features[LABEL].names[labels[0]]
        raise ValueError(f"training needs rows of at least 2 classes, got '{name}' alone in {len(rows):,} rows")


def _check_classes(train: Dataset, test: Dataset) -> None:
    """Refuse test rows of which every class is unknown to the training rows."""
    if task_of_labels(train) != "one-label":
        return
    known, asked = (
        {rows.features[LABEL].names[one] for one in np.unique(class_labels(rows, LABEL)[0])} for rows in (train, test)
    )
    if not known & asked:
        of_test, of_training = (", ".join(sorted(names)[:_CLASSES_SHOWN]) for names in (asked, known))
        raise ValueError(f"no class of the test rows ({of_test}) is one of the training rows ({of_training})")


def _labelled(rows: Dataset, name: str) -> Dataset:
    found = labelled_rows(rows)
    if len(found.missing):
        print(f"{len(found.missing):,} of {len(rows):,} rows of split '{name}' have no label and are left out")
    if not len(found.index):
        raise ValueError(f"no row of split '{name}' has a label; name the column with --label-column")
    return found.rows


def _with_test_rows(splits: DatasetDict, seed: int) -> DatasetDict:
    """Training and test split; test rows are drawn from the training rows if the source has none with labels."""
    train = splits["train"]
    looked_at = _checked_index(train)
    if "test" in splits and len(labelled_rows(splits["test"]).index):
        return DatasetDict(train=train, test=as_given(splits["test"]))
    pool = train
    if not len(looked_at) and not is_purified(train):
        return labelled_rows(train).rows.train_test_split(0.2, seed=seed)
    if is_purified(train):
        print("the data has no test split: the test rows are a fifth of the rows, and keep their given labels")
        if DROPPED in splits and is_purified(splits[DROPPED]):  # else the rows that the purifier doubts are untested
            pool = concatenate_datasets([train, splits[DROPPED]])
    given = as_given(pool)
    labelled = labelled_rows(given).index
    others = np.setdiff1d(labelled, looked_at)
    test = np.random.default_rng(seed).permutation(others)[: max(len(labelled) // 5, 1)]
    if not len(test):
        raise ValueError("every row was checked, so none is left to test on; pass data with a test split")
    kept = np.setdiff1d(np.arange(len(train)), test)
    return DatasetDict(train=train.select(kept), test=given.select(np.sort(test)))


def _checked_index(rows: Dataset) -> Int64[np.ndarray, " checked"]:
    """The rows that a person has checked."""
    if task_of_labels(rows) != "one-label":
        if CHECKED_LABELS not in rows.column_names:
            return np.zeros(0, np.int64)
        return np.flatnonzero([one is not None for one in rows.with_format(None)[CHECKED_LABELS]])
    found = checked_rows(rows)
    return np.zeros(0, np.int64) if found is None else found.index


def random_rows(rows: Dataset, limit: int | None, seed: int) -> Dataset:
    """At most `limit` random rows, in their order."""
    return rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit]))


class TextInputs:
    """Texts are tokenised once and padded batch by batch."""

    # What the labels are, found out by `prepare` from the training rows, which come first.
    task: TaskName = "one-label"
    scores = OneLabelScores()
    names: Sequence[str] = ()

    def __init__(self, arguments: Any) -> None:
        self.backbone = arguments.model_name_or_path or default_encoder()
        self.max_length = arguments.max_length
        self.trust_remote_code = arguments.trust_remote_code
        self.processor = self._tokenizer()

    def _tokenizer(self, **options: Any) -> Any:
        auto = transformers.AutoTokenizer
        with code_refused(self.backbone):
            return auto.from_pretrained(self.backbone, trust_remote_code=self.trust_remote_code, **options)

    def prepare(self, rows: Dataset) -> Dataset:
        self.task = task_of_labels(rows)
        names = rows.features[LABEL].names if self.task == "one-label" else list_names(rows)
        if self.names and names != self.names:
            raise ValueError(
                f"the test rows have the classes {', '.join(names)}, but the training rows {', '.join(self.names)}; "
                "read both together, or give both all classes in the same order"
            )
        self.names = names
        if self.task == "tokens":
            self.scores = TokenScores(names)
            if getattr(self.processor, "add_prefix_space", True) is False:  # RoBERTa's reads no words without
                self.processor = self._tokenizer(add_prefix_space=True)
            return token_rows(rows, self.processor, self.max_length)
        if self.task == "multi-label":
            self.scores = SetScores()
            rows = set_rows(rows)
        options = {"tokenizer": self.processor, "max_length": self.max_length}
        columns = text_columns(rows.column_names)
        return rows.map(_tokenized, input_columns=columns, fn_kwargs=options, batched=True, desc="tokenizing")

    def for_training(self, rows: Dataset, method: Any, seed: int) -> Any:
        return rows

    def for_prediction(self, rows: Dataset) -> Any:
        return rows

    def make_model(self) -> Any:
        tokens = self.task == "tokens"
        auto = (
            transformers.AutoModelForTokenClassification if tokens else transformers.AutoModelForSequenceClassification
        )
        several = self.task == "multi-label"
        return _pretrained(auto, self.backbone, self.names, self.trust_remote_code, several=several)


def _tokenized(*columns: list[str | None], tokenizer: Any, max_length: int) -> Any:
    """A batch of texts, or of pairs of texts; a missing text is an empty one."""
    texts = [cut(["" if text is None else text for text in column], max_length) for column in columns]
    # The length is what `group_by_length` sorts by; without the column it would read every row one by one.
    return tokenizer(*texts, truncation=True, max_length=max_length, return_length=True)


class ImageInputs:
    """Images are augmented for training, and only resized and normalised for prediction."""

    processor = None
    task: TaskName = "one-label"
    scores = OneLabelScores()
    names: list[str]

    def __init__(self, arguments: ImageArguments) -> None:
        self.arguments = arguments
        self.mean, self.std = _CHANNEL_STATISTICS.get(arguments.dataset, _IMAGENET)
        if arguments.model_name_or_path:
            auto = transformers.AutoImageProcessor
            with code_refused(arguments.model_name_or_path):
                processor = auto.from_pretrained(
                    arguments.model_name_or_path, trust_remote_code=arguments.trust_remote_code
                )
            self.mean, self.std = processor.image_mean, processor.image_std
        self.flip = 0.0 if arguments.dataset == "digits" else 0.5  # a mirrored 3 is no 3

    def prepare(self, rows: Dataset) -> Dataset:
        if task_of_labels(rows) != "one-label":
            raise ValueError("images with several classes each are not trained here; use NoisyTrainer in Python")
        self.names = rows.features[LABEL].names
        return rows

    def for_training(self, rows: Dataset, method: Any, seed: int) -> Any:
        second, wanted = None, getattr(method, "second_view", None)
        if wanted and self.arguments.second_view == "auto":
            method.second_view = ShiftAndFlip(flip=self.flip)
        elif wanted:
            second = self._view(self.arguments.second_view)
        if isinstance(method, RecordedBranches):  # records images without augmentation
            method.record["train"] = self.for_prediction(rows)
        return ImageViews(rows, self._view(self.arguments.augmentation), second, seed=seed)

    def for_prediction(self, rows: Dataset) -> Any:
        return ImageViews(rows, self._view("none"))

    def make_model(self) -> Any:
        auto = transformers.AutoModelForImageClassification
        trust_remote_code = self.arguments.trust_remote_code
        if pretrained := self.arguments.model_name_or_path:
            return _pretrained(auto, pretrained, self.names, trust_remote_code)
        config = _architecture(self.arguments.architecture, self.arguments.image_size, trust_remote_code)
        config.update({**_class_names(self.names), "name_or_path": ""})  # only the configuration is loaded
        # The memory format in which convolutions are fastest.
        return auto.from_config(config, trust_remote_code=trust_remote_code).to(memory_format=torch.channels_last)

    def pipeline_processor(self) -> Any:
        """The image processor for `pipeline`."""
        sides = {"height": self.arguments.image_size, "width": self.arguments.image_size}
        return transformers.ViTImageProcessor(size=sides, image_mean=list(self.mean), image_std=list(self.std))

    def _view(self, name: str) -> Transform:
        return make_view(name, self.arguments.image_size, self.mean, self.std, self.flip)


def published_optimizer(trainer: Any, arguments: Any) -> tuple[torch.optim.Optimizer, Any]:
    """SGD and the schedule of the papers: weight decay on all weights, learning rate steps after whole epochs."""
    args = trainer.args
    optimizer = torch.optim.SGD(
        trainer.model.parameters(),
        args.learning_rate,
        arguments.momentum,
        weight_decay=args.weight_decay,
        nesterov=arguments.nesterov,
    )
    if arguments.lr_gamma is None:
        return optimizer, None  # the schedule is that of --lr_scheduler_type
    epoch = math.ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps)
    milestones = [epoch * done for done in arguments.lr_milestones or range(1, math.ceil(args.num_train_epochs))]
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, arguments.lr_gamma)


def _pretrained(
    auto: Any, name: str, class_names: Sequence[str], trust_remote_code: bool, several: bool = False
) -> Any:
    """A pretrained classifier for the classes; prints what became of its head."""
    with code_refused(name):
        options = {"trust_remote_code": trust_remote_code, "several": several}
        model, note = pretrained_classifier(auto, name, class_names, **options)
    if note is not None and PartialState().is_main_process:
        print(printable(note))  # its class names come with the model
    return model


def _architecture(name: str, size: int, trust_remote_code: bool) -> Any:
    """The configuration of a small network, or that of a model of the Hub."""
    if name == "resnet":
        sizes: dict[str, Any] = {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]}
        return transformers.ResNetConfig(layer_type="basic", **sizes)
    if name == "vit":
        sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
        return transformers.ViTConfig(image_size=size, patch_size=max(size // 8, 1), **sizes)
    if name == "preact_resnet18":
        return PreActResNetConfig()
    if name == "preact_resnet34":
        return PreActResNetConfig(depths=[3, 4, 6, 3])
    with code_refused(name):
        return transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)


def _class_names(class_names: list[str]) -> dict[str, Any]:
    names = dict(enumerate(class_names))
    return {"num_labels": len(names), "id2label": names, "label2id": {name: label for label, name in names.items()}}
