"""MoCo-v2: train an image encoder without labels, against a queue of earlier images."""

import copy
from collections.abc import Sequence
from itertools import chain

import datasets
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_noisy.core.columns import IMAGE
from hf_noisy.data.images import Transform
from hf_noisy.models.ema import check_decay
from hf_noisy.models.pooling import pool_outputs
from hf_noisy.models.simclr import SimCLRNetwork, TrainedEncoder, check_contrast, lightly, train_on_two_views


def train_moco(
    dataset: datasets.Dataset,
    model: PreTrainedModel | None = None,
    args: TrainingArguments | None = None,
    *,
    image_column: str = IMAGE,
    image_size: int = 32,
    transform: Transform | None = None,
    temperature: float = 0.2,
    queue_size: int | None = None,
    decay: float = 0.99,
    callbacks: Sequence[TrainerCallback] | None = None,
) -> TrainedEncoder:
    """Train an image encoder to tell the other view of an image from a queue of images seen before.

    The other views are encoded by an averaged copy of the network. Unlike for [`train_simclr`], small batches are
    enough. Labels are not read. Needs the extra `vision` (the package lightly).

    Args:
        dataset: Rows with a column of images.
        model: As for [`train_simclr`].
        args: As for [`train_simclr`].
        image_column: Column of the images.
        image_size: Height and width of the views in pixels, at least 1.
        transform: As for [`train_simclr`].
        temperature: Of the loss, above 0.
        queue_size: Images in the queue, at least 1; None for 4,096, or half of the images if there are fewer than
            8,192, so that an image is not in the queue when it comes again.
        decay: Of the averaged copy, in `[0, 1)`; the paper's 0.999 is for many more steps.
        callbacks: Passed to `Trainer`.

    Returns:
        The model and an image processor that fits it; both have `save_pretrained`.

    Raises:
        ImportError: If lightly is not installed.
        TypeError: If `dataset` is not a `datasets.Dataset`.
        ValueError: If an argument is out of range, there are no images, or an epoch has no full batch.

    Source: Chen et al. (2020), Improved Baselines with Momentum Contrastive Learning.

    Example:
        >>> dataset = embed(dataset, *train_moco(dataset))  # doctest: +SKIP
        >>> len(dataset[0]["features"])  # doctest: +SKIP
        256
    """
    check_contrast(image_size, _PROJECTION_DIM, temperature)
    check_decay(decay)
    if queue_size is not None and queue_size < 1:
        raise ValueError(f"queue_size must be at least 1, got {queue_size}; the paper uses 65536 for ImageNet")
    return train_on_two_views(
        lambda encoder: _MoCo(
            encoder, image_size, temperature, queue_size or min(_QUEUE_SIZE, len(dataset) // 2), decay
        ),
        dataset,
        model,
        args,
        image_column=image_column,
        image_size=image_size,
        transform=transform,
        callbacks=callbacks,
    )


_PROJECTION_DIM, _QUEUE_SIZE = 128, 4096


class _MoCo(SimCLRNetwork):
    head_name = "MoCoProjectionHead"

    def __init__(
        self, model: PreTrainedModel, image_size: int, temperature: float, queue_size: int, decay: float
    ) -> None:
        super().__init__(model, image_size, _PROJECTION_DIM, temperature)
        gathers = torch.distributed.is_available()
        queue = (queue_size, _PROJECTION_DIM)
        self.loss = lightly()[1](temperature=temperature, memory_bank_size=queue, gather_distributed=gathers)
        self.averaged = nn.ModuleList([copy.deepcopy(self.encoder), copy.deepcopy(self.head)]).requires_grad_(False)
        self.decay = decay

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 height width"],
        second_view_pixel_values: Float[Tensor, "batch 3 height width"],
    ) -> dict[str, Tensor]:
        queries = self.head(self._features(pixel_values)).float()
        keys = self._keys(second_view_pixel_values).float()
        with torch.autocast(queries.device.type, enabled=False):
            return {"loss": self.loss(queries, keys)}

    @torch.no_grad()
    def _keys(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch projection"]:
        trained = chain(self.encoder.parameters(), self.head.parameters())
        for average, weight in zip(self.averaged.parameters(), trained, strict=True):
            average.lerp_(weight.to(average.dtype), 1.0 - self.decay)
        encoder, head = self.averaged
        keys: Tensor = head(pool_outputs(encoder, encoder(pixel_values=images), "auto", None))
        return keys
