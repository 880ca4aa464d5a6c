"""The dataset `webvision`: images found by Google for the names of the 1,000 ImageNet classes.

The folder holds WebVision 1.0: `info/` (`synsets.txt`, `train_filelist_google.txt`, `val_filelist.txt`), `google/` and
`val_images_256/`. Rows hold the path of their image, which is read on access; only then is a broken image found.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import IMAGE, LABEL
from hf_noisy.data.builders import file_lists
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.file_lists import check_images, read_labels, read_lines

_SYNSETS = "info/synsets.txt"
# Split -> list of its images, folder of their paths.
_LISTS = {"train": ("info/train_filelist_google.txt", "."), "validation": ("info/val_filelist.txt", "val_images_256")}
# Configuration -> number of classes, the first ones.
_CLASSES = {"mini": 50, "google": 1000}


class WebVisionBuilder(NoisyDatasetBuilder):
    """Builder of `webvision`, the Google part of WebVision 1.0: the first 50 classes (`mini`) or all (`google`).

    Labels of `train` are the queries, and there is no `clean_label`; `validation` is labelled by hand.

    Source: Li et al. (2017); the first 50 classes as in Jiang et al. (2018).
    """

    NAME = "webvision"
    DESCRIPTION = "WebVision 1.0, Google images, labelled with the search query."
    HOMEPAGE = "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html"
    LICENSE = "none stated with the files, see the home page; images belong to their owners"
    CITATION = """@article{li2017webvision,
  author = {Li, Wen and Wang, Limin and Li, Wei and Agustsson, Eirikur and Van Gool, Luc},
  title = {WebVision Database: Visual Learning and Understanding from Web Data},
  journal = {arXiv preprint arXiv:1708.02862}, year = {2017}
}"""
    DOWNLOAD = (
        "download info.tar, google_resized_256.tar and val_images_256.tar of WebVision 1.0 from "
        "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html and unpack them into 'webvision'"
    )
    MARKERS = (_LISTS["train"][0],)
    CODE = (file_lists,)
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [
        NoisyConfig(name="mini", noise="web", description="The first 50 classes."),
        NoisyConfig(name="google", noise="web", description="All 1,000 classes."),
    ]
    DEFAULT_CONFIG_NAME = "mini"

    def _features(self) -> datasets.Features:
        names = read_lines(self._root / _SYNSETS)[: _CLASSES[self.config.name]]
        return noisy_features(IMAGE, datasets.Image(), names, clean=False)

    def _source_files(self) -> list[Path]:
        return [*super()._source_files(), *sorted((self._root / "info").iterdir())]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        num_classes, all_classes = self.info.features[LABEL].num_classes, len(read_lines(self._root / _SYNSETS))
        parts = []
        for split, (name, start) in _LISTS.items():
            labels = read_labels(self._root / name, all_classes)
            rows = [(str(self._root / start / path), label) for path, label in labels.items() if label < num_classes]
            check_images(self.NAME, [Path(path) for path, _ in rows[:1]])
            parts.append(datasets.SplitGenerator(split, {"rows": rows}))
        return parts

    def _generate_examples(self, rows: list[tuple[str, int]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, label in rows:
            yield path, {IMAGE: path, LABEL: label}
