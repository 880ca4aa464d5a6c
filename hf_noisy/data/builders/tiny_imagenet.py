"""The dataset `tiny_imagenet`: 110,000 images of 64 x 64 pixels in 200 classes; labels are taken as true.

The folder holds `tiny-imagenet-200` as the archive unpacks, or what is in it: `wnids.txt`, `train/<id>/images/*.JPEG`,
`val/images/*.JPEG` and `val/val_annotations.txt`. Rows hold the path of their image, which is read on access; only
then is a broken image found. The test images of the release have no labels and are left out.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL
from hf_noisy.data.builders import cifar_files, file_lists
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.cifar_files import hub_rows
from hf_noisy.data.builders.file_lists import check_images, read_lines

_ARCHIVE, _NAMES, _ANNOTATIONS = "tiny-imagenet-200", "wnids.txt", "val/val_annotations.txt"
_NUM_CLASSES = 200


class TinyImageNetBuilder(NoisyDatasetBuilder):
    """Builder of `tiny_imagenet`: clean labels, for noise injection; classes are WordNet ids in alphabetical order.

    Source: Le and Yang (2015); images of ImageNet (Russakovsky et al., 2015).
    """

    NAME = "tiny_imagenet"
    DESCRIPTION = "Tiny ImageNet: 100,000 and 10,000 colour images of 64 x 64 pixels and 200 classes."
    HOMEPAGE = "http://cs231n.stanford.edu"
    LICENSE = "terms of ImageNet: non-commercial research and education only"
    CITATION = """@misc{le2015tiny,
  author = {Le, Ya and Yang, Xuan}, title = {Tiny ImageNet Visual Recognition Challenge},
  howpublished = {CS 231N, Stanford University}, year = {2015}
}"""
    DOWNLOAD = "download http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it into 'tiny_imagenet'"
    MARKERS = (f"{_ARCHIVE}/{_NAMES}", _NAMES)
    HUB_ID = "zh-plus/tiny-imagenet"
    CODE = (cifar_files, file_lists)
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [NoisyConfig(name="clean", description="The labels of ImageNet.")]

    @property
    def _root(self) -> Path:
        inner = super()._root / _ARCHIVE
        return inner if inner.is_dir() else super()._root

    def _features(self) -> datasets.Features:
        # For the copy on the Hub, the names are known after the download.
        names = (
            sorted(read_lines(self._root / _NAMES)) if self.folder else [str(label) for label in range(_NUM_CLASSES)]
        )
        return noisy_features(IMAGE, datasets.Image(), names)

    def _source_files(self) -> list[Path]:
        if self.folder is None:
            return []
        return [
            *sorted(self._root.iterdir()),
            *sorted(self._root.glob("train/*/images")),
            *self._root.glob("val/images"),
        ]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows: dict[str, Iterable[tuple[Any, int]]]
        if self.folder is None:
            splits = self.hub_splits()
            self.info.features = noisy_features(IMAGE, datasets.Image(), splits["train"].features[LABEL].names)
            parts = {"train": splits["train"], "validation": splits[next(key for key in splits if key != "train")]}
            rows = {split: _hub_pairs(part) for split, part in parts.items()}
        else:
            paths = {"train": self._train_rows(), "validation": self._validation_rows()}
            for part in paths.values():
                check_images(self.NAME, [Path(path) for path, _ in part[:1]])
            rows = dict(paths)
        return [datasets.SplitGenerator(split, {"rows": part}) for split, part in rows.items()]

    def _generate_examples(self, rows: Iterable[tuple[Any, int]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, (image, label) in enumerate(rows):
            yield row, {IMAGE: image, LABEL: label, CLEAN_LABEL: label}

    def _train_rows(self) -> list[tuple[str, int]]:
        rows = []
        for label, name in enumerate(self.info.features[LABEL].names):
            folder = self._root / "train" / name / "images"
            files = sorted(folder.glob("*.JPEG"), key=_by_number)
            if not files:
                raise FileNotFoundError(
                    f"folder '{folder}' of dataset '{self.NAME}' holds no images; unpack the archive again"
                )
            rows += [(str(file), label) for file in files]
        return rows

    def _validation_rows(self) -> list[tuple[str, int]]:
        path, names = self._root / _ANNOTATIONS, self.info.features[LABEL].names
        ids, rows = {name: label for label, name in enumerate(names)}, []
        for line in read_lines(path):
            file, _, rest = line.partition("\t")
            name = rest.split("\t")[0]
            if name not in ids:
                raise ValueError(f"file '{path}' must hold an image and an id of {_NAMES} a line, got '{line}'")
            rows.append((str(self._root / "val" / "images" / file), ids[name]))
        return rows


def _hub_pairs(split: datasets.Dataset) -> Iterator[tuple[Any, int]]:
    images, labels = hub_rows(split, IMAGE, LABEL)
    return zip(images, labels.tolist(), strict=True)


def _by_number(path: Path) -> tuple[int, str]:
    """Sorts `n01443537_2.JPEG` before `n01443537_12.JPEG`, the order of the release."""
    return len(path.name), path.name
