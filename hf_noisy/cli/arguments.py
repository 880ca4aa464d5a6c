"""The arguments of training, for a command line, a recipe or Python; documented by their help texts."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_noisy.cli.reading_options import ReadingOptions
from hf_noisy.data.images import VIEWS
from hf_noisy.methods import list_methods


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class DataArguments(ReadingOptions):
    """The dataset: its source and how it is read, injected noise, and number of rows."""

    dataset: str = _option("docs", "named data set, file, folder or Hub id")
    model_name_or_path: str | None = _option(None, "pretrained model; default: a small sentence encoder")
    trust_remote_code: bool = _option(False, "run Python code that comes with the model")
    checked: str | None = _option(None, "file of checked rows; default: the column checked_label")
    noise_type: str | None = _option(None, "symmetric, asymmetric or instance; some data sets have more")
    noise_rate: float | None = _option(None, "share of labels to flip, with noise_type")
    noise_seed: int = _option(0, "seed of the noise")
    max_train_samples: int | None = _option(None, "number of random training rows, drawn by --seed")
    max_test_samples: int | None = _option(None, "number of random test rows, drawn by --seed")


@dataclass
class TextOptions:
    """Options for texts."""

    max_length: int = _option(128, "tokens per text")
    branches: str = _option("full", "networks of a method of several: full or LoRA adapters", choices=["full", "lora"])
    shared_layers: int = _option(0, "lowest layers that stay frozen, computed once for all networks")

    bf16_devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")  # where bfloat16 is the default, if the device has it
    fast_defaults: ClassVar[dict[str, Any]] = {"train_sampling_strategy": "group_by_length"}
    # Ten times that of all weights: Schulman et al. (2025), LoRA Without Regret.
    lora_learning_rate: ClassVar[float] = 1e-3


@dataclass
class TrainArguments(DataArguments):
    """Training by any method."""

    method: str = _option("cross_entropy", ", ".join(["auto", *list_methods()]))
    method_args: list[str] = field(default_factory=list, metadata={"help": "method arguments, such as temperature=4"})
    purifier: str | None = _option(None, "correct the training labels first: checked, evidence, dmlp, ...")
    policy: str | None = _option(None, "what the purifier does: relabel (default), soft or weight")
    max_watched_samples: int = _option(5000, "labels of training rows to predict after each epoch; 0: none")
    save_model: bool = _option(False, "save the trained model in --output_dir")


_TEXT_DEFAULTS = {
    "output_dir": "output/robust_text",
    "num_train_epochs": 8,
    "learning_rate": 1e-4,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
}


@dataclass
class TextArguments(TextOptions, TrainArguments):
    """Training a text classifier by any method.

    Example:
        >>> TextArguments(dataset="reviews.csv", method="nct").max_length
        128
    """

    missing_rate: float | None = _option(None, "share of missing labels, for tags and sets of classes")

    defaults: ClassVar[dict[str, Any]] = _TEXT_DEFAULTS


@dataclass
class ImageArguments(TrainArguments):
    """Training an image classifier by any method.

    Example:
        >>> ImageArguments(method="nrd", momentum=0.9).dataset
        'digits'
    """

    dataset: str = _option("digits", "digits, cifar10, other named data set, file, folder or Hub id")
    model_name_or_path: str | None = _option(None, "pretrained model; default: --architecture from scratch")
    architecture: str = _option(
        "resnet",
        "trained from scratch: resnet or vit (both small), preact_resnet18, preact_resnet34, or a model whose "
        "configuration is used",
    )
    image_size: int = _option(32, "height and width in pixels")
    augmentation: str = _option("standard", "augmentation of training images", choices=list(VIEWS))
    second_view: str = _option("augmix", "second view of images, for methods that need one", choices=[*VIEWS, "auto"])
    momentum: float | None = _option(None, "momentum of SGD with weight decay on all weights; default: use --optim")
    nesterov: bool = _option(False, "Nesterov momentum; needs --momentum")
    lr_gamma: float | None = _option(None, "learning rate factor at each milestone; needs --momentum")
    lr_milestones: list[int] | None = field(default=None, metadata={"help": "epochs of lr_gamma; default: all"})

    bf16_devices: ClassVar[tuple[str, ...]] = ("cuda",)  # on a CPU, small networks are slower in bfloat16
    defaults: ClassVar[dict[str, Any]] = {
        "output_dir": "output/robust_image",
        "num_train_epochs": 20,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 256,
    }


@dataclass
class DyGenArguments(TextOptions, DataArguments):
    """DyGEN on texts.

    Example:
        >>> DyGenArguments(dataset="reviews.csv", export="distilled").num_branches
        2
    """

    num_branches: int = _option(2, "number of branches in stage I")
    branch_learning_rate: float | None = _option(
        None, "learning rate of stage I; default: --learning_rate, if not given 1e-3 for lora"
    )
    compare: bool = _option(True, "train a plain classifier too, for comparison")
    estimated_noise_rate: float | None = _option(None, "noise rate; default: estimated from training")
    preset: str = _option("evidence", "prior of stage II", choices=["evidence", "paper"])
    export: str = _option("none", "model for new rows to save", choices=["none", "distilled", "exact"])
    overwrite: bool = _option(False, "replace an earlier output in --output_dir")

    defaults: ClassVar[dict[str, Any]] = {**_TEXT_DEFAULTS, "output_dir": "output/dygen"}
