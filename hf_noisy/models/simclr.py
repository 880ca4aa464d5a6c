"""SimCLR: train an image encoder without labels."""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import datasets
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    ViTImageProcessor,
)

from hf_noisy.core.columns import IMAGE, LABEL, LABEL_WEIGHT, LABELS
from hf_noisy.data.images import ImageViews, Transform
from hf_noisy.models.pooling import pool_outputs

_MEAN = _STD = (0.5, 0.5, 0.5)  # as in ViTImageProcessor


class TrainedEncoder(NamedTuple):
    """A trained encoder, in evaluation mode, and its image processor, in the argument order of [`embed`]."""

    model: PreTrainedModel
    image_processor: ViTImageProcessor


def train_simclr(
    dataset: datasets.Dataset,
    model: PreTrainedModel | None = None,
    args: TrainingArguments | None = None,
    *,
    image_column: str = IMAGE,
    image_size: int = 32,
    transform: Transform | None = None,
    projection_dim: int = 128,
    temperature: float = 0.5,
    callbacks: Sequence[TrainerCallback] | None = None,
) -> TrainedEncoder:
    """Train an image encoder to match two augmented views of the same image, with the stock `Trainer`.

    Labels are not read. Needs the extra `vision` (the package lightly, for the loss and the projection head). With
    several processes, the loss contrasts the views of all of them.

    Args:
        dataset: Rows with a column of images.
        model: An encoder as from `AutoModel`, or a classifier, whose encoder is used; trained in place. By default a
            small `ResNetModel` of width 256 with random weights.
        args: As for `Trainer`; `args.seed` seeds everything. By default 100 epochs in batches of 256 with AdamW,
            without checkpoints.
        image_column: Column of the images.
        image_size: Height and width of the views in pixels, at least 1.
        transform: Makes one view of an image, uint8 `[3, height, width]`; by default that of [`simclr_transform`].
            Your own must scale pixels from [0, 255] to [-1, 1], as the image processor does.
        projection_dim: Output width of the projection head, which is discarded after training, at least 1.
        temperature: Of the loss, above 0.
        callbacks: Passed to `Trainer`.

    Returns:
        The model and an image processor that fits it; both have `save_pretrained`.

    Raises:
        ImportError: If lightly is not installed.
        TypeError: If `dataset` is not a `datasets.Dataset`.
        ValueError: If an argument is out of range, there are no images, or an epoch has no full batch.

    Source: Chen et al. (2020), A Simple Framework for Contrastive Learning of Visual Representations.

    Example:
        >>> dataset = embed(dataset, *train_simclr(dataset))  # doctest: +SKIP
        >>> len(dataset[0]["features"])  # doctest: +SKIP
        256
    """
    check_contrast(image_size, projection_dim, temperature)
    return train_on_two_views(
        lambda encoder: SimCLRNetwork(encoder, image_size, projection_dim, temperature),
        dataset,
        model,
        args,
        image_column=image_column,
        image_size=image_size,
        transform=transform,
        callbacks=callbacks,
    )


def check_contrast(image_size: int, projection_dim: int, temperature: float) -> None:
    """Refuse settings that are out of range, and missing packages, before any work."""
    for name, value in (("image_size", image_size), ("projection_dim", projection_dim)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}; 0.5 is usual")
    lightly()


def train_on_two_views(
    make_network: Callable[[PreTrainedModel], nn.Module],
    dataset: datasets.Dataset,
    model: PreTrainedModel | None,
    args: TrainingArguments | None,
    *,
    image_column: str,
    image_size: int,
    transform: Transform | None,
    callbacks: Sequence[TrainerCallback] | None,
) -> TrainedEncoder:
    """Train a network around an encoder, whose loss compares two views of each image."""
    if isinstance(dataset, datasets.Dataset):  # ImageViews refuses anything else
        dataset = dataset.remove_columns([n for n in (LABEL, LABELS, LABEL_WEIGHT) if n in dataset.column_names])
    if transform is None:
        transform = simclr_transform(image_size)
    with tempfile.TemporaryDirectory() as folder:
        args = args or _default_arguments(folder)
        views = ImageViews(dataset, transform, transform, image_column=image_column, seed=args.seed)
        _check_rows(len(views), args)
        # Modules use the global generator, which is restored.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(args.seed)
            model = model or _small_resnet()
            network = make_network(model)
        trainer = Trainer(network, args, train_dataset=views, callbacks=[_Epochs(views), *(callbacks or ())])
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    size = {"height": image_size, "width": image_size}
    processor = ViTImageProcessor(size=size, image_mean=list(_MEAN), image_std=list(_STD))
    return TrainedEncoder(model.eval(), processor)


