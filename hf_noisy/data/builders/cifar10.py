"""The dataset `cifar10`: 60,000 small photographs of ten classes, with the human labels of CIFAR-10N.

The folder holds one of two forms; if both are there, the first is read:

- `cifar-10-batches-py/` with the official Python batches;
- `train_jpeg.npz` and `test_jpeg.npz`: `data`, the concatenated JPEG files, `offsets`, where each begins and the last
  ends, and `label`, the true classes. Rows are in the order of the batches.

The labels of CIFAR-10N are `CIFAR-10_human.pt` of its release, or the same arrays in `cifar10n_train_labels.npz`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
from jaxtyping import Integer

from hf_noisy.core.columns import IMAGE
from hf_noisy.data.builders import cifar_files
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.cifar_files import (
    ImageRows,
    hub_rows,
    image_rows,
    labels_of_rows,
    read_batches,
    read_image_files,
)
from hf_noisy.data.noise.class_map import CIFAR10_MAP

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# Mean and standard deviation of red, green and blue over the training images, of pixels in [0, 1].
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CLASS_MAP = CIFAR10_MAP  # class -> the class that asymmetric noise confuses it with
# Configuration -> name of the array with the labels.
HUMAN_LABELS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}
_WHOSE = {
    "aggre": "of the majority of three annotators",
    "random1": "of the first of three annotators",
    "random2": "of the second of three annotators",
    "random3": "of the third of three annotators",
    "worse": "of an annotator who was wrong, wherever there is one",
}
_BATCHES = "cifar-10-batches-py"
_TRAIN_BATCHES = tuple(f"{_BATCHES}/data_batch_{number}" for number in range(1, 6))
_HUMAN_FILES = ("CIFAR-10_human.pt", "cifar10n_train_labels.npz")


class Cifar10Builder(NoisyDatasetBuilder):
    """Builder of `cifar10`: `clean`, or the label sets of CIFAR-10N for `train`; `test` always has true labels.

    Source: images Krizhevsky (2009); human labels Wei et al. (2022), CIFAR-10N.
    """

    NAME = "cifar10"
    DESCRIPTION = "CIFAR-10: 50,000 and 10,000 colour images of 32 x 32 pixels and ten classes."
    HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
    LICENSE = "images: none stated, cite the report; human labels of CIFAR-10N: CC BY-NC 4.0"
    CITATION = """@techreport{krizhevsky2009learning,
  author = {Krizhevsky, Alex}, title = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto}, year = {2009}
}
@inproceedings{wei2022learning,
  author = {Wei, Jiaheng and Zhu, Zhaowei and Cheng, Hao and Liu, Tongliang and Niu, Gang and Liu, Yang},
  title = {Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations},
  booktitle = {International Conference on Learning Representations}, year = {2022}
}"""
    DOWNLOAD = (
        "download 'CIFAR-10 python version' from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into "
        "'cifar10', and for human labels put CIFAR-10_human.pt of https://github.com/UCSC-REAL/cifar-10-100n there too"
    )
    MARKERS = (_TRAIN_BATCHES[0], "train_jpeg.npz")
    CODE = (cifar_files,)
    HUB_ID = "uoft-cs/cifar10"
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [
        NoisyConfig(name="clean", description="The true labels."),
        *(
            NoisyConfig(name=name, noise=f"annotators/{name}", description=f"Training labels {whose}.")
            for name, whose in _WHOSE.items()
        ),
    ]

    def _features(self) -> datasets.Features:
        return noisy_features(IMAGE, datasets.Image(), CLASSES)

    def _source_files(self) -> list[Path]:
        batches = sorted((self.folder / _BATCHES).glob("*_batch*")) if self.folder else []
        return [*super()._source_files(), *batches]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        human = HUMAN_LABELS.get(self.config.name)
        if self.folder is None and human is not None:
            raise FileNotFoundError(self.missing(None))
        parts = []
        for split, (images, clean) in self._rows().items():
            given = clean if human is None or split == "test" else self._human_labels(human, clean)
            parts.append(datasets.SplitGenerator(split, {"images": images, "given": given, "clean": clean}))
        return parts

    def _generate_examples(self, **rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        return image_rows(**rows)

    def _rows(self) -> dict[str, ImageRows]:
        if self.folder is None:
            splits = self.hub_splits()
            return {split: hub_rows(splits[split], "img", "label") for split in ("train", "test")}
        if not (self.folder / _TRAIN_BATCHES[0]).is_file():
            return {split: read_image_files(self.folder / f"{split}_jpeg.npz") for split in ("train", "test")}
        files = {"train": _TRAIN_BATCHES, "test": (f"{_BATCHES}/test_batch",)}
        return {
            split: read_batches([self.folder / name for name in names], "labels") for split, names in files.items()
        }

    def _human_labels(self, name: str, clean: Integer[np.ndarray, " rows"]) -> Integer[np.ndarray, " rows"]:
        paths = [self._root / file for file in _HUMAN_FILES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"file '{paths[0]}' or '{paths[1]}' of dataset '{self.NAME}' is missing; take CIFAR-10_human.pt from "
                "https://github.com/UCSC-REAL/cifar-10-100n and put it there"
            )
        return labels_of_rows(path, "clean_label", name, clean)
