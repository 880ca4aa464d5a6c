"""Augmented views of images: redrawn every epoch, the same in any batch, worker or process."""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.data import Dataset

from hf_noisy.core.columns import IMAGE, LABEL, LABEL_WEIGHT, SECOND_VIEW, column_array
from hf_noisy.core.rng import uniforms
from hf_noisy.data.labels import label_column
from hf_noisy.data.pixel_values import to_rgb

_PIXELS = "pixel_values"
_CACHE_BYTES = 2**29
_DECODED_AT_ONCE = 256

Transform = Callable[[Any], Any]
VIEWS = ("none", "standard", "nrd_student", "augmix", "resized_crop", "augmix_crop")  # of make_view


class ImageViews(Dataset[dict[str, Any]]):
    """Rows of an image dataset as tensors: one view of the image, or two, and the label.

    torchvision transforms draw from torch's CPU generator, which is seeded by (seed, epoch, row, view) for each image
    and restored afterwards: a view depends neither on the batch size nor on the number of workers or processes, nor on
    a resume. Transforms that draw from other generators are not covered.

    Args:
        dataset: A `datasets.Dataset` with a column of images and, except for prediction, `label` or `labels`. Its
            format and transform are ignored.
        transform: From an image, uint8 `[3, height, width]`, to `pixel_values`; by default it only scales to [0, 1].
            See [`standard_transform`], [`nrd_student`], [`augmix`], [`eval_transform`].
        second_view: From an image to `second_view_pixel_values`, for methods with two views.
        image_column: Column of the images.
        seed: Any integer.
        cache: Whether to keep all decoded images in memory; `None` keeps them if they have the same size and take at
            most 512 MiB.

    Attributes:
        labels: The label column, `[rows]` or `[rows, classes]`; `None` if there is none.

    Raises:
        TypeError: If `dataset` is not a `datasets.Dataset`.
        ValueError: If the column holds no images, or `cache=True` and images differ in size.

    Example:
        >>> from PIL import Image
        >>> images = datasets.Dataset.from_dict({"image": [Image.new("L", (8, 8))], "label": [3]})
        >>> images = images.cast_column("image", datasets.Image())
        >>> row = ImageViews(images, standard_transform(8, (0.5,) * 3, (0.5,) * 3))[0]
        >>> row["pixel_values"].shape, row["label"]
        (torch.Size([3, 8, 8]), 3)
    """

    def __init__(
        self,
        dataset: Any,
        transform: Transform | None = None,
        second_view: Transform | None = None,
        *,
        image_column: str = IMAGE,
        seed: int = 0,
        cache: bool | None = None,
    ) -> None:
        _check_images(dataset, image_column)
        stored = dataset.with_format(None)
        name = label_column(stored)
        self.labels = None if name is None else column_array(stored, name)
        self._weights = (
            np.asarray(column_array(stored, LABEL_WEIGHT), np.float32) if LABEL_WEIGHT in stored.features else None
        )
        self.seed = seed
        first = _scale if transform is None else transform
        self._transforms = {_PIXELS: first} | ({SECOND_VIEW + _PIXELS: second_view} if second_view else {})
        self._column = image_column
        self._images = stored.select_columns([image_column])
        self._pixels = None if cache is False else _decode_all(self._images, image_column, required=bool(cache))
        # Shared memory: persistent workers see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw the views of this epoch from now on, in worker processes too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        rows = np.array([range(len(self))[int(index)] for index in indices], dtype=np.int64)
        draws = uniforms(self.seed, stream="image_views", index=rows, size=2, epoch=int(self._epoch))
        # One batched read, far cheaper for Arrow tables; and a copy, since a transform may change it.
        images = map(_pixels, self._images[rows][self._column]) if self._pixels is None else self._pixels[rows]
        with torch.random.fork_rng(devices=[]):
            return [self._row(*parts) for parts in zip(rows.tolist(), images, draws.tolist(), strict=True)]

    def _row(self, row: int, image: UInt8[Tensor, "3 height width"], numbers: list[float]) -> dict[str, Any]:
        views: dict[str, Any] = {}
        for (name, transform), number in zip(self._transforms.items(), numbers, strict=False):
            # torch.manual_seed would seed the accelerator too.
            torch.default_generator.manual_seed(int(number * 2**52))
            views[name] = transform(image)
        if self.labels is not None:
            views[LABEL] = self.labels[row].tolist()
        if self._weights is not None:
            views[LABEL_WEIGHT] = float(self._weights[row])
        return views