def simclr_transform(
    size: int,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
    *,
    min_scale: float = 0.08,
    flip: float = 0.5,
    strength: float = 0.5,
    grey: float = 0.2,
) -> Transform:
    """Random crop and resize, mirror image, colour jitter and grey images: the views of SimCLR for small images.

    Args:
        size: Height and width in pixels.
        mean: Mean of red, green and blue, of pixels in [0, 1].
        std: Standard deviation of red, green and blue.
        min_scale: Smallest share of the area that a crop keeps, in (0, 1].
        flip: Probability of a mirror image; use 0 for digits and letters.
        strength: Of the change of colours, in [0, 1]; 0.5 for small images, 1 for those of ImageNet.
        grey: Probability of a grey image.

    Returns:
        A transform for [`ImageViews`].

    Source: Chen et al. (2020), Appendix A and, for images without a blur at half the strength, B.9.

    Example:
        >>> simclr_transform(8)(torch.zeros(3, 16, 16, dtype=torch.uint8)).shape
        torch.Size([3, 8, 8])
    """
    from torchvision.transforms import v2

    colours = v2.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    composed: Transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(min_scale, 1.0)),
            v2.RandomHorizontalFlip(flip),
            v2.RandomApply([colours], p=0.8),
            v2.RandomGrayscale(grey),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    return composed


class SimCLRNetwork(nn.Module):
    """Encoder, projection head and loss as one module, as `Trainer` needs it."""

    head_name = "SimCLRProjectionHead"

    def __init__(self, model: PreTrainedModel, image_size: int, projection_dim: int, temperature: float) -> None:
        super().__init__()
        head, loss = lightly(self.head_name)
        self.encoder: Any = getattr(model, "base_model", model)
        self.encoder.eval()  # the pass below must not update BatchNorm statistics
        with torch.no_grad():
            images = torch.zeros(1, 3, image_size, image_size, device=model.device, dtype=model.dtype)
            width = self._features(images).shape[1]
        self.head = head(input_dim=width, hidden_dim=width, output_dim=projection_dim)
        # With negatives from all processes, the loss is that of one process with the global batch.
        self.loss = loss(temperature=temperature, gather_distributed=torch.distributed.is_available())

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 height width"],
        second_view_pixel_values: Float[Tensor, "batch 3 height width"],
    ) -> dict[str, Tensor]:
        # In one pass, so that BatchNorm sees both views together.
        features = self._features(torch.cat([pixel_values, second_view_pixel_values]))
        first, second = self.head(features).float().chunk(2)
        with torch.autocast(first.device.type, enabled=False):
            return {"loss": self.loss(first, second)}

    def _features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        return pool_outputs(self.encoder, self.encoder(pixel_values=images), "auto", None)  # as in embed


class _Epochs(TrainerCallback):
    """New views in every epoch, on every process (Accelerate calls `set_epoch` only on one)."""

    def __init__(self, views: ImageViews) -> None:
        self.views = views

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.views.set_epoch(int(state.epoch or 0))


def lightly(head: str = SimCLRNetwork.head_name) -> tuple[Any, Any]:
    """A projection head by its name, and the contrastive loss."""
    try:
        from lightly.loss import NTXentLoss
        from lightly.models import modules
    except ImportError as error:
        raise ImportError(
            "training an encoder needs the package lightly, which is an extra; pip install hf-noisy[vision]"
        ) from error
    return getattr(modules, head), NTXentLoss


def _small_resnet() -> ResNetModel:
    return ResNetModel(
        ResNetConfig(layer_type="basic", embedding_size=64, hidden_sizes=[64, 128, 256], depths=[1, 1, 1])
    )


def _default_arguments(folder: str) -> TrainingArguments:
    return TrainingArguments(
        folder,
        num_train_epochs=100,
        per_device_train_batch_size=256,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        save_strategy="no",
        report_to="none",
    )


def _check_rows(rows: int, args: TrainingArguments) -> None:
    if rows < 2:
        raise ValueError(f"dataset must have at least 2 rows to contrast, got {rows}")
    batch = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and rows < batch:
        raise ValueError(
            f"dataset has {rows} rows, fewer than one batch of {batch} with args.dataloader_drop_last; use smaller "
            "batches"
        )
