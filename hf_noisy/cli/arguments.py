"""The arguments of training, on a command line, in a recipe or in Python."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers import HfArgumentParser, TrainingArguments

from hf_noisy.cli.recipes import parse_with_recipe
from hf_noisy.data.images import VIEWS
from hf_noisy.methods import list_methods


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class DataArguments:
    """Which rows: a data set, its columns, noise to add, and how many rows."""

    dataset: str = _option("docs", "named data set, file, folder or Hub id")
    model_name_or_path: str | None = _option(None, "pretrained model; default: a small sentence encoder")
    label_column: str | None = _option(None, "column of the labels, in a file or a Hub data set")
    noise_type: str | None = _option(None, "symmetric, asymmetric or instance; some data sets have more")
    noise_rate: float | None = _option(None, "share of labels to flip, with noise_type")
    noise_seed: int = _option(0, "seed of the flips")
    max_train_samples: int | None = _option(None, "random training rows, by --seed")
    max_test_samples: int | None = _option(None, "random test rows, by --seed")


@dataclass
class TextOptions:
    """How texts are read."""

    text_column: str | None = _option(None, "column of the texts, in a file or a Hub data set")
    max_length: int = _option(128, "tokens per text")


@dataclass
class TrainArguments(DataArguments):
    """Training by any method, whatever the rows are.

    Args:
        method: Name of a method (`hf_noisy.methods.list_methods()`), or `"auto"`.
        method_args: Arguments of the method, as `key=value`.
        max_watched_samples: Training rows to predict after each epoch, for the memorisation curve; 0 for none.
        save_model: Whether to save the trained model in `output_dir`.

    The other fields are those of the data: `dataset` and `*_column` as in `load_noisy_dataset`, `noise_*` for noise to
    add, `max_*_samples` for random rows.

    Example:
        >>> TextArguments(dataset="reviews.csv", method="nct").max_length
        128
    """

    method: str = _option("cross_entropy", ", ".join(["auto", *list_methods()]))
    method_args: list[str] = field(
        default_factory=list, metadata={"help": "arguments of the method, such as temperature=4"}
    )
    max_watched_samples: int = _option(5000, "training rows predicted after each epoch, or 0")
    save_model: bool = _option(False, "save the trained model in --output_dir")


@dataclass
class TextArguments(TextOptions, TrainArguments):
    """Training a text classifier; fields as in [`TrainArguments`].

    Args:
        text_column: Column of the texts.
        max_length: Tokens per text.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "output_dir": "output/robust_text",
        "num_train_epochs": 8,
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
    }


@dataclass
class ImageArguments(TrainArguments):
    """Training an image classifier; fields as in [`TrainArguments`].

    Args:
        image_column: Column of the images.
        architecture: Network to train from scratch where no `model_name_or_path` is given.
        image_size: Height and width in pixels.
        augmentation: View of the training images.
        second_view: The other view, for methods with two; `"auto"` shifts and mirrors.
        momentum: Of SGD with weight decay on every weight, as in the papers; None takes `TrainingArguments.optim`.
        nesterov: With `momentum`.
        lr_gamma: With `momentum`: factor of the learning rate at each milestone.
        lr_milestones: Epochs after which the learning rate falls; None for every epoch.
    """

    dataset: str = _option("digits", "digits, cifar10, other named data set, file, folder or Hub id")
    model_name_or_path: str | None = _option(None, "pretrained model; default: --architecture from scratch")
    image_column: str | None = _option(None, "column of the images, in a file or a Hub data set")
    architecture: str = _option(
        "resnet",
        "trained from scratch: resnet or vit (both small), preact_resnet18, preact_resnet34, or a model of which "
        "only the configuration is used",
    )
    image_size: int = _option(32, "height and width in pixels")
    augmentation: str = _option("standard", "of training images", choices=list(VIEWS))
    second_view: str = _option("augmix", "if the method needs one", choices=[*VIEWS, "auto"])
    momentum: float | None = _option(None, "SGD, all weights decay; default: see --optim")
    nesterov: bool = _option(False, "with momentum")
    lr_gamma: float | None = _option(None, "with momentum: factor of the learning rate at each milestone")
    lr_milestones: list[int] | None = field(default=None, metadata={"help": "epochs; default: every epoch"})

    defaults: ClassVar[dict[str, Any]] = {
        "output_dir": "output/robust_image",
        "num_train_epochs": 20,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 256,
    }


@dataclass
class DyGenArguments(TextOptions, DataArguments):
    """DyGEN end to end on texts; the other fields as in [`TrainArguments`].

    Args:
        num_branches: Branches of stage I.
        branches: `"full"` copies, or `"lora"` adapters on one backbone.
        estimated_noise_rate: Share of wrong labels, in [0, 1); None for an estimate from training.
        preset: Prior of stage II, `"evidence"` or `"paper"`.
        export: A model for new rows: `"distilled"`, `"exact"` or `"none"`.
    """

    num_branches: int = _option(2, "branches of stage I")
    branches: str = _option("full", "full or lora", choices=["full", "lora"])
    estimated_noise_rate: float | None = _option(None, "default: estimated from training")
    preset: str = _option("evidence", "prior of stage II", choices=["evidence", "paper"])
    export: str = _option("none", "a model for new rows", choices=["none", "distilled", "exact"])

    defaults: ClassVar[dict[str, Any]] = {**TextArguments.defaults, "output_dir": "output/dygen"}


def argument_parser(kind: Any, **options: Any) -> HfArgumentParser:
    """The parser of `kind` and `TrainingArguments`, with the defaults of `kind`."""
    kinds: Any = (kind, TrainingArguments)
    parser = HfArgumentParser(kinds, **options)
    parser.set_defaults(save_strategy="no", logging_strategy="epoch", **kind.defaults)
    return parser


def parse(kind: Any, words: Sequence[str] | None = None, **options: Any) -> tuple[Any, TrainingArguments]:
    """Read a command line, with an optional recipe in front, as arguments and `TrainingArguments`.

    Args:
        kind: [`TextArguments`], [`ImageArguments`] or [`DyGenArguments`].
        words: The command line without the script; by default that of the process.
        **options: Of `argparse.ArgumentParser`, such as `prog`.

    Returns:
        What [`train`](hf_noisy.cli.train) takes.

    Raises:
        ValueError: If a word or a key of the recipe is not known.
        FileNotFoundError: If the first word is no option and no file.

    Example:
        >>> arguments, training = parse(TextArguments, ["--method", "dal", "--use_cpu", "--report_to", "none"])
        >>> arguments.method, training.num_train_epochs
        ('dal', 8)
    """
    arguments, training = parse_with_recipe(argument_parser(kind, **options), words)
    return arguments, training