class Cutout(nn.Module):
    """Sets a square of `length` pixels to zero, centred at any pixel, so partly outside (DeVries and Taylor, 2017)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"length must be at least 1 pixel, got {length}; 5 suits images of 32 pixels")
        self.length = length

    def forward(self, image: Float[Tensor, "*channels height width"]) -> Float[Tensor, "*channels height width"]:
        """The image with its square."""
        top, left = (int(torch.randint(size, ())) - self.length // 2 for size in image.shape[-2:])
        image = image.clone()
        image[..., max(top, 0) : top + self.length, max(left, 0) : left + self.length] = 0
        return image


def standard_transform(
    size: int, mean: Sequence[float], std: Sequence[float], padding: int = 4, flip: float = 0.5
) -> Transform:
    """Random crop and horizontal flip, the usual augmentation for CIFAR.

    Args:
        size: Height and width in pixels; other images are resized first.
        mean: Mean of red, green and blue, of pixels in [0, 1].
        std: Standard deviation of red, green and blue.
        padding: Largest shift of a crop in pixels, at least 0.
        flip: Probability of a horizontal flip; 0 if left and right have a meaning (digits).

    Returns:
        A transform for [`ImageViews`].

    Source: Section 4.2 of He et al. (2016), Deep Residual Learning.

    Example:
        >>> standard_transform(8, (0.5,) * 3, (0.25,) * 3)(torch.zeros(3, 8, 8, dtype=torch.uint8)).unique()
        tensor([-2.])
    """
    from torchvision.transforms import v2

    crop = [v2.RandomCrop(size, padding=padding), v2.RandomHorizontalFlip(flip)]
    return _compose(size, crop, mean, std)


def nrd_student(
    size: int, mean: Sequence[float], std: Sequence[float], padding: int = 4, flip: float = 0.5, cutout: int = 5
) -> Transform:
    """View of NRD's student: RandAugment (one operation, magnitude 3 of 30), random crop, flip, Cutout of some pixels.

    Other arguments as in [`standard_transform`]. Source: Shon et al. (2024), Appendix A; RandAugment of Cubuk et al.
    (2020).
    """
    from torchvision.transforms import v2

    augment = [v2.RandAugment(num_ops=1, magnitude=3, num_magnitude_bins=31)]
    crop = [v2.RandomCrop(size, padding=padding), v2.RandomHorizontalFlip(flip)]
    return _compose(size, [*augment, *crop], mean, std, Cutout(cutout))


def augmix(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """AugMix with the settings of its paper (Hendrycks et al., 2020); arguments as in [`standard_transform`]."""
    from torchvision.transforms import v2

    return _compose(size, [v2.AugMix(severity=3, mixture_width=3, chain_depth=-1, alpha=1.0)], mean, std)


def eval_transform(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """Resizing and normalisation only, for evaluation; arguments as in [`standard_transform`]."""
    return _compose(size, [], mean, std)


def make_view(name: str, size: int, mean: Sequence[float], std: Sequence[float], flip: float) -> Transform:
    """The transform of that name, one of `VIEWS`; the resized crops are for large photographs."""
    from torchvision.transforms import v2

    if name in ("standard", "nrd_student"):
        return {"standard": standard_transform, "nrd_student": nrd_student}[name](size, mean, std, flip=flip)
    if name in ("none", "augmix"):
        return {"none": eval_transform, "augmix": augmix}[name](size, mean, std)
    crop = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(flip)]
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.2)
    changes = {"resized_crop": [*crop, jitter], "augmix_crop": [v2.AugMix(), *crop]}[name]
    view: Transform = v2.Compose([*changes, *scale])
    return view


def _compose(
    size: int, changes: list[nn.Module], mean: Sequence[float], std: Sequence[float], *last: nn.Module
) -> Transform:
    from torchvision.transforms import v2

    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != 3:
            raise ValueError(f"{name} must be three numbers, for red, green and blue, got {values}")
    composed: Transform = v2.Compose([_Resize(size), *changes, _Standardise(mean, std), *last])
    return composed


class _Resize(nn.Module):
    """`v2.Resize`, skipped if the size is right: on small images it costs as much as their augmentation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        from torchvision.transforms import v2

        self.size = (size, size)
        self.resize = v2.Resize(self.size)

    def forward(self, image: UInt8[Tensor, "*views 3 _ _"]) -> UInt8[Tensor, "*views 3 _ _"]:
        resized: Tensor = image if image.shape[-2:] == self.size else self.resize(image)
        return resized


class _Standardise(nn.Module):
    """`v2.ToDtype(torch.float32, scale=True)` and `v2.Normalize` in a third of the time."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean, self.std = (255.0 * torch.tensor(values)[:, None, None] for values in (mean, std))

    def forward(self, image: UInt8[Tensor, "*views 3 height width"]) -> Float[Tensor, "*views 3 height width"]:
        return image.sub(self.mean).div_(self.std)


def _check_images(dataset: Any, column: str) -> None:
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(f"dataset must be a datasets.Dataset, got {type(dataset).__name__}; load one split, whole")
    if not isinstance(dataset.features.get(column), datasets.Image):
        images = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
        raise ValueError(f"image_column must be one of the columns with images, {images}, got '{column}'")


def _decode_all(images: datasets.Dataset, column: str, required: bool) -> UInt8[Tensor, "rows 3 height width"] | None:
    if not len(images):
        return None
    first = _pixels(images[0][column])
    if first.numel() * len(images) > _CACHE_BYTES and not required:
        return None
    pixels = torch.empty((len(images), *first.shape), dtype=torch.uint8)
    row = 0
    for batch in images.iter(_DECODED_AT_ONCE):
        for image in map(_pixels, batch[column]):
            if image.shape != first.shape:
                if required:
                    raise ValueError(
                        f"cache=True needs images of one size, got {tuple(first.shape[1:])} and "
                        f"{tuple(image.shape[1:])} in row {row}; leave cache out"
                    )
                return None
            pixels[row] = image
            row += 1
    return pixels


def _pixels(image: Any) -> UInt8[Tensor, "3 height width"]:
    from torchvision.transforms.v2.functional import pil_to_tensor

    pixels: Tensor = pil_to_tensor(to_rgb(image))
    return pixels


def _scale(image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    return image / 255
